"""How much of a single trial is signal, from the repeats of test stimuli."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mindvis.errors import DataError


def explainable_variance(
    responses: npt.ArrayLike, stimuli: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Part of a single trial's variance that is the same in each repeat of a stimulus.

    The one-way random-effects analysis of variance (Searle, Linear Models, 1971), for unequal
    numbers of repeats: noise is the mean square within stimuli; signal is the mean square between
    them, less the noise, divided by the effective number of repeats. Both are unbiased, so that a
    voxel without signal scores below zero as often as above.

    Args:
        responses: (trials, voxels).
        stimuli: The stimulus of each trial.

    Returns:
        (voxels,) signal / (signal + noise); NaN where a voxel is constant.

    Raises:
        DataError: Fewer than two stimuli, or no stimulus is repeated.
    """
    rows = np.asarray(responses, dtype=np.float64)
    _, group, count = np.unique(np.asarray(stimuli), return_inverse=True, return_counts=True)
    trials, kinds = len(rows), len(count)
    if kinds < 2 or trials == kinds:
        raise DataError(f"{trials} trials of {kinds} stimuli", "repeats of at least two stimuli")
    means = np.zeros((kinds, rows.shape[1]))
    np.add.at(means, group, rows)
    means /= count[:, None]
    noise = ((rows - means[group]) ** 2).sum(axis=0) / (trials - kinds)
    spread = (count[:, None] * (means - rows.mean(axis=0)) ** 2).sum(axis=0)
    repeats = (trials - (count**2).sum() / trials) / (kinds - 1)
    signal = (spread / (kinds - 1) - noise) / repeats
    total = signal + noise
    return np.divide(signal, total, out=np.full_like(total, np.nan), where=total > 0)
