"""A simulated subject: anatomy, tuning and the volumes that a scanner would record."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mindvis.seeding import numpy_generator
from mindvis.simulation import bold
from mindvis.simulation.anatomy import Anatomy, make_anatomy, smooth_fields
from mindvis.simulation.design import Picture, Run, reference_scenes
from mindvis.simulation.tuning import make_tuning, responses

Array = npt.NDArray[np.floating[Any]]

NOISE_INTENSITY = 10.0  # image units of one standard deviation of the noise, about 1 %
INTENSITY_STEP = 0.25  # image units of one step of the stored integers
ATTENTION = 0.1  # standard deviation of a trial's gain
ONGOING_TASK, ONGOING_REST = 0.2, 0.8  # standard deviation of ongoing activity in visual voxels
NUM_PATTERNS = 96  # pictures whose responses ongoing activity mixes


@dataclass(frozen=True)
class Observer:
    """One subject.

    Attributes:
        subject: Number of the subject, from 1.
        seed: Seed of the simulation.
        anatomy: The head.
        responses: Response of each visual voxel to each picture, in noise units (pictures, V).
        patterns: Responses that ongoing activity mixes, of unit variance (NUM_PATTERNS, V).
        kernel: Haemodynamic response (time,).
    """

    subject: int
    seed: int
    anatomy: Anatomy
    responses: Array
    patterns: Array
    kernel: Array


@dataclass(frozen=True)
class Recording:
    """One run as recorded.

    Attributes:
        volumes: Stored integers (time, z, y, x); times `INTENSITY_STEP` are intensities.
        motion: Translations in mm and rotations in radians (time, 6).
    """

    volumes: npt.NDArray[np.int16]
    motion: Array


def draw_anatomy(subject: int, seed: int) -> Anatomy:
    """The head of a subject, the same wherever it is drawn."""
    return make_anatomy(numpy_generator(seed, "anatomy", subject))


def make_observer(subject: int, pictures: list[Picture], snr: float, seed: int) -> Observer:
    """Draw a subject and compute what every picture evokes in it.

    Args:
        subject: Number of the subject, from 1.
        pictures: All pictures of the experiment.
        snr: Standard deviation over pictures of the evoked peak, over that of the noise of one
            volume, in the median visual voxel.
        seed: Seed of the simulation.

    Returns:
        The subject, a pure function of the arguments.
    """
    anatomy = draw_anatomy(subject, seed)
    rng = numpy_generator(seed, "tuning", subject)
    tuning = make_tuning(anatomy, rng)
    reference = reference_scenes(seed)
    scenes = [picture.scene for picture in pictures]
    everything = responses(tuning, scenes + reference[:NUM_PATTERNS], reference)
    evoked, patterns = everything[: len(pictures)], everything[len(pictures) :]
    strength = smooth_fields(rng, 1, 1.5)[(0, *anatomy.ijk[anatomy.visual].T)]
    gain = snr * np.exp(0.35 * (strength - np.median(strength)))
    kernel = bold.response_kernel(delay=rng.uniform(-0.4, 0.4))
    return Observer(subject, seed, anatomy, (evoked * gain).astype(np.float32), patterns, kernel)


def record(observer: Observer, run: Run) -> Recording:
    """Simulate one run of a subject; a pure function of both."""
    anatomy = observer.anatomy
    rng = numpy_generator(observer.seed, "recording", run.name)
    series = bold.noise(anatomy, run.volumes, rng)
    series += bold.drift(anatomy, run.volumes, rng)
    series[:, anatomy.visual] += _activity(observer, run, rng)
    motion = bold.head_motion(run.volumes, rng)
    series *= NOISE_INTENSITY
    series += bold.motion_intensity(anatomy, motion)
    series += anatomy.baseline.astype(np.float32)
    return Recording(_quantised(anatomy, series), motion)


def _activity(observer: Observer, run: Run, rng: np.random.Generator) -> Array:
    """Ongoing and evoked activity of the visual voxels (volumes, V)."""
    ongoing = bold.spontaneous(run.volumes, observer.patterns, observer.kernel, rng)
    if not run.pictures:
        return ONGOING_REST * ongoing
    events = bold.convolve_events(run.volumes, run.onsets, observer.kernel)
    attention = 1 + ATTENTION * rng.standard_normal((1, len(run.pictures)), dtype=np.float32)
    evoked = (events * attention) @ observer.responses[list(run.pictures)]
    return ONGOING_TASK * ongoing + evoked


def _quantised(anatomy: Anatomy, series: Array) -> npt.NDArray[np.int16]:
    """Intensities (time, V) as integers on the grid (time, z, y, x)."""
    limits = np.iinfo(np.int16)
    steps = np.clip(np.rint(series / INTENSITY_STEP), 0, limits.max).astype(np.int16)
    i, j, k = anatomy.ijk.T
    columns, rows, slices = anatomy.shape
    volumes = np.zeros((len(series), slices, rows, columns), np.int16)
    volumes[:, k, j, i] = steps
    return volumes
