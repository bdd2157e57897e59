"""Summaries: the unit is the stimulus, nulls have reasons, strata are what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mindvis.metrics.protocols import PROTOCOLS, Metric, metrics_of
from mindvis.metrics.summary import (
    Settings,
    SubjectScores,
    across_subjects,
    by_stimulus,
    strata,
    summarise,
)

METRICS = metrics_of(50, 1)
SETTINGS = Settings(bootstrap=300, permutations=199, seed=4)
IDEAL = np.array([0.0, 0.1, 0.0, 0.2, 0.0])
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
    entry = summarise([one], METRICS, SETTINGS)["metrics"]["mse"]
    assert (entry["p"], entry["p_reason"]) == (None, "only true pairs were compared")


def test_two_stimuli_have_no_interval_and_say_why(rng):
    entry = summarise([subject(rng, ids=("a", "b"))], METRICS, SETTINGS)["metrics"]["mse"]
    assert entry["ci95"] is None
    assert entry["ci95_reason"] == "2 stimuli; an interval needs at least 3"


def test_scores_too_skewed_for_their_number_are_flagged(rng):
    one = subject(rng)
    ids = len(one.stimuli)
    rare = np.zeros((ids, 1))
    rare[0] = 1.0
    even = rng.normal(0.5, 0.1, (ids, 1))
    for values, warned in ((rare, True), (even, False)):
        one = replace(one, draws={"n_way": values})
        entry = summarise([one], METRICS, SETTINGS)["metrics"]["n_way"]
        assert ("ci95_warning" in entry) == warned
        assert entry.get("ci95_warning", "").startswith(f"{ids} stimuli are too few" * warned)


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


def test_a_metric_without_its_weights_has_their_reason_and_those_with_have_the_digest(rng):
    absent = Metric("clip", "CLIP", "retrieval-300", reason="the weights clip are missing")
    entry = summarise([subject(rng)], (*METRICS, absent), SETTINGS)["metrics"]["clip"]
    assert (entry["value"], entry["reason"]) == (None, "the weights clip are missing")
    judged = metrics_of(50, 1, "ab" * 32)
    entries = summarise([subject(rng)], judged, SETTINGS)["metrics"]
    assert entries["n_way"]["weights"] == {"judge": "ab" * 32}
    assert entries["mse"]["weights"] == {}


def test_a_crossed_control_is_its_mean_over_pictures(rng):
    table = rng.uniform(size=(5, 4))
    one = subject(rng, controls={"prior": {"mse": table}}, ceilings={"first-stage": {"mse": IDEAL}})
    found = summarise([one], METRICS, SETTINGS)
    assert found["controls"]["prior"]["mse"]["value"] == pytest.approx(table.mean())
    assert found["ceilings"]["first-stage"]["mse"]["value"] == pytest.approx(IDEAL.mean())


def test_flags_are_strata_of_their_own(rng):
    flags = {"near-duplicate": np.array([True, False, False, False, True])}
    parts = strata([subject(rng, flags=flags, seen=None)], METRICS, SETTINGS)
    assert {name: part["metrics"]["mse"]["n"] for name, part in parts.items()} == {
        "near-duplicate": 2,
        "no-near-duplicate": 3,
    }


def test_subjects_are_counted_not_averaged_away():
    def part(value, low):
        entry = {"value": value, "ci95": (low, 1.0), "chance": 0.5, "better": "higher"}
        nothing = {"value": None, "ci95": None, "chance": None, "better": "lower"}
        return {"metrics": {"two_way": entry, "mse": nothing}}

    found = across_subjects({"a": part(0.9, 0.8), "b": part(0.6, 0.4)})
    assert found == {
        "two_way": {
            "subjects": 2,
            "mean": 0.75,
            "lowest": 0.6,
            "highest": 0.9,
            "above_chance": 1,
        }
    }
