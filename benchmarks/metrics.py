"""n-way accuracy in closed form against the Monte-Carlo loop that it replaces.

    python -m benchmarks.run metrics [--fast]

Both score the same probabilities on one core. The check beside the speed is the largest difference
in units of the loop's own standard error, which the exact value does not have.
"""

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.machine import repeat
from mindvis.metrics.functional import n_way_accuracy, n_way_table
from mindvis.seeding import numpy_generator, torch_generator

GOAL_MS = 10.0


def monte_carlo(
    probabilities: np.ndarray, target: int, n_way: int, trials: int, rng: np.random.Generator
) -> float:
    """Share of correct answers over random sets of distractors, one after the other."""
    others = np.delete(np.arange(len(probabilities)), target)
    right = 0
    for _ in range(trials):
        drawn = rng.choice(others, n_way - 1, replace=False)
        right += bool((probabilities[drawn] <= probabilities[target]).all())
    return right / trials


def _first_call(probabilities: torch.Tensor, target: torch.Tensor, n_way: int) -> torch.Tensor:
    """The whole work of a process that asks for the first time: the table by rank included."""
    n_way_table.cache_clear()
    return n_way_accuracy(probabilities, target, n_way)


def measure(fast: bool = False) -> dict[str, Any]:
    """Seconds of both ways for one set of pictures, their ratio and their agreement."""
    images, classes, n_way, trials = (5, 60, 10, 200) if fast else (250, 1000, 50, 1000)
    logits = torch.randn(images, classes, generator=torch_generator("benchmark"))
    target = torch.arange(images) % classes
    logits[torch.arange(images), target] += 3.0  # better than chance, far from certain
    probabilities = logits.double().softmax(-1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        warm_s = median(repeat(lambda: n_way_accuracy(probabilities, target, n_way), 1.0))
        exact_s = median(repeat(lambda: _first_call(probabilities, target, n_way), 1.0))
    finally:
        torch.set_num_threads(threads)
    exact = n_way_accuracy(probabilities, target, n_way).numpy()
    loop_s, estimate = _loop(probabilities.numpy(), target.tolist(), n_way, trials)
    error = np.sqrt(np.clip(exact * (1 - exact), 1e-12, None) / trials)
    return {
        "images": images,
        "classes": classes,
        "n_way": n_way,
        "trials": trials,
        "exact_ms": 1e3 * exact_s,
        "exact_with_table_cached_ms": 1e3 * warm_s,
        "goal_ms": GOAL_MS,
        "loop_s": loop_s,
        "ratio": loop_s / exact_s,
        "mean_exact": float(exact.mean()),
        "mean_loop": float(estimate.mean()),
        "largest_difference_in_standard_errors": float((np.abs(estimate - exact) / error).max()),
        "standard_error_of_one_picture": float(error.max()),
        "standard_error_of_the_mean": float(np.sqrt((error**2).sum()) / images),
    }


def describe(content: Mapping[str, Any]) -> str:
    """The result in words: the ratio, and the error that the loop has and the formula has not."""
    return (
        f"{content['images']} pictures, {content['n_way']} of {content['classes']} classes: exact "
        f"{content['exact_ms']:.2f} ms (goal {content['goal_ms']:g}), a loop of "
        f"{content['trials']} draws {content['loop_s']:.2f} s: ratio {content['ratio']:.0f}; "
        f"standard error of the loop up to {content['standard_error_of_one_picture']:.4f} a "
        f"picture, {content['standard_error_of_the_mean']:.5f} of the mean; exact "
        f"{content['mean_exact']:.5f}, loop {content['mean_loop']:.5f}"
    )


def _loop(
    probabilities: np.ndarray, target: list[int], n_way: int, trials: int
) -> tuple[float, np.ndarray]:
    """Seconds and estimates of the Monte-Carlo loop."""
    rng = numpy_generator("benchmark", "distractors")
    pairs = list(zip(probabilities, target, strict=True))
    with tqdm(pairs, desc="Monte Carlo", delay=2, leave=False) as bar:
        estimate = np.array([monte_carlo(row, t, n_way, trials, rng) for row, t in bar])
        return float(bar.format_dict["elapsed"]), estimate
