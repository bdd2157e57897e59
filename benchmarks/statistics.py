"""Do intervals cover, do tests keep their level, and what can 50 stimuli show.

    python -m benchmarks.run statistics [--fast]

Simulated scores whose truth is known, through the very functions that `mindvis evaluate` calls. The
numbers of docs/statistics.md come from here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from mindvis.metrics.comparison import crossed_interval, sign_flip_p
from mindvis.metrics.functional import n_way_accuracy, n_way_table
from mindvis.metrics.statistics import bootstrap_interval, pairing_p, too_skewed
from mindvis.seeding import numpy_generator

Floats = NDArray[np.float64]
CLASSES, N_WAY = 1000, 50


def n_way_scores(gain: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """n-way accuracies of pictures whose class stands `gain` deviations above 999 others.

    The number of classes above a target of score s is binomial with the normal tail beyond s.
    """
    return _from_scores(rng.normal(gain, 1, shape), rng)


def scores() -> dict[str, Callable[[tuple[int, ...], np.random.Generator], Floats]]:
    """Scores of single stimuli as they occur: from nearly normal to nearly all zero."""
    return {
        "pixel correlation, mean .40": lambda n, rng: rng.normal(0.4, 0.2, n),
        "2-way identification, mean .85": lambda n, rng: rng.beta(3.4, 0.6, n),
        "50-way, mean .65, as the demo's": lambda n, rng: n_way_scores(2.65, n, rng),
        "50-way, mean .38": lambda n, rng: n_way_scores(1.9, n, rng),
        "50-way, mean .15": lambda n, rng: n_way_scores(1.1, n, rng),
        "50-way, mean .06": lambda n, rng: n_way_scores(0.5, n, rng),
        "50-way at chance, .02": lambda n, rng: n_way_scores(0.0, n, rng),
    }


def _from_scores(target: Floats, rng: np.random.Generator) -> Floats:
    """50-way accuracy of targets that stand at these deviations among 999 others."""
    above = rng.binomial(CLASSES - 1, stats.norm.sf(target))
    return n_way_table(CLASSES, N_WAY).numpy()[above]


def coverage(stimuli: int, repeats: int, resamples: int) -> dict[str, dict[str, float]]:
    """Share of 95 % intervals that hold the true mean, of BCa and of Student's t beside it.

    And `flagged`, the share of samples that are marked as too skewed for their number.
    """
    found = {}
    for name, draw in tqdm(scores().items(), desc=f"coverage, n = {stimuli}"):
        rng = numpy_generator("coverage", name, stimuli)
        truth = float(np.mean([draw((20_000,), rng).mean() for _ in range(20)]))
        bca = student = flagged = 0
        for _ in range(repeats):
            values = draw((stimuli,), rng)
            low, high = bootstrap_interval(values, rng, resamples) or (np.nan, np.nan)
            bca += low <= truth <= high
            flagged += too_skewed(values)
            reach = stats.t.ppf(0.975, stimuli - 1) * values.std(ddof=1) / np.sqrt(stimuli)
            student += abs(values.mean() - truth) <= reach
        sample = draw((20_000,), rng)
        found[name] = {
            "mean": truth,
            "skewness": float(stats.skew(sample)),
            "bca": bca / repeats,
            "student": student / repeats,
            "flagged": flagged / repeats,
        }
    return found


def simulated_table(gain: float, stimuli: int, classes: int, rng: np.random.Generator) -> Floats:
    """Truth by row, whose picture by column: 50-way of each picture for each truth's class.

    `classes` of the stimuli differ; stimuli of one class share their answers.
    """
    kind = np.arange(stimuli) % classes
    opinion = rng.normal(size=(stimuli, CLASSES))
    opinion[np.arange(stimuli), kind] += gain
    rows = [
        n_way_accuracy(torch.from_numpy(opinion), torch.full((stimuli,), int(c)), N_WAY).numpy()
        for c in range(classes)
    ]
    return np.stack(rows)[kind]


def rejections(
    make: Callable[[np.random.Generator], Floats], repeats: int, permutations: int, *parts: object
) -> list[float]:
    """p-values of the pairing for simulated tables."""
    rng = numpy_generator("size", *parts)
    found = []
    for _ in tqdm(range(repeats), desc=f"permutations {parts}", delay=2, leave=False):
        table = make(rng)
        weights = np.full(len(table), 1 / len(table))
        found.append(pairing_p([table], [weights], rng, permutations))
    return found


def size(stimuli: int, repeats: int, permutations: int) -> dict[str, dict[str, float]]:
    """How often tests reject at .05 and .01 what is true: pictures that say nothing."""
    tables = {
        "50-way, every class once": lambda rng: simulated_table(0.0, stimuli, stimuli, rng),
        "50-way, ten classes": lambda rng: simulated_table(0.0, stimuli, 10, rng),
        "correlation": lambda rng: rng.normal(size=(stimuli, stimuli)),
    }
    found = {name: rejections(make, repeats, permutations, name) for name, make in tables.items()}
    rng = numpy_generator("size", "paired")
    found["two runs, 50-way of .38"] = [
        sign_flip_p(
            n_way_scores(1.9, (stimuli,), rng) - n_way_scores(1.9, (stimuli,), rng),
            rng,
            permutations,
        )
        for _ in range(repeats)
    ]
    return {
        name: {
            "at_05": float(np.mean(np.array(p) <= 0.05)),
            "at_01": float(np.mean(np.array(p) <= 0.01)),
        }
        for name, p in found.items()
    }


def power(stimuli: int, repeats: int, permutations: int) -> list[dict[str, float]]:
    """How often a decoder of some true accuracy is found at .05, by pairing and by comparison."""
    rows = []
    for gain in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0):
        accuracy = float(n_way_scores(gain, (20_000,), numpy_generator("power", gain)).mean())
        p = rejections(
            lambda rng, gain=gain: simulated_table(gain, stimuli, stimuli, rng),
            repeats,
            permutations,
            gain,
            stimuli,
        )
        rows.append({"accuracy": accuracy, "power": float(np.mean(np.array(p) <= 0.05))})
    return rows


def power_of_comparison(stimuli: int, repeats: int, permutations: int) -> list[dict[str, float]]:
    """How often the better of two runs is found: the same stimuli, errors that correlate .5."""
    rows = []
    for extra in (0.2, 0.4, 0.6, 0.8, 1.0):
        rng, found, gaps = numpy_generator("comparison", extra, stimuli), 0, []
        for _ in range(repeats):
            shared = rng.normal(size=stimuli)
            both = [
                _from_scores(gain + np.sqrt(0.5) * (shared + rng.normal(size=stimuli)), rng)
                for gain in (2.5, 2.5 + extra)
            ]
            gaps.append((both[1] - both[0]).mean())
            found += sign_flip_p(both[1] - both[0], rng, permutations) <= 0.05
        rows.append({"difference": float(np.mean(gaps)), "power": found / repeats})
    return rows


def coverage_of_crossed(repeats: int, resamples: int) -> dict[str, float]:
    """Share of 95 % intervals of a control of 20 pictures and 50 stimuli that hold the truth.

    By how much of the variance is the pictures' own.
    """
    found = {}
    for share in (0.0, 0.5, 0.9):
        rng, covered = numpy_generator("crossed", share), 0
        for _ in range(repeats):
            pictures = np.sqrt(share) * rng.normal(size=20)
            stimuli = np.sqrt(1 - share) * rng.normal(size=(50, 1))
            table = pictures + stimuli + rng.normal(size=(50, 20))
            ends = crossed_interval([table], [np.arange(50)], rng, resamples)
            covered += ends is not None and ends[0] <= 0 <= ends[1]
        found[f"{share:g}"] = covered / repeats
    return found


def measure(fast: bool = False) -> dict[str, Any]:
    """Coverage, size and power; `repeats` simulated experiments for each number."""
    repeats, resamples, permutations = (20, 200, 99) if fast else (2000, 2000, 499)
    sizes = (50,) if fast else (20, 50, 100, 250)
    return {
        "repeats": repeats,
        "resamples": resamples,
        "permutations": permutations,
        "standard_error_at_95": float(np.sqrt(0.95 * 0.05 / repeats)),
        "coverage": {str(n): coverage(n, repeats, resamples) for n in sizes},
        "coverage_of_controls": coverage_of_crossed(repeats // 2, resamples),
        "size": size(50, repeats, permutations),
        "power": {str(n): power(n, repeats // 4, permutations) for n in sizes[:3]},
        "power_of_comparison": {
            str(n): power_of_comparison(n, repeats // 4, permutations) for n in sizes[:3]
        },
    }
