"""Uncertainty: bootstrap over stimuli, and the permutation of which picture belongs to which."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
FEWEST = 3  # stimuli; fewer give no interval
SKEWED = 0.075  # acceleration above which an interval is too narrow, by the simulations of the docs


def bootstrap_interval(
    values: Floats, generator: np.random.Generator, resamples: int = 10_000
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated 95 % bootstrap interval of the mean (Efron 1987).

    Args:
        values: (stimuli,), one value for each independent unit.
        generator: Source of the resamples.
        resamples: How many.

    Returns:
        The ends; both equal the mean where all values are equal; None for fewer than 3 values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < FEWEST:
        return None
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return float(values.mean()), float(values.mean())
    bca = _interval(values, generator, resamples, "BCa")
    # BCa has no value when no resample lies on one side of the mean, as with one odd value in many
    return bca if np.isfinite(bca).all() else _interval(values, generator, resamples, "percentile")


def too_skewed(values: Floats) -> bool:
    """Whether a few stimuli carry so much of the mean that its interval may be too narrow.

    The acceleration of BCa, a = skewness / (6 sqrt(n)) for a mean (Efron 1987), against `SKEWED`: a
    sample that is skewed for its size, as n-way accuracies near chance are, often lacks the rare
    large values that make the mean.

    Args:
        values: (stimuli,).
    """
    centred = np.asarray(values, dtype=np.float64) - np.mean(values)
    spread = float((centred**2).sum())
    if len(centred) < FEWEST or spread == 0:
        return False
    return bool(abs(float((centred**3).sum())) > 6 * SKEWED * spread**1.5)


def _interval(
    values: Floats, generator: np.random.Generator, resamples: int, method: str
) -> tuple[float, float]:
    """SciPy's bootstrap of the mean, in batches of bounded memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            batch=max(1, 4_000_000 // len(values)),
            confidence_level=CONFIDENCE,
            method=method,
            rng=generator,
        ).confidence_interval
    return float(found.low), float(found.high)


def pairing_p(
    tables: Sequence[Floats],
    weights: Sequence[Floats],
    generator: np.random.Generator,
    permutations: int = 10_000,
) -> float:
    """One-sided p-value of the pairing of pictures with stimuli.

    The statistic is the weighted sum of the true pairs. Under the null hypothesis that a picture
    says nothing of its stimulus, it is exchangeable with the same sum over permuted columns. The
    estimate counts the observed pairing among the permutations (Phipson and Smyth 2010), so it is
    never zero and the test never exceeds its level.

    Args:
        tables: For each subject (stimuli, stimuli): truth by row, whose picture by column, larger
            is better. Subjects are permuted independently.
        weights: For each subject (stimuli,): weight of each truth in the mean.
        generator: Source of the permutations.
        permutations: How many.

    Returns:
        From 1 / (1 + permutations) to 1.
    """
    observed = sum(float(w @ table.diagonal()) for table, w in zip(tables, weights, strict=True))
    null = np.zeros(permutations)
    for table, w in zip(tables, weights, strict=True):
        null += _permuted_sums(table, w, generator, permutations)
    # equal pairings must count as equal, whatever order their terms were added in
    reached = (null >= observed - 1e-12 * max(1.0, abs(observed))).sum()
    return float((1 + reached) / (1 + permutations))


def _permuted_sums(
    table: Floats, weights: Floats, generator: np.random.Generator, permutations: int
) -> Floats:
    """Weighted sum of the diagonal for permuted columns, (permutations,), in bounded memory."""
    rows = np.arange(len(table))
    at_once = max(1, 2_000_000 // len(table))
    sums = []
    for start in range(0, permutations, at_once):
        ordered = np.tile(rows, (min(at_once, permutations - start), 1))
        sums.append(table[rows, generator.permuted(ordered, axis=1)] @ weights)
    return np.concatenate(sums)
