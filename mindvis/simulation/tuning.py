"""Tuning of every visual voxel: receptive fields and colour early, shape and category late.

All preferences are smooth random fields over cortex, so that neighbouring voxels resemble each
other, and all are drawn anew for each subject.
"""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mindvis.simulation.anatomy import AREAS, EARLY, Anatomy, smooth_fields
from mindvis.simulation.stimuli import COLOURS, SHAPES, Scene
from mindvis.simulation.vision import (
    FREQUENCIES,
    MAP_SIZE,
    NUM_CHANNELS,
    NUM_ENERGY,
    OPPONENTS,
    ORIENTATIONS,
    colour_code,
    picture_channels,
    shape_code,
)

Array = npt.NDArray[np.floating[Any]]

SMOOTHNESS = 1.3  # voxels; correlation length of every map of preferences
FIELD_EXTENT = 0.62  # eccentricity of the most peripheral receptive field, in picture sides
# radius of a receptive field at the fovea, in picture sides, and its growth with eccentricity
FIELD_SIZES = {
    "V1": (0.05, 0.08),
    "V2": (0.07, 0.11),
    "V3": (0.09, 0.15),
    "V4": (0.14, 0.20),
    "LOC": (0.22, 0.25),
    "FFA": (0.30, 0.25),
    "PPA": (0.30, 0.25),
}


@dataclass(frozen=True)
class Mixture:
    """Share of each kind of tuning in an area's response (standard deviations)."""

    retinotopic: float
    colour: float
    shape: float
    conjunction: float
    size: float


MIXTURES = {
    "V1": Mixture(1.0, 0.15, 0.0, 0.0, 0.0),
    "V2": Mixture(1.0, 0.30, 0.10, 0.0, 0.1),
    "V3": Mixture(1.0, 0.45, 0.25, 0.0, 0.2),
    "V4": Mixture(0.5, 1.0, 0.7, 0.2, 0.2),
    "LOC": Mixture(0.4, 0.3, 1.0, 0.2, 0.3),
    "FFA": Mixture(0.2, 0.2, 1.0, 0.2, 0.2),
    "PPA": Mixture(0.2, 0.2, 1.0, 0.2, 0.2),
}
CURVED = ("circle", "ring", "heart", "crescent")  # what FFA prefers; PPA prefers the others


@dataclass(frozen=True)
class Tuning:
    """Weights of one subject's visual voxels (V of them).

    Attributes:
        fields: Receptive fields (V, MAP_SIZE ** 2), each summing to 1.
        channels: Weight of each channel of early vision (V, NUM_CHANNELS).
        colour: Response to each colour (V, 8).
        shape: Response to each shape (V, 8).
        conjunction: Response to each shape in each colour (V, 64).
        side: -1 where the left half of the picture drives the voxel, +1 the right half (V,).
        size: Response to the object's size (V, 1).
        mixture: Share of each kind of tuning, in the order of `Mixture` (V, 5).
    """

    fields: Array
    channels: Array
    colour: Array
    shape: Array
    conjunction: Array
    side: Array
    size: Array
    mixture: Array


def make_tuning(anatomy: Anatomy, rng: np.random.Generator) -> Tuning:
    """Draw the preferences of a subject's visual voxels."""
    visual = anatomy.visual
    names = [AREAS[index] for index in anatomy.area[visual]]
    maps = _Maps(tuple(anatomy.ijk[visual].T), rng)
    return Tuning(
        fields=_receptive_fields(anatomy, names, maps),
        channels=_channel_weights(names, maps),
        colour=_hue_tuning(maps),
        shape=_shape_tuning(names, maps),
        conjunction=maps.draw(len(SHAPES) * len(COLOURS)),
        size=maps.draw(1),
        side=-anatomy.hemisphere[visual].astype(float),
        mixture=np.array([astuple(MIXTURES[name]) for name in names]),
    )


class _Maps:
    """Smooth random maps read at the visual voxels."""

    def __init__(self, where: tuple[npt.NDArray[np.int32], ...], rng: np.random.Generator) -> None:
        self.where = where
        self.rng = rng

    def draw(self, count: int, sigma: float = SMOOTHNESS) -> Array:
        """Unit-variance maps (V, count)."""
        i, j, k = self.where
        return smooth_fields(self.rng, count, sigma)[:, i, j, k].T.astype(float)


def field_centres(anatomy: Anatomy) -> Array:
    """Retinotopic map: picture coordinates (V, 2) of each visual voxel, in picture sides.

    The right hemisphere sees the left half of the picture, dorsal cortex its lower half, and the
    posterior border of each area the middle.
    """
    visual = anatomy.visual
    radius = FIELD_EXTENT * anatomy.eccentricity[visual] ** 0.9
    angle = anatomy.meridian[visual]
    x = 0.5 - anatomy.hemisphere[visual] * radius * np.cos(angle)
    y = 0.5 + radius * np.sin(angle)
    return np.stack([x, y], -1)


