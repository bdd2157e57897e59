"""From neural responses to volumes: haemodynamics, head motion, drift and correlated noise.

All functions work on time by voxels, in units of the standard deviation of the noise.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter
from scipy.special import gammainc

from mindvis.simulation.anatomy import GRID, Anatomy, smooth_fields
from mindvis.simulation.design import DURATION, TR

Array = npt.NDArray[np.floating[Any]]

AUTOCORRELATION = 0.6  # of the smooth noise, one TR apart
NOISE_SIGMA = 0.9  # voxels; smoothness of the smooth noise
# shares of the noise's variance
WHITE, SMOOTH, PHYSIOLOGY = 0.45, 0.40, 0.15
NUM_PHYSIOLOGY = 4
DRIFT = 1.0  # standard deviation of the drift
MOTION = (0.02, 0.02, 0.03)  # mm; random walk's step in x, y, z
MOTION_ANGLE = 0.0002  # radians; the same for rotations
HEAD_RADIUS = 50.0  # mm; turns rotations to displacements (Power 2012)


def response_kernel(delay: float = 0.0, duration: float = DURATION, length: float = 32.0) -> Array:
    """Haemodynamic response to a picture, sampled every TR, with peak 1.

    The double gamma of SPM (peaks of 6 and 16 s, undershoot a sixth), integrated over the time
    that the picture is on.

    Args:
        delay: Seconds by which the response comes late.
        duration: Seconds that the picture is shown.
        length: Seconds to return.

    Returns:
        Kernel (time,).
    """
    time = np.arange(0, length, TR) - delay
    kernel = _step_response(time) - _step_response(time - duration)
    return kernel / kernel.max()


def _step_response(time: Array) -> Array:
    """Integral of the double gamma from 0 to `time` in seconds."""
    time = np.maximum(time, 0)
    return gammainc(6, time) - gammainc(16, time) / 6


def convolve_events(volumes: int, onsets: list[float], kernel: Array) -> Array:
    """Response of each volume to each trial of amplitude 1 (volumes, trials).

    Onsets are in seconds and fall on volumes.
    """
    matrix = np.zeros((volumes, len(onsets)), np.float32)
    for trial, onset in enumerate(onsets):
        start = round(onset / TR)
        stop = min(start + len(kernel), volumes)
        matrix[start:stop, trial] = kernel[: stop - start]
    return matrix


def spontaneous(volumes: int, patterns: Array, kernel: Array, rng: np.random.Generator) -> Array:
    """Ongoing activity: a slowly changing random mixture of response patterns.

    Args:
        volumes: Number of volumes.
        patterns: Responses of all voxels to some pictures (pictures, V).
        kernel: Haemodynamic response.
        rng: Source of the mixture.

    Returns:
        Activity (volumes, V) with unit variance over the voxels.
    """
    weights = rng.standard_normal((volumes + len(kernel), len(patterns)), dtype=np.float32)
    slow = lfilter([1.0], [1.0, -0.7], weights, axis=0)
    mixture = lfilter(kernel, [1.0], slow, axis=0)[len(kernel) :].astype(np.float32)
    activity = mixture @ patterns
    return activity / activity.std()


def noise(anatomy: Anatomy, volumes: int, rng: np.random.Generator) -> Array:
    """Scanner and body noise of unit variance (volumes, V), correlated in space and time."""
    count = len(anatomy.ijk)
    series = rng.standard_normal((volumes, count), dtype=np.float32) * np.sqrt(WHITE)
    series += _smooth_noise(anatomy, volumes, rng) * np.sqrt(SMOOTH)
    series += _physiology(anatomy, volumes, rng) * np.sqrt(PHYSIOLOGY)
    return series.astype(np.float32)


def _smooth_noise(anatomy: Anatomy, volumes: int, rng: np.random.Generator) -> Array:
    """Noise smooth over voxels and first-order autoregressive over time (volumes, V)."""
    white = rng.standard_normal((volumes, *GRID), dtype=np.float32)
    sigma = (0, NOISE_SIGMA, NOISE_SIGMA, NOISE_SIGMA)
    smooth = gaussian_filter(white, sigma, mode="wrap", truncate=2.5)
    series = smooth[(slice(None), *anatomy.ijk.T)]
    series /= series.std()
    gain = float(np.sqrt(1 - AUTOCORRELATION**2))
    coefficients = np.array([1, -AUTOCORRELATION], np.float32)
    series[0] /= gain  # the process starts in its stationary distribution
    return lfilter(np.array([gain], np.float32), coefficients, series, axis=0)


def _physiology(anatomy: Anatomy, volumes: int, rng: np.random.Generator) -> Array:
    """Breathing and heart beat, aliased to slow waves, each with its own map (volumes, V)."""
    maps = 0.6 + smooth_fields(rng, NUM_PHYSIOLOGY, 3.0)[(slice(None), *anatomy.ijk.T)]
    time = np.arange(volumes)[:, None] * TR
    frequency = rng.uniform(0.02, 0.24, NUM_PHYSIOLOGY)
    wander = np.cumsum(rng.normal(0, 0.25, (volumes, NUM_PHYSIOLOGY)), 0)
    phase = 2 * np.pi * (frequency * time + rng.uniform(0, 1, NUM_PHYSIOLOGY)) + wander
    series = np.sin(phase).astype(np.float32) @ maps
    return series / series.std()


def drift(anatomy: Anatomy, volumes: int, rng: np.random.Generator) -> Array:
    """Slow drift of the scanner: a line and two half-cosines with smooth maps (volumes, V)."""
    maps = smooth_fields(rng, 3, 3.0)[(slice(None), *anatomy.ijk.T)]
    time = np.linspace(0, 1, volumes)[:, None]
    courses = np.concatenate([2 * time - 1, np.cos(np.pi * time), np.cos(2 * np.pi * time)], 1)
    return DRIFT * courses.astype(np.float32) @ maps


def head_motion(volumes: int, rng: np.random.Generator) -> Array:
    """Rigid motion: translations in mm, then rotations in radians (volumes, 6).

    A random walk that is drawn back to rest, with a few sudden moves.
    """
    steps = rng.normal(0, [*MOTION, *[MOTION_ANGLE] * 3], (volumes, 6))
    steps[rng.random(volumes) < 0.01] *= 5
    return lfilter([1.0], [1.0, -0.97], steps, axis=0)


def motion_intensity(anatomy: Anatomy, motion: Array) -> Array:
    """Change of intensity when the head moves, to first order (volumes, V), in image units."""
    position = anatomy.ijk @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3]
    turning = np.cross(position, anatomy.gradient)  # gradient . (rotation x position)
    sensitivity = np.concatenate([anatomy.gradient, turning], 1)
    return -(motion @ sensitivity.T).astype(np.float32)


def framewise_displacement(motion: Array) -> Array:
    """Sum of the absolute differences of the six parameters in mm (volumes,); first is 0."""
    steps = np.abs(np.diff(motion, axis=0, prepend=motion[:1]))
    steps[:, 3:] *= HEAD_RADIUS
    return steps.sum(1)
