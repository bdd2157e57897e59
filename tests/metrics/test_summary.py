"""Summaries: the unit is the stimulus, nulls have reasons, strata are what they say."""

import json

import numpy as np
import pytest

from mindvis.metrics.protocols import PROTOCOLS, metrics_of
from mindvis.metrics.summary import Settings, SubjectScores, by_stimulus, strata, summarise

METRICS = metrics_of(50, 1)
SETTINGS = Settings(bootstrap=300, permutations=199, seed=4)
IDS = ("a", "b", "c", "d", "e")


def subject(rng, name="sub-01", ids=IDS, draws=3, **changes):
    """Random tables of two metrics, true label missing for the first stimulus."""
    n = len(ids)
    tables = {m: rng.uniform(size=(n, n, draws)) for m in ("n_way", "n_way_true_label", "mse")}
    tables["n_way_true_label"][0] = np.nan
    fields = {
        "seen": np.arange(n) < n - 2,
        "draws": {m: np.stack([t[i, i] for i in range(n)]) for m, t in tables.items()},
        "pairs": {m: t.mean(-1) for m, t in tables.items()},
        "controls": {"mean-brain": {"mse": np.arange(n) / 10}},
    }
    return SubjectScores(name, ids, **{**fields, **changes})


def test_a_stimulus_counts_once_whatever_the_number_of_subjects():
    names, means = by_stimulus(
        [(("b", "a"), np.array([1.0, 3.0])), (("a", "c"), np.array([5.0, np.nan]))]
    )
    assert names == ["a", "b"]
    np.testing.assert_array_equal(means, [4.0, 1.0])


def test_value_is_the_mean_over_draws_subjects_and_stimuli(rng):
    both = [subject(rng), subject(rng, "sub-02")]
    entry = summarise(both, METRICS, SETTINGS)["metrics"]["n_way"]
    assert entry["value"] == pytest.approx(np.mean([s.draws["n_way"] for s in both]))
    assert entry["n"] == 5
    assert entry["ci95"][0] < entry["value"] < entry["ci95"][1]
    assert entry["unit"] == "stimulus"
    assert entry["protocol"] in PROTOCOLS
    assert entry["chance"] == 0.02


def test_shuffled_control_is_the_mean_over_all_pairings(rng):
    one = subject(rng)
    shuffled = summarise([one], METRICS, SETTINGS)["controls"]["shuffled-brain"]
    assert shuffled["n_way"]["value"] == pytest.approx(one.pairs["n_way"].mean())
    assert shuffled["mse"]["value"] == pytest.approx(one.pairs["mse"].mean())


def test_controls_are_means_over_stimuli(rng):
    found = summarise([subject(rng)], METRICS, SETTINGS)["controls"]
    assert found["mean-brain"]["mse"]["value"] == pytest.approx(0.2)
    assert found["mean-brain"]["n_way"] == {
        "value": None,
        "ci95": None,
        "n": 0,
        "reason": "no stimulus has this score",
    }
    assert "ridge" not in found


def test_a_stimulus_without_a_score_is_left_out(rng):
    entry = summarise([subject(rng)], METRICS, SETTINGS)["metrics"]["n_way_true_label"]
    assert entry["n"] == 4
    assert entry["p"] is not None


def test_p_of_an_error_is_small_when_true_pairs_are_low(rng):
    ids = tuple("abcdefgh")
    table = 1.0 - 0.9 * np.eye(8)
    low = SubjectScores("s", ids, None, {"mse": np.full((8, 1), 0.1)}, {"mse": table})
    assert summarise([low], METRICS, SETTINGS)["metrics"]["mse"]["p"] == 1 / 200


def test_metrics_that_were_not_computed_are_null_with_the_reason(rng):
    entry = summarise([subject(rng)], METRICS, SETTINGS)["metrics"]["ssim"]
    assert entry["value"] is None
    assert entry["reason"] == "not computed for these pictures"
    bare = SubjectScores("sub-01", IDS, None, {}, {})
    entry = summarise([bare], METRICS, SETTINGS, missing="no judge")["metrics"]["n_way"]
    assert (entry["value"], entry["reason"]) == (None, "no judge")


def test_pairs_that_were_not_compared_have_no_p(rng):
    one = subject(rng)
    one.pairs["mse"][0, 1] = np.nan
    assert summarise([one], METRICS, SETTINGS)["metrics"]["mse"]["p"] is None


def test_two_stimuli_have_no_interval_and_say_why(rng):
    entry = summarise([subject(rng, ids=("a", "b"))], METRICS, SETTINGS)["metrics"]["mse"]
    assert entry["ci95"] is None
    assert entry["ci95_reason"] == "2 stimuli; an interval needs at least 3"


def test_strata_are_the_seen_and_the_unseen_stimuli(rng):
    one = subject(rng)
    parts = strata([one], METRICS, SETTINGS)
    assert list(parts) == ["seen", "unseen"]
    assert parts["seen"]["metrics"]["mse"]["value"] == pytest.approx(one.draws["mse"][:3].mean())
    assert parts["unseen"]["metrics"]["mse"]["n"] == 2
    assert strata([subject(rng, seen=None)], METRICS, SETTINGS) == {}


def test_a_summary_is_reproducible_and_plain_json(rng):
    one = subject(rng)
    first, second = (summarise([one], METRICS, SETTINGS) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)