def _receptive_fields(anatomy: Anatomy, names: list[str], maps: _Maps) -> Array:
    """Gaussian receptive fields on the channels' maps (V, MAP_SIZE ** 2)."""
    centres = field_centres(anatomy) + 0.03 * maps.draw(2)
    radius = anatomy.eccentricity[anatomy.visual] * FIELD_EXTENT
    base, growth = np.array([FIELD_SIZES[name] for name in names]).T
    width = (base + growth * radius) * np.exp(0.15 * maps.draw(1)[:, 0])
    grid = (np.arange(MAP_SIZE) + 0.5) / MAP_SIZE
    dx = (grid[None, :] - centres[:, :1]) / width[:, None]
    dy = (grid[None, :] - centres[:, 1:]) / width[:, None]
    fields = np.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / 2).reshape(len(names), -1)
    return fields / np.maximum(fields.sum(1, keepdims=True), 1e-6)


def _channel_weights(names: list[str], maps: _Maps) -> Array:
    """Weights (V, NUM_CHANNELS): preferred orientation and frequency, colours, light."""
    early = np.isin(names, EARLY)[:, None]
    cosine, sine = maps.draw(2).T
    preferred = np.arctan2(sine, cosine)
    orientation = 2 * np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    tuned = 0.55 + 0.45 * np.cos(preferred[:, None] - orientation)
    fine = 1 / (1 + np.exp(-2 * maps.draw(len(FREQUENCIES))))
    energy = (fine[:, :, None] * tuned[:, None, :]).reshape(len(names), NUM_ENERGY)
    opponent = 0.9 * maps.draw(len(OPPONENTS))
    light = 0.5 * maps.draw(1)
    figure = 1 + 0.5 * maps.draw(1)  # cortex answers more to a figure than to its ground
    energy = np.where(early, energy, 0.5 * energy)
    weights = np.concatenate([energy, opponent, light, figure], 1)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def _hue_tuning(maps: _Maps) -> Array:
    """Response to each colour (V, 8): neighbours on the hue circle alike, white on its own."""
    hue = np.arange(len(COLOURS) - 1)
    step = np.abs(hue[:, None] - hue)
    step = np.minimum(step, len(hue) - step)
    similarity = np.eye(len(COLOURS))
    similarity[:-1, :-1] = np.exp(-(step**2) / (2 * 0.6**2))
    return _centred(maps.draw(len(COLOURS)) @ np.linalg.cholesky(similarity).T)


def _shape_tuning(names: list[str], maps: _Maps) -> Array:
    """Response to each shape (V, 8); FFA leans to curved shapes, PPA to angular ones."""
    weights = maps.draw(len(SHAPES))
    curved = np.where(np.isin(SHAPES, CURVED), 1.0, -1.0)
    lean = np.select([np.isin(names, ["FFA"]), np.isin(names, ["PPA"])], [0.7, -0.7], 0.0)
    return _centred(weights + lean[:, None] * curved)


def _centred(weights: Array) -> Array:
    """Rows with zero mean and unit variance: every voxel prefers something."""
    weights = weights - weights.mean(1, keepdims=True)
    return weights / weights.std(1, keepdims=True)


def responses(tuning: Tuning, scenes: list[Scene], reference: list[Scene]) -> Array:
    """Response of every visual voxel to every picture.

    Args:
        tuning: The voxels' weights.
        scenes: What is shown.
        reference: Pictures over which each voxel's response has mean 0 and variance 1.

    Returns:
        Responses (scenes, V), float32.
    """
    count = len(reference)
    everything = [*reference, *scenes]
    parts = [
        _retinotopic(tuning, picture_channels(everything), count),
        _tolerant(colour_code(everything) @ tuning.colour.T, tuning, everything),
        _tolerant(shape_code(everything) @ tuning.shape.T, tuning, everything),
        _conjunction(tuning, everything),
        np.array([[scene.size] for scene in everything]),
    ]
    scaled = [_standardised(part, count) for part in parts]
    scaled[-1] = scaled[-1] * tuning.size.T
    total = sum(
        (part * share for part, share in zip(scaled, tuning.mixture.T, strict=True)),
        start=np.zeros(1),
    )
    return _standardised(total, count)[count:].astype(np.float32)


def _retinotopic(tuning: Tuning, maps: Array, count: int) -> Array:
    """Weighted sum over channels of what each receptive field collects (scenes, V)."""
    fields = tuning.fields.T.astype(np.float32)
    total = np.zeros((len(maps), fields.shape[1]))
    for channel in range(NUM_CHANNELS):
        pooled = maps[:, channel].reshape(len(maps), -1) @ fields
        total += tuning.channels[:, channel] * _standardised(pooled, count)
    return total


def _tolerant(response: Array, tuning: Tuning, scenes: list[Scene]) -> Array:
    """Mild gain by the object's size and by the half of the picture it lies in."""
    size = np.array([scene.size for scene in scenes])[:, None]
    x = np.array([scene.x for scene in scenes])[:, None]
    return response * (1 + 0.5 * (size - 0.45) / 0.45) * (1 + 0.5 * (x - 0.5) * tuning.side)


def _conjunction(tuning: Tuning, scenes: list[Scene]) -> Array:
    """Response to particular shapes in particular colours (scenes, V)."""
    index = [
        SHAPES.index(scene.shape) * len(COLOURS) + COLOURS.index(scene.colour) for scene in scenes
    ]
    return tuning.conjunction[:, index].T


def _standardised(values: Array, count: int) -> Array:
    """Each column with mean 0 and variance 1 over the first `count` rows."""
    head = values[:count]
    return (values - head.mean(0)) / np.maximum(head.std(0), 1e-6)
