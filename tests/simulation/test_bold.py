import numpy as np
import pytest
from scipy.stats import gamma

from mindvis.simulation import bold
from mindvis.simulation.design import TR
from mindvis.simulation.observer import draw_anatomy


@pytest.fixture(scope="module")
def anatomy():
    return draw_anatomy(1, seed=0)


def test_kernel_is_the_double_gamma_convolved_with_the_picture():
    step, duration = 0.01, 3.0
    time = np.arange(0, 32, step)
    response = gamma.pdf(time, 6) - gamma.pdf(time, 16) / 6
    box = np.ones(round(duration / step))
    reference = np.convolve(response, box)[: len(time)][:: round(TR / step)]
    np.testing.assert_allclose(
        bold.response_kernel(duration=duration), reference / reference.max(), atol=5e-3
    )


def test_a_late_response_peaks_later():
    early, late = bold.response_kernel(delay=-1.0), bold.response_kernel(delay=1.0)
    lags = np.arange(len(early))
    assert (lags * early.clip(0)).sum() / early.clip(0).sum() < (
        (lags * late.clip(0)).sum() / late.clip(0).sum()
    )


def test_events_add_up_as_in_a_convolution():
    kernel, onsets, amplitude = bold.response_kernel(), [4.0, 10.0, 30.0], np.array([1.0, -2, 0.5])
    impulses = np.zeros(19)
    impulses[[2, 5, 15]] = amplitude
    expected = np.convolve(impulses, kernel)[:19]
    np.testing.assert_allclose(
        bold.convolve_events(19, onsets, kernel) @ amplitude, expected, atol=1e-6
    )


def test_noise_has_unit_variance_and_is_correlated_in_time_and_space(anatomy):
    series = bold.noise(anatomy, 173, np.random.default_rng(0))
    assert series.shape == (173, len(anatomy.ijk))
    assert series.var(0).mean() == pytest.approx(1, abs=0.1)
    lagged = (series[1:] * series[:-1]).mean() / series.var()
    assert 0.15 < lagged < 0.6
    index = anatomy.grid(np.arange(1, len(anatomy.ijk) + 1))
    left, right = index[:-1].ravel(), index[1:].ravel()
    both = (left > 0) & (right > 0)
    near = (series[:, left[both] - 1] * series[:, right[both] - 1]).mean()
    far = (series[:, :-2000] * series[:, 2000:]).mean()
    assert near > 0.2
    assert near > 2 * abs(far)


def test_drift_is_slow(anatomy):
    series = bold.drift(anatomy, 240, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(series, axis=0)[1:]) ** 2
    assert spectrum[:6].sum() / spectrum.sum() > 0.9


def test_framewise_displacement_of_a_hand_made_move():
    motion = np.zeros((3, 6))
    motion[1] = [0.1, -0.2, 0, 0.001, 0, 0]
    motion[2] = motion[1]
    np.testing.assert_allclose(bold.framewise_displacement(motion), [0, 0.35, 0])


@pytest.mark.parametrize("axis", range(6))
def test_motion_moves_the_image(anatomy, axis):
    """The intensity at a voxel is what was where the voxel's content came from."""
    slope = np.array([3.0, -2.0, 5.0])  # per millimetre
    linear = anatomy.__class__(
        **{**anatomy.__dict__, "gradient": np.tile(slope, (len(anatomy.ijk), 1))}
    )
    motion = np.zeros((1, 6))
    motion[0, axis] = 1e-4
    position = anatomy.ijk @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3]
    x, y, z = motion[0, 3:]
    turn = np.array([[1, -z, y], [z, 1, -x], [-y, x, 1]])
    before = (position - motion[0, :3]) @ np.linalg.inv(turn).T
    expected = before @ slope - position @ slope
    np.testing.assert_allclose(
        bold.motion_intensity(linear, motion)[0], expected, rtol=1e-3, atol=1e-5
    )


def test_head_motion_is_small():
    motion = bold.head_motion(240, np.random.default_rng(0))
    assert motion.shape == (240, 6)
    assert 0.01 < np.abs(motion[:, :3]).max() < 2
    assert bold.framewise_displacement(motion).mean() < 0.3


def test_spontaneous_activity_lives_in_the_patterns():
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((3, 41)).astype(np.float32)
    activity = bold.spontaneous(97, patterns, bold.response_kernel(), rng)
    assert activity.shape == (97, 41)
    assert np.linalg.matrix_rank(activity, tol=1e-2) == 3
    assert activity.std() == pytest.approx(1, rel=1e-4)
