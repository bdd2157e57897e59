"""What it takes to pass a control, on scores whose truth is known."""

import numpy as np
import pytest

from mindvis.metrics.checks import check_controls, failed
from mindvis.metrics.protocols import metrics_of
from mindvis.metrics.summary import Settings, SubjectScores, summarise

METRICS = metrics_of(50, 1)
SETTINGS = Settings(bootstrap=200, permutations=100)
IDS = tuple(f"s{i:02d}" for i in range(30))


def subject(own, name="sub-01", ids=IDS, metric="n_way", **changes):
    """A subject with one metric: scores of each stimulus, and random pairs."""
    n = len(ids)
    fields = {"draws": {metric: own[:, None]}, "pairs": {metric: np.full((n, n), 0.02)}}
    return SubjectScores(name, ids, None, **{**fields, **changes})


def check(subjects, headline="n_way"):
    summary = summarise(subjects, METRICS, SETTINGS)
    return check_controls(subjects, summary, METRICS, headline, SETTINGS)


def test_a_better_decoder_passes_and_says_by_how_much(rng):
    own = rng.uniform(0.4, 0.9, 30)
    one = subject(own, controls={"ridge": {"n_way": own - 0.2 + 0.05 * rng.normal(size=30)}})
    found = check([one])
    assert found["ridge"]["passed"] is True
    assert found["ridge"]["difference"] == pytest.approx(0.2, abs=0.05)
    assert found["ridge"]["sentence"].startswith("better than ridge by 50-way top-1 (+")
    assert found["shuffled-brain"]["passed"] is True
    assert failed(found) == {}


def test_an_equal_decoder_fails_with_a_sentence(rng):
    own = rng.uniform(0.4, 0.9, 30)
    one = subject(own, controls={"ridge": {"n_way": own + 0.05 * rng.normal(size=30)}})
    sentence = failed(check([one]))["ridge"]
    assert sentence.startswith("not better than ridge by 50-way top-1 (")


def test_a_lower_error_is_better(rng):
    own = rng.uniform(0.1, 0.2, 30)
    one = subject(
        own,
        metric="mse",
        controls={"ridge": {"mse": own + 0.1}, "prior": {"mse": own[:, None] - 0.05}},
    )
    found = check([one], "mse")
    assert found["ridge"]["passed"] is True
    assert found["ridge"]["difference"] == pytest.approx(0.1)
    assert found["prior"]["passed"] is False


def test_two_stimuli_test_nothing():
    own = np.array([0.9, 0.8])
    found = check([subject(own, ids=IDS[:2], controls={"ridge": {"n_way": own - 0.5}})])
    assert found["ridge"]["passed"] is None
    assert "not tested, 2 stimuli" in found["ridge"]["sentence"]
    assert failed(found) == {}


def test_a_decoder_that_paints_the_prior_rarely_passes(rng):
    """Pictures differ far more than stimuli: an interval over stimuli alone would let it pass."""
    passed = 0
    for _ in range(60):
        stimuli = 0.05 * rng.normal(size=(30, 1))
        pictures = 0.3 * rng.normal(size=(1, 6))
        control = 0.5 + stimuli + pictures + 0.02 * rng.normal(size=(30, 6))
        own = 0.5 + stimuli[:, 0] + 0.3 * rng.normal(size=30)
        found = check([subject(own, controls={"prior": {"n_way": control}})])
        passed += found["prior"]["passed"]
    assert passed <= 6


def test_stimuli_of_two_subjects_count_once(rng):
    own = rng.uniform(0.4, 0.9, 30)
    control = {"prior": {"n_way": (own - 0.1)[:, None] + np.zeros(4)}}
    half = {"prior": {"n_way": (own - 0.1)[:20, None] + np.zeros(3)}}
    both = [subject(own, controls=control), subject(own[:20], "sub-02", IDS[:20], controls=half)]
    found = check(both)["prior"]
    assert (found["n"], found["passed"]) == (30, True)
    assert found["difference"] == pytest.approx(0.1)
    assert found["ci95"] == pytest.approx((0.1, 0.1))


def test_a_control_above_chance_is_told(rng):
    own = rng.uniform(0.4, 0.9, 30)
    one = subject(
        own, controls={"mean-brain": {"n_way": np.full((30, 5), 0.2) + 0.01 * own[:, None]}}
    )
    found = check([one])
    assert found["mean-brain"]["above_chance"] is True
    assert found["shuffled-brain"]["above_chance"] is False


def test_without_the_headline_pixels_decide(rng):
    own = rng.uniform(0.2, 0.6, 30)
    one = subject(
        own, metric="pixel_correlation", controls={"ridge": {"pixel_correlation": own + 0.2}}
    )
    found = check([one])["ridge"]
    assert (found["metric"], found["passed"]) == ("pixel_correlation", False)
