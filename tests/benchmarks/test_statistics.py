"""The simulations of docs/statistics.md at toy size."""

import numpy as np
import pytest

from benchmarks import statistics


def test_simulated_scores_are_n_way_accuracies_at_chance_without_gain():
    rng = np.random.default_rng(0)
    assert statistics.n_way_scores(0.0, (20_000,), rng).mean() == pytest.approx(1 / 50, abs=0.003)
    table = statistics.simulated_table(3.0, 12, 4, rng)
    assert table.shape == (12, 12)
    np.testing.assert_array_equal(table[0], table[4])  # stimuli of one class
    assert np.diagonal(table).mean() > 3 * table.mean()


def test_coverage_size_and_power_are_measured():
    found = statistics.coverage(50, 40, 200)
    assert 0.85 <= found["pixel correlation, mean .40"]["bca"] <= 1
    size = statistics.size(20, 40, 99)
    assert all(row["at_05"] <= 0.2 for row in size.values())
    strong = statistics.power(20, 10, 99)[-1]
    assert strong["power"] > 0.8
    assert set(statistics.coverage_of_crossed(20, 100)) == {"0", "0.5", "0.9"}
