"""From the time series of a run to one response a trial: cleaning, averages, single-trial GLMs."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from nilearn.glm.first_level import (
    compute_regressor,
    make_first_level_design_matrix,
    run_glm,
)
from nilearn.glm.first_level.design_matrix import create_cosine_drift
from nilearn.signal import clean
from numpy.typing import NDArray

from mindvis.errors import ConfigError, SourceError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CleaningOptions:
    """What is removed from every voxel of a run.

    Args:
        detrend: Remove a straight line.
        high_pass: Remove drifts slower than this, in hertz; None keeps them.
        standardise: Bring each voxel of each run to mean zero and standard deviation one.
    """

    detrend: bool = True
    high_pass: float | None = 0.008
    standardise: bool = True


@dataclass(frozen=True)
class ResponseOptions:
    """How a trial's response is estimated.

    Args:
        method: "average" of volumes, or GLM betas, least squares "lsa" (all) or "lss" (separate).
        lag_start: First moment of the average, in seconds after onset.
        lag_end: End of the average (exclusive), in seconds after onset; an event that lasts longer
            is averaged to its end.
        hrf_model: The haemodynamic response of the GLMs, in nilearn's names.
    """

    method: Literal["average", "lsa", "lss"] = "average"
    lag_start: float = 4.0
    lag_end: float = 9.0
    hrf_model: Literal["glover", "spm"] = "glover"

    def __post_init__(self) -> None:
        if self.lag_end <= self.lag_start:
            raise ConfigError(
                f"lag_end is {self.lag_end} s", f"more than lag_start, {self.lag_start} s"
            )


def clean_run(
    series: Floats,
    tr: float,
    options: CleaningOptions,
    confounds: Floats | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> Floats:
    """Detrend, filter, remove confounds and standardise, through `nilearn.signal.clean`.

    The high-pass filter is a cosine basis, the one that fMRIPrep writes and GLMs use; confounds and
    drifts are removed in one regression (Lindquist et al., 2019, Human Brain Mapping 40:2358).
    The basis is handed over as regressors: nilearn's own filter leaves it out when a confound
    resembles one of its cosines, such as a slow drift of the head.

    Args:
        series: (time, voxels).
        tr: Seconds between volumes.
        options: What to remove.
        confounds: (time, regressors), or None.
        kept: bool (time,), volumes that are not left out for motion; None keeps all.

    Returns:
        (kept time, voxels).

    Raises:
        SourceError: If confounds and drifts leave nothing of the run.
    """
    nuisance = nuisance_regressors(len(series), tr, options, confounds)
    if nuisance is not None:
        check_freedom(nuisance if kept is None else nuisance[kept], options.detrend)
    return clean(
        series,
        detrend=options.detrend,
        standardize="zscore_sample" if options.standardise else None,
        confounds=nuisance,
        sample_mask=None if kept is None or kept.all() else np.flatnonzero(kept),
        filter=False,
        t_r=tr,
    )


def nuisance_regressors(
    count: int, tr: float, options: CleaningOptions, confounds: Floats | None
) -> Floats | None:
    """Confounds and the cosine drifts of a run, (time, regressors); None if there are none.

    Args:
        count: Volumes of the run.
        tr: Seconds between volumes.
        options: `high_pass` is the highest frequency of the drifts.
        confounds: (time, regressors), or None.

    Raises:
        SourceError: If the drifts would take every frequency of the run.
    """
    if options.high_pass is None:
        return confounds
    if options.high_pass * tr >= 0.5:
        raise SourceError(
            f"--high_pass is {options.high_pass:g} Hz",
            f"less than {0.5 / tr:g} Hz, the highest frequency of volumes {tr:g} s apart",
        )
    drifts = create_cosine_drift(options.high_pass, tr * np.arange(count))[:, :-1]
    parts = [part for part in (confounds, drifts) if part is not None and part.shape[1]]
    return np.hstack(parts) if parts else None


def check_freedom(nuisance: Floats, detrend: bool) -> None:
    """Refuse regressors that leave nothing of a run but rounding errors.

    Raises:
        SourceError: If there are as many independent regressors as volumes.
    """
    line = np.linspace(-1, 1, len(nuisance))[:, None] ** np.arange(2 if detrend else 1)
    scale = np.abs(nuisance).max(axis=0, initial=0.0)
    rank = np.linalg.matrix_rank(np.hstack([line, nuisance / np.where(scale > 0, scale, 1.0)]))
    if rank >= len(nuisance):
        raise SourceError(
            f"{nuisance.shape[1]} confounds and drifts are removed from a run of "
            f"{len(nuisance)} volumes, which leaves nothing of it",
            "fewer regressors than volumes",
            "give fewer --confounds, or a lower --high_pass",
        )


def average_volumes(
    series: Floats,
    times: Floats,
    onsets: Sequence[float],
    options: ResponseOptions,
    durations: Sequence[float] | None = None,
) -> Floats:
    """Mean of the volumes acquired in the window of each trial.

    Args:
        series: (time, voxels).
        times: Acquisition time of each volume, in seconds of the run.
        onsets: Trial onsets, in seconds of the run.
        options: The lags.
        durations: Of the trials, in seconds; None takes them as brief.

    Returns:
        (trials, voxels).

    Raises:
        SourceError: If no volume lies in a trial's window.
    """
    lasting = [0.0] * len(onsets) if durations is None else durations
    events = zip(onsets, lasting, strict=True)
    rows = [window_rows(times, onset, options, duration=duration) for onset, duration in events]
    return np.stack([series[row].mean(axis=0) for row in rows])


def window_end(duration: float, options: ResponseOptions) -> float:
    """End of a trial's window, in seconds after its onset: `lag_end`, or the event's end if later.

    While an event lasts, its response stays up; the volumes after its end, in which the response
    falls, are left out.
    """
    return max(options.lag_end, duration)


def window_rows(
    times: Floats,
    onset: float,
    options: ResponseOptions,
    where: str = "the run",
    duration: float = 0.0,
) -> NDArray[np.intp]:
    """Volumes of one trial's window: onset + lag_start <= time < onset + its end.

    Args:
        times: Acquisition time of each volume, in seconds of the run.
        onset: In seconds of the run.
        options: The lags.
        where: What the message calls the run.
        duration: Of the event, in seconds.

    Raises:
        SourceError: If there is none, or if they cover less than half of the event.
    """
    end = window_end(duration, options)
    since = np.round(times - onset, 6)  # so that 52.5 + 5.0 is not missed by a rounding error
    rows = np.flatnonzero((since >= options.lag_start) & (since < end))
    if rows.size == 0:
        raise SourceError(
            f"{where} has no volume between {options.lag_start:g} and {end:g} s after "
            f"the onset at {onset:g} s (its volumes lie at {times[0]:g} to {times[-1]:g} s)",
            "at least one",
            "change --lag_start and --lag_end",
        )
    tr = float(np.median(np.diff(times))) if len(times) > 1 else np.inf
    covered = rows.size * tr
    if covered + tr < duration / 2:  # a window may begin and end between two volumes
        raise SourceError(
            f"{where} has {rows.size} volumes between {options.lag_start:g} and {end:g} s after "
            f"the onset at {onset:g} s: they cover {covered:g} s of an event of {duration:g} s",
            "volumes for at least half of the event",
            "change --lag_start and --lag_end, or correct the event's duration",
        )
    return rows


def trial_design(
    times: Floats,
    trials: pd.DataFrame,
    cleaning: CleaningOptions,
    hrf_model: str,
    confounds: Floats | None = None,
) -> pd.DataFrame:
    """Design matrix with a regressor for each trial, then drifts, confounds and the constant.

    Args:
        times: Acquisition time of each volume, in seconds.
        trials: Columns onset and duration, in seconds.
        cleaning: `high_pass` makes cosine drifts; else `detrend` makes a straight line.
        hrf_model: "glover" or "spm".
        confounds: (time, regressors), or None.

    Returns:
        (time, regressors); the first columns are the trials, in order.

    Raises:
        SourceError: If only some durations are 0, or a trial has no response within the run.
    """
    durations = trials["duration"].to_numpy(float)
    check_durations(durations)
    names = [f"trial{number:06d}" for number in range(len(trials))]
    events = pd.DataFrame(
        {
            "onset": trials["onset"].to_numpy(float),
            "duration": durations,
            "trial_type": names,
        }
    )
    drift = "cosine" if cleaning.high_pass is not None else "polynomial"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is checked here, before and after
        design = make_first_level_design_matrix(
            times,
            events,
            hrf_model=hrf_model,
            drift_model=drift if cleaning.detrend or cleaning.high_pass is not None else None,
            high_pass=cleaning.high_pass or 0.01,
            drift_order=1,
            add_regs=confounds,
        )
    design[names] *= impulse_scale(times, hrf_model) if not durations.any() else 1.0
    check_peaks(np.abs(design[names].to_numpy()).max(axis=0), trials["onset"].to_numpy(), times)
    return design[names + [name for name in design.columns if name not in set(names)]]


def check_durations(durations: Floats) -> None:
    """Refuse trials of which only some are impulses: their betas would have two scales.

    Raises:
        SourceError: If some durations are 0 and others are not.
    """
    impulses = int((durations == 0).sum())
    if 0 < impulses < len(durations):
        raise SourceError(
            f"{impulses} of {len(durations)} trials of a run have the duration 0 or n/a, "
            f"others last up to {durations.max():g} s",
            "a duration for every trial, or for none",
            "correct the event tables, or pass --response average",
        )


def check_peaks(peaks: Floats, onsets: Floats, times: Floats) -> None:
    """Refuse trials so late that a run holds no more than a tenth of their response.

    Raises:
        SourceError: With the first such trial; its beta would be noise, many times enlarged.
    """
    late = np.flatnonzero(peaks < 0.1 * np.median(peaks))
    if late.size:
        raise SourceError(
            f"the trial at {onsets[late[0]]:g} s has hardly a response within the run, whose last "
            f"volume is at {times[-1]:g} s",
            "trials some seconds before the end of the run",
            "leave the trial out of the event table, or pass --response average",
        )


def impulse_scale(times: Floats, hrf_model: str) -> float:
    """Factor that gives the regressor of an impulse the area of an event of one second.

    nilearn's impulse is one of its fine time steps long, which would make betas as many times too
    large as such steps fit in a second.

    Args:
        times: Acquisition time of each volume, in seconds.
        hrf_model: "glover" or "spm".
    """
    tr = float(np.median(np.diff(times)))
    grid = tr * np.arange(int(np.ceil(40 / tr)) + 1)
    impulse, second = (
        compute_regressor(np.array([[0.0], [duration], [1.0]]), hrf_model, grid)[0].sum()
        for duration in (0.0, 1.0)
    )
    return float(second / impulse)


def least_squares_all(series: Floats, design: pd.DataFrame, num_trials: int) -> Floats:
    """Betas of one GLM with a regressor for each trial (LSA).

    Mumford et al., 2012, NeuroImage 59:2636, equation 3.

    Args:
        series: (time, voxels).
        design: Trials first, from `trial_design`.
        num_trials: How many of its columns are trials.

    Returns:
        (trials, voxels).
    """
    return _betas(series, design.to_numpy())[:num_trials]


def least_squares_separate(series: Floats, design: pd.DataFrame, num_trials: int) -> Floats:
    """Betas of one GLM for each trial, all other trials summed into one regressor (LSS).

    The haemodynamic model is linear, so the sum of the others' regressors is the regressor of the
    others (Mumford et al., 2012, NeuroImage 59:2636, equation 4).

    Args:
        series: (time, voxels).
        design: Trials first, from `trial_design`.
        num_trials: How many of its columns are trials.

    Returns:
        (trials, voxels).
    """
    matrix = design.to_numpy()
    trials, nuisance = matrix[:, :num_trials], matrix[:, num_trials:]
    total = trials.sum(axis=1)
    betas = np.empty((num_trials, series.shape[1]))
    for number in range(num_trials):
        own = trials[:, number]
        others = [total - own] if num_trials > 1 else []
        betas[number] = _betas(series, np.column_stack([own, *others, nuisance]))[0]
    return betas


def _betas(series: Floats, design: Floats) -> Floats:
    """Ordinary least squares through nilearn: (regressors, voxels)."""
    labels, results = run_glm(series, design, noise_model="ols")
    return results[labels[0]].theta


def window_means(
    series: Floats, tr: float, seconds: float, remainder: Literal["drop", "share"] = "drop"
) -> Floats:
    """Means over consecutive windows: rest runs in MinD-Vis' manner.

    Args:
        series: (time, voxels).
        tr: Seconds between volumes.
        seconds: Length of a window; as many whole volumes as fit, at least one.
        remainder: What is done with volumes that fill no window: "drop" them, or "share" them
            among the first windows, a volume each, as MinD-Vis does.

    Returns:
        (windows, voxels).
    """
    width = window_width(tr, seconds)
    count = len(series) // width
    if remainder == "drop":
        return series[: count * width].reshape(count, width, -1).mean(axis=1)
    count = max(count, 1)
    sizes = len(series) // count + (np.arange(count) < len(series) % count)
    return np.add.reduceat(series, sizes.cumsum() - sizes, axis=0) / sizes[:, None]


def window_width(tr: float, seconds: float) -> int:
    """Whole volumes in a window of so many seconds, at least one."""
    return max(1, int(seconds / tr + 1e-6))
