"""Intervals against SciPy and their nominal coverage; the permutation test against enumeration."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from mindvis.metrics.statistics import SKEWED, bootstrap_interval, pairing_p, too_skewed


def test_interval_is_scipys_bca(rng):
    values = rng.exponential(size=40)
    got = bootstrap_interval(values, np.random.default_rng(3), 2000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert got == pytest.approx((expected.low, expected.high))
    assert got[0] < values.mean() < got[1]


def test_interval_covers_the_mean_about_as_often_as_it_says(rng):
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.beta(0.6, 0.9, size=50), rng, 400)
        covered += low <= 0.4 <= high
    assert 180 <= covered <= 199


def test_too_skewed_is_the_acceleration_of_the_jackknife(rng):
    found = set()
    for shape in np.linspace(0.02, 1, 60):
        values = rng.beta(shape, 1.5, size=30)
        ones = np.array([np.delete(values, i).mean() for i in range(30)])
        gaps = ones.mean() - ones
        acceleration = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
        assert too_skewed(values) == too_skewed(-values) == (abs(acceleration) > SKEWED)
        found.add(too_skewed(values))
    assert found == {True, False}
    assert not too_skewed(np.full(30, 0.2))
    assert not too_skewed(np.array([0.0, 1.0]))


@pytest.mark.parametrize("values", [[0.3, 0.3, 0.3], [0.0] * 9])
def test_interval_of_equal_values_is_the_value(values, rng):
    assert bootstrap_interval(np.array(values), rng) == pytest.approx((values[0], values[0]))


def test_interval_of_fewer_than_three_is_absent(rng):
    assert bootstrap_interval(np.array([0.1, 0.4]), rng) is None


def test_interval_with_one_odd_value_is_finite_and_ordered(rng):
    low, high = bootstrap_interval(np.array([0.0] * 30 + [1.0]), rng, 500)
    assert 0 <= low <= 1 / 31 <= high < 1


def test_p_equals_enumeration_of_all_pairings(rng):
    table = rng.normal(size=(5, 5)) + 0.6 * np.eye(5)
    weights = np.full(5, 0.2)
    sums = [table[range(5), order].mean() for order in permutations(range(5))]
    exact = np.mean(np.array(sums) >= np.trace(table) / 5 - 1e-12)
    assert pairing_p([table], [weights], rng, 20_000) == pytest.approx(exact, abs=0.015)


def test_p_is_smallest_for_true_pairs_and_one_for_constant_pictures(rng):
    weights = [np.full(12, 1 / 12)]
    assert pairing_p([np.eye(12)], weights, rng, 999) == 1 / 1000
    assert pairing_p([np.full((12, 12), 0.3)], weights, rng, 999) == 1.0


def test_p_keeps_its_level_when_pictures_say_nothing(rng):
    found = [
        pairing_p([rng.normal(size=(20, 20))], [np.full(20, 0.05)], rng, 199) for _ in range(300)
    ]
    assert np.mean(np.array(found) <= 0.05) < 0.09
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_p_combines_subjects_of_different_size(rng):
    weak = [rng.normal(size=(n, n)) + 0.9 * np.eye(n) for n in (15, 11)]
    weights = [np.full(len(table), 1 / 26) for table in weak]
    alone = [pairing_p([t], [np.full(len(t), 1 / len(t))], rng, 2000) for t in weak]
    assert pairing_p(weak, weights, rng, 2000) <= min(alone) + 0.01
