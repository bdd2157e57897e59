"""From the time series of a run to one response a trial: cleaning, averages, single-trial GLMs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm
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
        lag_end: End of the average (exclusive), in seconds after onset.
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

    Args:
        series: (time, voxels).
        tr: Seconds between volumes.
        options: What to remove.
        confounds: (time, regressors), or None.
        kept: bool (time,), volumes that are not left out for motion; None keeps all.

    Returns:
        (kept time, voxels).
    """
    return clean(
        series,
        detrend=options.detrend,
        standardize="zscore_sample" if options.standardise else None,
        confounds=confounds,
        sample_mask=None if kept is None or kept.all() else np.flatnonzero(kept),
        filter=False if options.high_pass is None else "cosine",
        high_pass=options.high_pass,
        t_r=tr,
    )


def average_volumes(
    series: Floats, times: Floats, onsets: Sequence[float], options: ResponseOptions
) -> Floats:
    """Mean of the volumes acquired between `lag_start` and `lag_end` seconds after each onset.

    Args:
        series: (time, voxels).
        times: Acquisition time of each volume, in seconds of the run.
        onsets: Trial onsets, in seconds of the run.
        options: The lags.

    Returns:
        (trials, voxels).

    Raises:
        SourceError: If no volume lies in a trial's window.
    """
    rows = [window_rows(times, onset, options) for onset in onsets]
    return np.stack([series[row].mean(axis=0) for row in rows])


def window_rows(
    times: Floats, onset: float, options: ResponseOptions, where: str = "the run"
) -> NDArray[np.intp]:
    """Volumes of one trial's window: onset + lag_start <= time < onset + lag_end.

    Args:
        times: Acquisition time of each volume, in seconds of the run.
        onset: In seconds of the run.
        options: The lags.
        where: What the message calls the run.

    Raises:
        SourceError: If there is none.
    """
    since = np.round(times - onset, 6)  # so that 52.5 + 5.0 is not missed by a rounding error
    rows = np.flatnonzero((since >= options.lag_start) & (since < options.lag_end))
    if rows.size == 0:
        raise SourceError(
            f"{where} has no volume between {options.lag_start:g} and {options.lag_end:g} s after "
            f"the onset at {onset:g} s (its volumes lie at {times[0]:g} to {times[-1]:g} s)",
            "at least one",
            "change --lag_start and --lag_end",
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
    """
    names = [f"trial{number:06d}" for number in range(len(trials))]
    events = pd.DataFrame(
        {
            "onset": trials["onset"].to_numpy(float),
            "duration": trials["duration"].to_numpy(float),
            "trial_type": names,
        }
    )
    drift = "cosine" if cleaning.high_pass is not None else "polynomial"
    design = make_first_level_design_matrix(
        times,
        events,
        hrf_model=hrf_model,
        drift_model=drift if cleaning.detrend or cleaning.high_pass is not None else None,
        high_pass=cleaning.high_pass or 0.01,
        drift_order=1,
        add_regs=confounds,
    )
    return design[names + [name for name in design.columns if name not in set(names)]]


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
