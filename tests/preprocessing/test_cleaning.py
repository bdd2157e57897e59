"""Cleaning and windows against plain least squares, whatever the confounds look like."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindvis.errors import SourceError
from preprocessing.signal import (
    CleaningOptions,
    ResponseOptions,
    average_volumes,
    clean_run,
    trial_design,
    window_end,
    window_rows,
)

COUNT, TR, HIGH_PASS = 90, 2.0, 0.01


def cosines(count, tr, high_pass):
    """The discrete cosine basis below a frequency, written from its formula."""
    order = int(np.floor(2 * count * high_pass * tr))
    steps = (np.arange(count) + 0.5) / count
    return np.cos(np.pi * steps[:, None] * np.arange(1, order + 1))


def residuals(series, *regressors):
    """What least squares leaves."""
    matrix = np.column_stack([np.ones(len(series)), np.arange(len(series)), *regressors])
    return series - matrix @ np.linalg.lstsq(matrix, series, rcond=None)[0]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    which=st.integers(0, 2),
    share=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_drifts_are_removed_whatever_a_confound_resembles(seed, which, share, sign):
    rng = np.random.default_rng(seed)
    drifts = cosines(COUNT, TR, HIGH_PASS)
    series = rng.standard_normal((COUNT, 4)) + 20 * drifts[:, :1] + 300
    confounds = rng.standard_normal((COUNT, 3))
    confounds[:, 0] = sign * (share * drifts[:, which] + (1 - share) * confounds[:, 0])
    options = CleaningOptions(True, HIGH_PASS, standardise=False)
    cleaned = clean_run(series, TR, options, confounds)
    np.testing.assert_allclose(cleaned, residuals(series, drifts, confounds), atol=1e-9)


def test_regressors_that_leave_nothing_are_refused():
    series = np.random.default_rng(0).standard_normal((20, 3))
    confounds = np.random.default_rng(1).standard_normal((20, 18))
    options = CleaningOptions(True, None)
    with pytest.raises(
        SourceError, match=r"18 confounds and drifts .* run of 20 volumes, .*nothing"
    ):
        clean_run(series, TR, options, confounds)
    clean_run(series, TR, options, confounds[:, :15])


def test_a_filter_that_takes_every_frequency_is_refused():
    with pytest.raises(SourceError, match=r"--high_pass is 0.3 Hz; expected less than 0.25 Hz"):
        clean_run(np.zeros((20, 1)), TR, CleaningOptions(True, 0.3))


@pytest.mark.parametrize(("duration", "end"), [(0, 9), (2, 9), (9, 9), (9.5, 9.5), (22.5, 22.5)])
def test_the_window_ends_with_the_event(duration, end):
    assert window_end(duration, ResponseOptions()) == end


def test_a_block_is_averaged_while_it_lasts():
    times = np.arange(40) * TR
    series = ((times >= 14) & (times < 32)).astype(float)[:, None]
    mean = average_volumes(series, times, [10.0], ResponseOptions(), [22.0])
    np.testing.assert_array_equal(mean, [[1.0]])


def test_a_window_that_misses_most_of_an_event_is_refused():
    times = np.arange(10) * TR
    with pytest.raises(SourceError, match=r"3 volumes .*cover 6 s of an event of 20 s"):
        window_rows(times, 10.0, ResponseOptions(), duration=20.0)


def planted(onsets, durations, amplitudes, count=120):
    """Volumes in which each event has a response of its amplitude."""
    events = pd.DataFrame({"onset": onsets, "duration": durations})
    design = trial_design(np.arange(count) * TR, events, CleaningOptions(False, None), "glover")
    return design.to_numpy()[:, : len(onsets)] @ np.asarray(amplitudes)


def test_impulses_have_the_betas_of_short_events():
    """An event of zero length has the area of one of a second: betas of like size."""
    onsets = [4.0, 60.0, 120.0]
    second, impulse = (planted(onsets, [length] * 3, [1, 2, 3]) for length in (1.0, 0.0))
    np.testing.assert_allclose(impulse.sum(), second.sum(), rtol=0.02)


def test_impulses_among_longer_events_are_refused():
    with pytest.raises(
        SourceError, match=r"1 of 3 trials .*duration 0 or n/a, others last up to 2"
    ):
        planted([4.0, 60.0, 120.0], [2.0, 0.0, 2.0], [1, 1, 1])


def test_a_trial_without_a_response_in_the_run_is_refused():
    with pytest.raises(SourceError, match="the trial at 238 s has hardly a response"):
        planted([4.0, 60.0, 238.0], [1.0] * 3, [1] * 3)
