"""Responses that say nothing of a stimulus, decoded like the others: what a decoder must beat."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mindvis.data.transforms import VoxelTransform, pad
from mindvis.decoding.listing import Item

Float = npt.NDArray[np.float32]
MEAN_BRAIN: Final = "mean-brain"
GAUSSIAN_BRAIN: Final = "gaussian-brain"
PHASE_BRAIN: Final = "phase-brain"
PRIOR: Final = "prior"
# Controls whose pictures are compared with every stimulus
CROSSED: Final = (MEAN_BRAIN, GAUSSIAN_BRAIN, PHASE_BRAIN, PRIOR)
FIRST_STAGE: Final = "first-stage"
RESPONSES: Final = 4  # of each noise control and subject: with 5 draws, 20 pictures


def control_items(
    subject: str, stimuli: Sequence[Item], train: Sequence[int], responses: int = RESPONSES
) -> list[Item]:
    """The control responses of one subject.

    Args:
        subject: Its id.
        stimuli: Its responses to stimuli; noise takes its amplitude from some of them.
        train: Rows of its training trials, whose mean is the mean brain.
        responses: Noise responses of each kind, and empty conditions.
    """
    places = np.linspace(0, len(stimuli) - 1, responses).round().astype(int).tolist()
    items = [Item(subject, MEAN_BRAIN, tuple(train), control=True)] if train else []
    for kind in (GAUSSIAN_BRAIN, PHASE_BRAIN):
        rows = [stimuli[place].rows for place in places]
        items += [Item(subject, kind, r, control=True, number=i) for i, r in enumerate(rows)]
    return items + [Item(subject, PRIOR, (), control=True, number=i) for i in range(responses)]


def gaussian_noise(response: Float, generator: np.random.Generator) -> Float:
    """Independent Gaussian voxels as spread as a response.

    Args:
        response: (voxels,), standardised; voxels that are exactly 0 were constant and stay 0.
        generator: Source of the noise.
    """
    noise = generator.standard_normal(len(response)) * response.std()
    return np.where(response == 0, 0, noise).astype(np.float32)


def random_phases(response: Float, generator: np.random.Generator) -> Float:
    """A response with its power spectrum over voxels kept and its phases drawn anew.

    Theiler et al. 1992: neighbours in the model's order of voxels stay as alike as they were, and
    which voxel is high is random.

    Args:
        response: (voxels,), standardised.
        generator: Source of the phases.
    """
    spectrum = np.fft.rfft(response.astype(np.float64))
    turned = np.abs(spectrum) * np.exp(2j * np.pi * generator.random(len(spectrum)))
    turned[0] = spectrum[0]  # the mean
    if len(response) % 2 == 0:
        turned[-1] = spectrum[-1]  # the highest frequency is real
    return np.fft.irfft(turned, len(response)).astype(np.float32)


NOISE: Final[dict[str, Callable[[Float, np.random.Generator], Float]]] = {
    GAUSSIAN_BRAIN: gaussian_noise,
    PHASE_BRAIN: random_phases,
}


def noise_response(
    kind: str, transform: VoxelTransform, response: Float, generator: np.random.Generator
) -> Float:
    """The model's input for a noise control.

    Args:
        kind: "gaussian-brain" or "phase-brain".
        transform: The subject's.
        response: (stored voxels,), whose amplitude the noise has.
        generator: Source of the noise.

    Returns:
        float32 (length,).
    """
    voxels = transform(response)[: len(transform.columns)]
    return pad(NOISE[kind](voxels, generator), transform.length, transform.padding)
