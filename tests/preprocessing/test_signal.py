import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix

from mindvis.errors import ConfigError, SourceError
from preprocessing.reader import by_columns
from preprocessing.signal import (
    CleaningOptions,
    ResponseOptions,
    average_volumes,
    clean_run,
    least_squares_all,
    least_squares_separate,
    trial_design,
    window_means,
)

TR = 1.5
TIMES = TR * np.arange(61)
TRIALS = pd.DataFrame(
    {"onset": [3.0, 10.5, 20.2, 33.0, 33.0, 52.0], "duration": [1, 2, 0.5, 1, 4, 1]}
)


@pytest.fixture
def series(rng):
    return rng.normal(size=(61, 13)).cumsum(axis=0) + 100


def residual(series, columns):
    """What ordinary least squares leaves of a series."""
    beta, *_ = np.linalg.lstsq(columns, series, rcond=None)
    return series - columns @ beta


def cosines(count, tr, high_pass):
    """Discrete cosines slower than the cut-off, the constant first (Ashburner, SPM)."""
    order = int(np.floor(2 * count * high_pass * tr))
    steps = np.arange(count) + 0.5
    return np.stack([np.cos(np.pi * k * steps / count) for k in range(order + 1)], axis=1)


def test_detrended_and_scaled_series_is_the_residual_of_a_line(series):
    line = np.stack([np.ones(61), np.arange(61)], axis=1)
    expected = residual(series, line)
    expected /= expected.std(axis=0, ddof=1)
    found = clean_run(series, TR, CleaningOptions(high_pass=None))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_drifts_and_confounds_are_removed_together(series, rng):
    confounds = rng.normal(size=(61, 4))
    line = np.stack([np.ones(61), np.arange(61)], axis=1)
    detrended = [residual(x, line) for x in (confounds, cosines(61, TR, 0.02)[:, 1:])]
    expected = residual(residual(series, line), np.concatenate(detrended, axis=1))
    expected /= expected.std(axis=0, ddof=1)
    found = clean_run(series, TR, CleaningOptions(high_pass=0.02), confounds)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nothing_is_removed_when_nothing_is_asked_for(series):
    found = clean_run(series, TR, CleaningOptions(detrend=False, high_pass=None, standardise=False))
    np.testing.assert_allclose(found, series)


def test_average_takes_volumes_from_lag_start_until_before_lag_end(series):
    options = ResponseOptions(lag_start=3.0, lag_end=7.5)
    found = average_volumes(series, TIMES, [0.0, 4.5, 5.0], options)
    np.testing.assert_allclose(found[0], series[[2, 3, 4]].mean(axis=0))
    np.testing.assert_allclose(found[1], series[[5, 6, 7]].mean(axis=0))
    np.testing.assert_allclose(found[2], series[[6, 7, 8]].mean(axis=0))  # 9.0 to 12.0 s


def test_average_is_not_moved_by_rounding_errors(series):
    times = 0.1 * np.arange(61)
    options = ResponseOptions(lag_start=0.1, lag_end=0.3)
    found = average_volumes(series, times, [0.4, 2.2], options)  # 0.5 - 0.4 < 0.1 in doubles
    np.testing.assert_allclose(found[0], series[[5, 6]].mean(axis=0))
    np.testing.assert_allclose(found[1], series[[23, 24]].mean(axis=0))


def test_window_without_volumes_is_refused():
    with pytest.raises(SourceError, match=r"no volume between 4 and 9 s after the onset at 90 s"):
        average_volumes(np.zeros((61, 2)), TIMES, [90.0], ResponseOptions())


def test_lags_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match=r"lag_end is 2.0 s; expected more than lag_start, 4.0 s"):
        ResponseOptions(lag_start=4.0, lag_end=2.0)


def test_lsa_equals_plain_least_squares_on_the_same_design(series, rng):
    confounds = rng.normal(size=(61, 3))
    design = trial_design(TIMES, TRIALS, CleaningOptions(high_pass=0.01), "glover", confounds)
    names = [f"t{n}" for n in range(6)]
    reference = make_first_level_design_matrix(
        TIMES,
        TRIALS.assign(trial_type=names),
        hrf_model="glover",
        drift_model="cosine",
        high_pass=0.01,
        add_regs=confounds,
    )
    beta, *_ = np.linalg.lstsq(reference.to_numpy(), series, rcond=None)
    rows = [list(reference.columns).index(name) for name in names]
    np.testing.assert_allclose(least_squares_all(series, design, 6), beta[rows], rtol=1e-6)


def test_lss_equals_one_plain_regression_for_each_trial(series):
    design = trial_design(TIMES, TRIALS, CleaningOptions(high_pass=None), "spm")
    found = least_squares_separate(series, design, 6)
    for number in range(6):
        events = TRIALS.assign(trial_type=["own" if n == number else "rest" for n in range(6)])
        reference = make_first_level_design_matrix(
            TIMES, events, hrf_model="spm", drift_model="polynomial", drift_order=1
        )
        beta, *_ = np.linalg.lstsq(reference.to_numpy(), series, rcond=None)
        own = list(reference.columns).index("own")
        np.testing.assert_allclose(found[number], beta[own], rtol=1e-5)


def test_lss_of_a_single_trial_equals_lsa(series):
    design = trial_design(TIMES, TRIALS.iloc[:1], CleaningOptions(), "glover")
    separate, together = (f(series, design, 1) for f in (least_squares_separate, least_squares_all))
    np.testing.assert_allclose(separate, together)


@pytest.mark.parametrize("method", [least_squares_all, least_squares_separate])
def test_glm_recovers_planted_amplitudes(method, rng):
    trials = pd.DataFrame({"onset": np.arange(5) * 16.0 + 2, "duration": 1.0})
    design = trial_design(TIMES, trials, CleaningOptions(high_pass=None), "glover")
    amplitudes = rng.normal(size=(5, 13))
    amplitudes[1:] = amplitudes[0]  # separate models share one amplitude among the others
    signal = design.to_numpy()[:, :5] @ amplitudes + 7.0
    np.testing.assert_allclose(method(signal, design, 5), amplitudes, atol=1e-9)


def test_windows_average_whole_volumes_and_leave_the_rest(series):
    found = window_means(series, TR, 8.0)  # five volumes of 1.5 s fit into 8 s
    assert found.shape == (12, 13)
    np.testing.assert_allclose(found[3], series[15:20].mean(axis=0))


def test_windows_shorter_than_a_volume_are_one_volume(series):
    np.testing.assert_array_equal(window_means(series, TR, 1.0), series)


def test_window_of_three_volumes_is_not_cut_by_rounding():
    assert window_means(np.zeros((7, 1)), 0.1, 0.3).shape == (2, 1)


def test_a_remainder_can_be_shared_among_windows(rng):
    series = rng.normal(size=(13, 2))
    found = window_means(series, 1.5, 8.0, "share")  # five volumes of 1.5 s fit into 8 s
    np.testing.assert_allclose(found, [series[:7].mean(0), series[7:].mean(0)])
    whole = series[:10]
    np.testing.assert_allclose(window_means(whole, 1.5, 8.0, "share"), window_means(whole, 1.5, 8))


@pytest.mark.parametrize("width", [1, 4, 5, 13, 100])
def test_columns_in_pieces_equal_columns_at_once(series, width):
    found = by_columns(lambda x: x[:3] * 2, series.astype(np.float32), width)
    np.testing.assert_array_equal(found, series.astype(np.float32)[:3] * 2)
