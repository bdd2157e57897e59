"""What will be done to each run, found out and checked before any work begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mindvis.errors import SourceError
from preprocessing.events import EventOptions, rest_trials, task_trials
from preprocessing.layout import Scan, inherited, sidecar
from preprocessing.reader import (
    Grid,
    by_columns,
    grid_of,
    num_volumes,
    read_voxels,
    refuse_nan,
    repetition_time,
)
from preprocessing.signal import (
    CleaningOptions,
    Floats,
    ResponseOptions,
    average_volumes,
    clean_run,
    least_squares_all,
    least_squares_separate,
    trial_design,
    window_means,
    window_rows,
)

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


@dataclass(frozen=True)
class SignalOptions:
    """All that turns the voxels of a run into responses.

    Args:
        cleaning: What is removed.
        response: How a trial's response is estimated.
        rest_window: Seconds over which rest volumes are averaged.
        confounds: "motion" where there is such a file, "none", or columns (patterns with *).
        nan: Whether voxels with NaN are refused or dropped.
    """

    cleaning: CleaningOptions = field(default_factory=CleaningOptions)
    response: ResponseOptions = field(default_factory=ResponseOptions)
    rest_window: float = 8.0
    confounds: str | Sequence[str] = "motion"
    nan: Literal["refuse", "drop"] = "refuse"


@dataclass(frozen=True)
class RunPlan:
    """One run and everything known about it from headers and tables.

    Args:
        scan: The run.
        grid: Its voxel grid.
        tr: Seconds between volumes.
        times: Acquisition time of each volume, in seconds.
        trials: A row for each response that the run will give.
        files: All that was read: the image first, then events and confounds.
        confounds: (time, regressors), or None.
    """

    scan: Scan
    grid: Grid
    tr: float
    times: Floats
    trials: pd.DataFrame
    files: tuple[Path, ...]
    confounds: Floats | None


def plan_run(
    scan: Scan, folders: Sequence[Path], signal: SignalOptions, events: EventOptions
) -> RunPlan:
    """Read the headers and tables of a run.

    Args:
        scan: The run.
        folders: The data sets that may hold its sidecars and events, the image's own first.
        signal: Lags are checked against the run's length.
        events: The meaning of the columns of its event table.

    Raises:
        SourceError: If something is missing, malformed, or beyond the run's end.
    """
    facts = sidecar(scan, folders)
    count, tr = num_volumes(scan.bold), repetition_time(scan.bold, facts)
    times: Floats = float(facts.get("StartTime") or 0.0) + tr * np.arange(count, dtype=np.float64)
    table, files = _trials(scan, folders, times, tr, signal, events)
    confounds, path = _confounds(scan, folders, count, signal.confounds)
    read = (scan.bold, *files, *([path] if path else []))
    return RunPlan(scan, grid_of(scan.bold), tr, times, table, read, confounds)


def _trials(
    scan: Scan,
    folders: Sequence[Path],
    times: Floats,
    tr: float,
    signal: SignalOptions,
    events: EventOptions,
) -> tuple[pd.DataFrame, list[Path]]:
    if scan.kind == "rest":
        return rest_trials(scan, times, tr, signal.rest_window), []
    found = inherited(scan, folders, "_events.tsv")
    if not found:
        raise SourceError(
            f"{scan.bold} has no event table",
            "a file *_events.tsv beside it",
            "add it, name the task in --rest_tasks if nothing was shown, or choose --tasks",
        )
    table = task_trials(found[0], scan, float(times[-1] + tr), events)
    if signal.response.method == "average":
        for onset in table["onset"]:
            window_rows(times, onset, signal.response, found[0].name)
    return table, found[:1]


def _confounds(
    scan: Scan, folders: Sequence[Path], count: int, choice: str | Sequence[str]
) -> tuple[Floats | None, Path | None]:
    """Confound regressors and their file; gaps in a column take its mean."""
    derived = [path for f in folders for path in sorted(f.glob("derivatives/*/")) if path.is_dir()]
    found = inherited(scan, [*folders, *derived], "_desc-confounds_timeseries.tsv")
    if choice == "none" or (choice == "motion" and not found):
        return None, None
    if not found:
        raise SourceError(
            f"{scan.bold} has no *_desc-confounds_timeseries.tsv",
            f"one with {choice}",
            "name the folder with --derivatives, or pass --confounds none",
        )
    table = pd.read_csv(found[0], sep="\t", na_values=["n/a"])
    names = _chosen_columns(found[0], list(table.columns), choice)
    if len(table) != count:
        raise SourceError(
            f"{found[0]} has {len(table)} rows", f"{count}, the volumes of {scan.bold.name}"
        )
    values = table[names].astype(float)
    return values.fillna(values.mean()).fillna(0.0).to_numpy(), found[0]


def _chosen_columns(path: Path, present: list[str], choice: str | Sequence[str]) -> list[str]:
    patterns = list(_MOTION) if choice == "motion" else _words(choice)
    names: list[str] = []
    for pattern in patterns:
        fitting = [name for name in present if fnmatchcase(name, pattern)]
        if not fitting:
            raise SourceError(
                f"{path} has no column {pattern!r}",
                f"some among {', '.join(present)}",
                "check --confounds",
            )
        names += [name for name in fitting if name not in names]
    return names


def _words(choice: str | Sequence[str]) -> list[str]:
    return choice.replace(",", " ").split() if isinstance(choice, str) else list(choice)


def run_responses(
    plan: RunPlan, mask: NDArray[np.bool_], signal: SignalOptions
) -> NDArray[np.float32]:
    """The responses of one run; voxels that are not finite are NaN in all rows.

    One thread, so that sums are taken in the same order wherever the run is computed.

    Args:
        plan: The run.
        mask: Voxels to keep, (X, Y, Z).
        signal: How.

    Returns:
        (trials or windows, voxels).
    """
    with threadpool_limits(1):
        series = read_voxels(plan.scan.bold, mask)
        finite = refuse_nan(series, plan.scan.bold, signal.nan)
        result = np.full((len(plan.trials), finite.size), np.nan, dtype=np.float32)
        if len(plan.trials) and finite.any():
            result[:, finite] = _estimate(plan, series[:, finite], signal)
    return result


def _estimate(
    plan: RunPlan, series: NDArray[np.float32], signal: SignalOptions
) -> NDArray[np.float32]:
    """Responses of finite voxels by the method that the options and the run's kind ask for."""
    method, cleaning = signal.response.method, signal.cleaning
    if plan.scan.kind == "task" and method != "average":
        return _single_trial_betas(plan, series, signal)

    def respond(block: Floats) -> Floats:
        cleaned = clean_run(block, plan.tr, cleaning, plan.confounds)
        if plan.scan.kind == "rest":
            return window_means(cleaned, plan.tr, signal.rest_window)
        onsets = plan.trials["onset"].tolist()
        return average_volumes(cleaned, plan.times, onsets, signal.response)

    return by_columns(respond, series)


def _single_trial_betas(
    plan: RunPlan, series: NDArray[np.float32], signal: SignalOptions
) -> NDArray[np.float32]:
    """GLM betas; drifts and confounds are in the design, so the series is only standardised."""
    design = trial_design(
        plan.times, plan.trials, signal.cleaning, signal.response.hrf_model, plan.confounds
    )
    if len(design.columns) >= len(design):
        raise SourceError(
            f"{plan.scan.bold} has {len(design)} volumes for {len(design.columns)} regressors",
            "more volumes than regressors",
            "pass --response average, or fewer --confounds",
        )
    scale = CleaningOptions(detrend=False, high_pass=None, standardise=signal.cleaning.standardise)
    estimate = least_squares_all if signal.response.method == "lsa" else least_squares_separate

    def respond(block: Floats) -> Floats:
        return estimate(clean_run(block, plan.tr, scale), design, len(plan.trials))

    return by_columns(respond, series)
