"""How much of a voxel's variance the pictures explain, from repeated trials."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.hdf5 import Rows, gather


def repeated_rows(trials: pd.DataFrame) -> NDArray[np.intp]:
    """Test trials of pictures that were shown more than once."""
    test = (trials["split"] == "test") & (trials["stimulus"] != "")
    again = trials["stimulus"].where(test).duplicated(keep=False) & test
    return np.flatnonzero(again.to_numpy())


def response_quality(responses: Rows, trials: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Signal-to-noise ratio and noise ceiling of each voxel; empty without two repeated pictures.

    One-way random-effects analysis of variance: noise variance is the mean square within pictures,
    signal variance is (mean square between - within) / n0, below zero taken as zero. `snr` is the
    ratio of the standard deviations, `noise_ceiling` the explainable fraction of variance of a
    response averaged over the repeats, snr^2 / (snr^2 + 1/n0) (Allen et al., 2022, Nature
    Neuroscience 25:116, Methods, "Noise ceiling estimation").

    Args:
        responses: (trials, voxels).
        trials: Columns stimulus and split.

    Returns:
        "snr" and "noise_ceiling", float32 (voxels,).
    """
    rows = repeated_rows(trials)
    codes, names = pd.factorize(trials["stimulus"].iloc[rows])
    if len(names) < 2:
        return {}
    values = gather(responses, rows).astype(np.float64)
    return anova_quality(values, np.asarray(codes))


def anova_quality(
    values: NDArray[np.float64], codes: NDArray[np.intp]
) -> dict[str, NDArray[np.float32]]:
    """The same from the repeated trials alone.

    Args:
        values: (trials, voxels).
        codes: The picture of each trial, from 0.
    """
    counts = np.bincount(codes).astype(np.float64)
    total, groups = counts.sum(), len(counts)
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, codes, values)
    means = sums / counts[:, None]
    within = ((values - means[codes]) ** 2).sum(axis=0) / (total - groups)
    between = (counts[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0) / (groups - 1)
    n0 = (total - (counts**2).sum() / total) / (groups - 1)
    signal = np.maximum(between - within, 0.0) / n0
    ceiling = np.divide(signal, signal + within / n0, out=np.zeros_like(signal), where=signal > 0)
    ratio = np.divide(signal, within, out=np.zeros_like(signal), where=within > 0)
    return {"snr": np.sqrt(ratio).astype(np.float32), "noise_ceiling": ceiling.astype(np.float32)}
