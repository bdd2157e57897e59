"""Two runs, or a run and its control, on the same stimuli: differences, tests, corrections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import DataError
from mindvis.metrics.statistics import CONFIDENCE, FEWEST, bootstrap_interval

Floats = NDArray[np.float64]
EXACT = 16  # stimuli; up to here all sign changes are enumerated


@dataclass(frozen=True)
class Difference:
    """Mean of a paired difference, by stimulus.

    Args:
        value: Mean of first minus second.
        ci95: BCa bootstrap interval over stimuli; None for fewer than 3.
        p: Two-sided, of the sign-flip permutation test; None for fewer than 2 stimuli.
        n: Stimuli that both have.
    """

    value: float
    ci95: tuple[float, float] | None
    p: float | None
    n: int


def align(
    first: tuple[Sequence[str], Floats], second: tuple[Sequence[str], Floats]
) -> tuple[list[str], Floats, Floats]:
    """Scores of the stimuli that both have a finite value for, in the order of their ids.

    Args:
        first: Ids and one value for each.
        second: The same of the other run.

    Returns:
        Ids and both scores (stimuli,).

    Raises:
        DataError: A run lists a stimulus twice: the unit is the stimulus, average over draws and
            subjects before.
    """
    tables = []
    for ids, values in (first, second):
        if len(set(ids)) != len(ids):
            repeated = next(name for name in ids if list(ids).count(name) > 1)
            raise DataError(
                f"stimulus {repeated!r} occurs more than once",
                "one value for each stimulus",
                "average over draws and subjects first",
            )
        pairs = zip(ids, np.asarray(values, dtype=np.float64).tolist(), strict=True)
        tables.append({name: value for name, value in pairs if np.isfinite(value)})
    common = sorted(tables[0].keys() & tables[1].keys())
    one, other = (np.array([t[name] for name in common], dtype=np.float64) for t in tables)
    return common, one, other


def sign_flip_p(
    differences: Floats, generator: np.random.Generator, permutations: int = 10_000
) -> float:
    """Two-sided p of a paired difference: are the runs exchangeable within each stimulus?

    Under the null hypothesis exchanging the two scores of a stimulus changes nothing, so that the
    mean difference is one of the means over all choices of signs (Fisher's randomisation test). Up
    to 16 stimuli all of them are enumerated; beyond, the observed one is counted among the random
    ones (Phipson and Smyth 2010).

    Args:
        differences: (stimuli,).
        generator: Source of the signs.
        permutations: How many random choices.

    Returns:
        From 2 / 2**n, or 1 / (1 + permutations), to 1.
    """
    count = len(differences)
    # equal means must count as equal, whatever order their terms were added in
    observed = abs(differences.sum()) - 1e-12 * max(1.0, float(np.abs(differences).sum()))
    if count <= EXACT:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1 - 2 * bits) @ differences) >= observed).mean())
    reached, at_once = 0, max(1, 4_000_000 // count)
    for start in range(0, permutations, at_once):
        shape = (min(at_once, permutations - start), count)
        signs = 1 - 2 * generator.integers(0, 2, shape, dtype=np.int8)
        reached += int((np.abs(signs @ differences) >= observed).sum())
    return (1 + reached) / (1 + permutations)


def paired_difference(
    first: Floats,
    second: Floats,
    generator: np.random.Generator,
    resamples: int = 10_000,
    permutations: int = 10_000,
) -> Difference:
    """First minus second on the same stimuli, with interval and p.

    Args:
        first: (stimuli,), as `align` gives them.
        second: (stimuli,) of the same stimuli in the same order.
        generator: Source of resamples and signs.
        resamples: Of the interval.
        permutations: Of the p-value.

    Raises:
        DataError: The two are not of the same stimuli.
    """
    if first.shape != second.shape:
        raise DataError(
            f"{len(first)} scores were paired with {len(second)}", "scores of the same stimuli"
        )
    values = first - second
    if not len(values):
        return Difference(float("nan"), None, None, 0)
    return Difference(
        float(values.mean()),
        bootstrap_interval(values, generator, resamples),
        sign_flip_p(values, generator, permutations) if len(values) > 1 else None,
        len(values),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for testing all of them together (Holm 1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1 and never falls below a smaller one's. The
    chance that any true null hypothesis is rejected stays below the level, however they depend.

    Args:
        p_values: Of each metric (or pair of runs, or region).

    Raises:
        DataError: One is no probability.

    >>> holm({"ssim": 0.01, "mse": 0.04, "n_way": 0.03})
    {'ssim': 0.03, 'mse': 0.06, 'n_way': 0.06}
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise DataError(f"the p-value of {name} is {p}", "a number from 0 to 1")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for i, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def crossed_interval(
    tables: Sequence[Floats],
    rows: Sequence[NDArray[np.intp]],
    generator: np.random.Generator,
    resamples: int = 10_000,
) -> tuple[float, float] | None:
    """95 % interval of the mean of tables whose rows and columns are both samples.

    A control is a sample of pictures, each compared with every stimulus: it varies with the
    stimuli and with the pictures. Rows and columns are resampled independently (the pigeonhole
    bootstrap, Owen 2007, which errs towards width).

    Args:
        tables: For each subject (stimuli, pictures); the pictures are each subject's own.
        rows: For each subject the number of the stimulus of each row. A stimulus counts once, with
            its mean over subjects.
        generator: Source of the resamples.
        resamples: How many.

    Returns:
        The percentiles; None for fewer than 3 stimuli.
    """
    counts = np.bincount(np.concatenate(rows))
    if (counts > 0).sum() < FEWEST:
        return None
    stimuli = np.flatnonzero(counts)
    weights = np.zeros((resamples, len(counts)))
    weights[:, stimuli] = _resampled(len(stimuli), generator, resamples)
    means = np.zeros(resamples)
    for table, own in zip(tables, rows, strict=True):
        drawn = _resampled(table.shape[1], generator, resamples)
        means += np.einsum("br,br->b", weights[:, own] / counts[own], drawn @ table.T)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _resampled(count: int, generator: np.random.Generator, resamples: int) -> Floats:
    """Weights (resamples, count) of things drawn with replacement, each row adding up to 1."""
    return generator.multinomial(count, np.full(count, 1 / count), resamples) / count
