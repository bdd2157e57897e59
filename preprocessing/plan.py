"""What will be done to each run, found out and checked before any work begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mindvis.errors import SourceError
from preprocessing.confounds import Confounds, read_confounds
from preprocessing.events import EventOptions, rest_trials, task_trials
from preprocessing.layout import Scan, inherited, sidecar, the_one
from preprocessing.reader import Grid, Timing, by_columns, refuse_nan
from preprocessing.series import files_of, frame_timing, num_frames, places_grid, read_series
from preprocessing.signal import (
    CleaningOptions,
    Floats,
    ResponseOptions,
    average_volumes,
    check_durations,
    clean_run,
    least_squares_all,
    least_squares_separate,
    trial_design,
    window_means,
    window_rows,
)


@dataclass(frozen=True)
class SignalOptions:
    """All that turns the voxels of a run into responses.

    Args:
        cleaning: What is removed.
        response: How a trial's response is estimated.
        rest_window: Seconds over which rest volumes are averaged.
        confounds: "motion" where there is such a file, "none", columns (patterns with *), or a
            strategy of nilearn: "simple", "scrubbing", "compcor", "ica_aroma".
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
        confounds: Regressors and volumes that are kept.
        timing: Where the repetition time was found.
        events: The event table, None for a rest run.
        confounds_file: The table of confounds, None if none was used.
    """

    scan: Scan
    grid: Grid
    tr: float
    times: Floats
    trials: pd.DataFrame
    files: tuple[Path, ...]
    confounds: Confounds
    timing: Timing
    events: Path | None = None
    confounds_file: Path | None = None


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
    count = num_frames(scan.bold)
    when = frame_timing(scan.bold, sidecar(scan, folders), count)
    times: Floats = when.times(count)
    confounds, path = read_confounds(scan, folders, count, signal.confounds)
    if scan.kind == "rest":
        table, found = rest_trials(scan, times[confounds.kept], when.tr, signal.rest_window), None
    else:
        found = find_events(scan, folders)
        table = task_trials(found, scan, float(times[-1] + when.tr), events)
        _check_responses(table, found, times, confounds.kept, signal.response)
    tables = [file for file in (found, path) if file is not None]
    return RunPlan(
        scan,
        places_grid(scan.bold),
        when.tr,
        times,
        table,
        (*files_of(scan.bold), *tables),
        confounds,
        when,
        found,
        path,
    )


def find_events(scan: Scan, folders: Sequence[Path]) -> Path:
    """The event table of a run, in the first folder that has one.

    Raises:
        SourceError: If there is none, or if two apply equally.
    """
    for folder in folders:
        found = the_one(inherited(scan, [folder], "_events.tsv"), scan, "remove one of them")
        if found is not None:
            return found
    raise SourceError(
        f"{scan.bold} has no event table",
        "a file *_events.tsv beside it",
        "add it, name the task in --rest_tasks if nothing was shown, or choose --tasks",
    )


def _check_responses(
    table: pd.DataFrame,
    path: Path,
    times: Floats,
    kept: NDArray[np.bool_],
    response: ResponseOptions,
) -> None:
    """Refuse trials for which no response can be estimated, before any volume is read."""
    if response.method != "average":
        check_durations(table["duration"].to_numpy(float))
        return
    for onset, duration in zip(table["onset"], table["duration"], strict=True):
        window_rows(times[kept], onset, response, path.name, duration)


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
        series = read_series(plan.scan.bold, mask)
        finite = refuse_nan(series, plan.scan.bold, signal.nan)
        result = np.full((len(plan.trials), finite.size), np.nan, dtype=np.float32)
        if len(plan.trials) and finite.any():
            result[:, finite] = _estimate(plan, series[:, finite], signal)
    return result


def _estimate(
    plan: RunPlan, series: NDArray[np.float32], signal: SignalOptions
) -> NDArray[np.float32]:
    """Responses of finite voxels by the method that the options and the run's kind ask for."""
    method, cleaning, kept = signal.response.method, signal.cleaning, plan.confounds.kept
    if plan.scan.kind == "task" and method != "average":
        return _single_trial_betas(plan, series, signal)

    def respond(block: Floats) -> Floats:
        cleaned = clean_run(block, plan.tr, cleaning, plan.confounds.values, kept)
        if plan.scan.kind == "rest":
            return window_means(cleaned, plan.tr, signal.rest_window)
        onsets, lasting = (plan.trials[name].tolist() for name in ("onset", "duration"))
        return average_volumes(cleaned, plan.times[kept], onsets, signal.response, lasting)

    return by_columns(respond, series)


def _single_trial_betas(
    plan: RunPlan, series: NDArray[np.float32], signal: SignalOptions
) -> NDArray[np.float32]:
    """GLM betas; drifts and confounds are in the design, so the series is only standardised."""
    kept = plan.confounds.kept
    design = trial_design(
        plan.times, plan.trials, signal.cleaning, signal.response.hrf_model, plan.confounds.values
    )[kept]
    if len(design.columns) >= len(design):
        raise SourceError(
            f"{plan.scan.bold} has {len(design)} volumes for {len(design.columns)} regressors",
            "more volumes than regressors",
            "pass --response average, or fewer --confounds",
        )
    scale = CleaningOptions(detrend=False, high_pass=None, standardise=signal.cleaning.standardise)
    estimate = least_squares_all if signal.response.method == "lsa" else least_squares_separate

    def respond(block: Floats) -> Floats:
        return estimate(clean_run(block[kept], plan.tr, scale), design, len(plan.trials))

    return by_columns(respond, series)
