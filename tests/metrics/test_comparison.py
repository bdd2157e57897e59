"""Paired tests against SciPy and enumeration; Holm against its textbook steps."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mindvis.errors import DataError
from mindvis.metrics import comparison
from mindvis.metrics.comparison import (
    align,
    crossed_interval,
    holm,
    paired_difference,
    sign_flip_p,
)


def test_docstring_examples_hold():
    assert doctest.testmod(comparison).failed == 0


def test_only_stimuli_of_both_runs_are_compared_in_one_order():
    first = (["c", "a", "b"], np.array([3.0, 1.0, np.nan]))
    second = (["a", "b", "c", "d"], np.array([10.0, 20.0, 30.0, 40.0]))
    names, one, other = align(first, second)
    assert names == ["a", "c"]
    np.testing.assert_array_equal(one, [1, 3])
    np.testing.assert_array_equal(other, [10, 30])


def test_a_stimulus_that_is_listed_twice_is_refused():
    twice = (["a", "a"], np.array([1.0, 2.0]))
    with pytest.raises(DataError, match=r"stimulus 'a' occurs more than once.*average over draws"):
        align(twice, twice)


@pytest.mark.parametrize("count", [5, 12])
def test_p_of_few_stimuli_is_scipys_exact_randomisation_test(count, rng):
    values = rng.normal(0.4, 1, count)
    expected = stats.permutation_test(
        (values, np.zeros(count)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert sign_flip_p(values, rng) == pytest.approx(expected, abs=1e-12)


def test_p_of_many_stimuli_agrees_with_the_t_test(rng):
    values = rng.normal(0.15, 1, 150)
    expected = stats.ttest_1samp(values, 0).pvalue
    assert sign_flip_p(values, rng, 20_000) == pytest.approx(expected, abs=0.015)


def test_p_of_equal_runs_is_one_and_of_a_constant_gain_is_smallest(rng):
    assert sign_flip_p(np.zeros(40), rng, 99) == 1.0
    assert sign_flip_p(np.full(40, 0.1), rng, 999) == 1 / 1000
    assert sign_flip_p(np.full(8, 0.1), rng) == 2 / 2**8


def test_p_keeps_its_level_when_neither_run_is_better(rng):
    found = [sign_flip_p(rng.exponential(size=(2, 20)).T @ [1, -1], rng, 199) for _ in range(300)]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_difference_has_interval_p_and_n(rng):
    first = rng.uniform(size=30)
    second = first - 0.1 + 0.05 * rng.normal(size=30)
    found = paired_difference(first, second, rng, 2000, 999)
    assert found.value == pytest.approx((first - second).mean())
    assert found.ci95[0] < found.value < found.ci95[1]
    assert (found.p, found.n) == (1 / 1000, 30)
    none = paired_difference(first[:0], second[:0], rng)
    assert (none.ci95, none.p, none.n) == (None, None, 0)
    with pytest.raises(DataError, match="30 scores were paired with 29"):
        paired_difference(first, second[1:], rng)


def test_holm_equals_its_steps():
    p = {"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.005}
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04, "d": 0.02})
    assert list(holm(p)) == list(p)
    with pytest.raises(DataError, match="p-value of x is nan"):
        holm({"x": float("nan")})


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
@settings(max_examples=60)
def test_holm_lies_between_the_raw_value_and_bonferronis(p_values):
    adjusted = holm(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1.0, len(p_values) * p) + 1e-15
    order = sorted(p_values, key=p_values.get)
    assert [adjusted[name] for name in order] == sorted(adjusted.values())


def test_holm_keeps_the_familywise_level_when_all_are_null(rng):
    p = rng.uniform(size=(2000, 6))
    wrong = [min(holm(dict(enumerate(row))).values()) <= 0.05 for row in p.tolist()]
    assert 0.03 < np.mean(wrong) < 0.065


def test_crossed_interval_holds_the_variation_of_few_pictures(rng):
    """Ten pictures of one control: an interval over stimuli alone would miss the mean mostly."""
    covered = []
    for _ in range(120):
        pictures = rng.normal(size=10)
        table = pictures + 0.3 * rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=(40, 10))
        low, high = crossed_interval([table], [np.arange(40)], rng, 400)
        covered.append(low < 0 < high)
    assert np.mean(covered) > 0.85
    assert crossed_interval([np.ones((2, 4))], [np.arange(2)], rng) is None


def test_crossed_interval_counts_a_stimulus_once(rng):
    tables = [np.ones((4, 3)), np.zeros((4, 2))]
    same, apart = [np.arange(4), np.arange(4)], [np.arange(4), np.arange(4, 8)]
    assert crossed_interval(tables, same, rng, 99) == pytest.approx((0.5, 0.5))
    low, high = crossed_interval(tables, apart, rng, 500)
    assert low <= 0.25
    assert high >= 0.75
