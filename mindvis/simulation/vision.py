"""What early visual cortex could read off a picture: orientation energy, colour, light, figure.

Orientation energy is the amplitude of a quadrature pair, computed as a one-sided log-Gabor filter
in the Fourier domain (Field 1987, doi:10.1364/JOSAA.4.002379): its real and imaginary parts are the
even and the odd filter.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from mindvis.simulation.stimuli import COLOURS, SHAPES, Scene, render

Array = npt.NDArray[np.floating[Any]]

PICTURE_SIZE = 32  # pixels; the observer sees this size whatever the size of the files
MAP_SIZE = 16  # pixels of a channel's map
ORIENTATIONS = 4
FREQUENCIES = (3.0, 7.0)  # cycles per picture
NUM_ENERGY = ORIENTATIONS * len(FREQUENCIES)
OPPONENTS = ("red", "green", "blue", "yellow")
NUM_CHANNELS = NUM_ENERGY + len(OPPONENTS) + 2


def picture_channels(scenes: list[Scene]) -> Array:
    """Maps of all channels: orientation energy, opponent colours, luminance and figure.

    Args:
        scenes: What is shown.

    Returns:
        Maps (scenes, NUM_CHANNELS, MAP_SIZE, MAP_SIZE), float32.
    """
    maps = np.empty((len(scenes), NUM_CHANNELS, MAP_SIZE, MAP_SIZE), np.float32)
    for index, scene in enumerate(scenes):
        maps[index] = channel_maps(render(scene, PICTURE_SIZE))
    return maps


def channel_maps(picture: npt.NDArray[np.uint8]) -> Array:
    """All channels of one RGB picture of `PICTURE_SIZE` (NUM_CHANNELS, MAP_SIZE, MAP_SIZE)."""
    red, green, blue = np.moveaxis(picture.astype(np.float32) / 255, -1, 0)
    light = (red + green + blue) / 3
    spectrum = fft.fft2((light - light.mean()) * _taper())
    energy = np.abs(fft.ifft2(spectrum * _log_gabors()))
    red_green, blue_yellow = red - green, blue - (red + green) / 2
    opponent = np.stack([red_green, -red_green, blue_yellow, -blue_yellow]).clip(min=0)
    stack = np.concatenate([energy, opponent, light[None], _figure(picture)[None]])
    block = PICTURE_SIZE // MAP_SIZE
    return stack.reshape(-1, MAP_SIZE, block, MAP_SIZE, block).mean((2, 4))


def _figure(picture: npt.NDArray[np.uint8]) -> Array:
    """Distance of each pixel from the picture's median colour: large on what stands out."""
    pixels = picture.astype(np.float32) / 255
    return np.linalg.norm(pixels - np.median(pixels, (0, 1)), axis=-1)


@cache
def _log_gabors() -> Array:
    """One-sided filters (NUM_ENERGY, PICTURE_SIZE, PICTURE_SIZE) in the Fourier domain."""
    cycles = np.fft.fftfreq(PICTURE_SIZE, 1 / PICTURE_SIZE)
    fy, fx = np.meshgrid(cycles, cycles, indexing="ij")
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    bank = []
    for frequency in FREQUENCIES:
        band = np.exp(-(np.log(radius / frequency) ** 2) / (2 * 0.55**2))
        band[0, 0] = 0
        for index in range(ORIENTATIONS):
            turn = np.arctan2(fy, fx) - np.pi * index / ORIENTATIONS
            turn = np.angle(np.exp(1j * turn))
            bank.append(band * np.exp(-(turn**2) / (2 * 0.45**2)))
    return np.stack(bank).astype(np.float32)


@cache
def _taper() -> Array:
    """Window that is 1 inside and falls to 0 at the picture's edge, against wrap-around."""
    position = (np.arange(PICTURE_SIZE) + 0.5) / PICTURE_SIZE
    ramp = np.clip(np.minimum(position, 1 - position) / 0.08, 0, 1)
    return np.outer(ramp, ramp).astype(np.float32)


def shape_code(scenes: list[Scene]) -> Array:
    """One column a shape (scenes, 8)."""
    return np.eye(len(SHAPES))[[SHAPES.index(scene.shape) for scene in scenes]]


def colour_code(scenes: list[Scene]) -> Array:
    """One column a colour (scenes, 8)."""
    return np.eye(len(COLOURS))[[COLOURS.index(scene.colour) for scene in scenes]]
