import numpy as np
import pytest

from mindvis.simulation.stimuli import PALETTE, sample_scene
from mindvis.simulation.vision import (
    FREQUENCIES,
    MAP_SIZE,
    NUM_CHANNELS,
    NUM_ENERGY,
    OPPONENTS,
    ORIENTATIONS,
    PICTURE_SIZE,
    channel_maps,
    colour_code,
    picture_channels,
    shape_code,
)


def grating(frequency, orientation):
    """Luminance wave whose crests run across the direction `orientation`."""
    axis = (np.arange(PICTURE_SIZE) + 0.5) / PICTURE_SIZE
    along = np.cos(orientation) * axis[None, :] + np.sin(orientation) * axis[:, None]
    light = 127 + 60 * np.sin(2 * np.pi * frequency * along)
    return np.repeat(light[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("index", range(ORIENTATIONS))
@pytest.mark.parametrize("band", range(len(FREQUENCIES)))
def test_a_grating_excites_its_own_energy_channel_most(index, band):
    picture = grating(FREQUENCIES[band], np.pi * index / ORIENTATIONS)
    middle = slice(MAP_SIZE // 4, -MAP_SIZE // 4)
    energy = channel_maps(picture)[:NUM_ENERGY, middle, middle].mean((1, 2))
    assert energy.argmax() == band * ORIENTATIONS + index


def test_energy_does_not_depend_on_phase():
    shifted = np.roll(grating(4, 0), 3, axis=1)
    middle = slice(6, 10)
    first, second = (
        channel_maps(p)[:NUM_ENERGY, middle, middle].mean() for p in (grating(4, 0), shifted)
    )
    assert first == pytest.approx(second, rel=0.1)


@pytest.mark.parametrize(
    ("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2), ("yellow", 3)]
)
def test_a_uniform_colour_excites_its_opponent_channel(colour, channel):
    picture = np.full((PICTURE_SIZE, PICTURE_SIZE, 3), np.array(PALETTE[colour]) * 255, np.uint8)
    opponent = channel_maps(picture)[NUM_ENERGY : NUM_ENERGY + len(OPPONENTS)].mean((1, 2))
    assert opponent[channel] == max(opponent[channel], opponent[channel ^ 1])
    assert opponent[channel ^ 1] == 0
    assert opponent[channel] > 0.4


def test_the_figure_channel_finds_the_object():
    rng = np.random.default_rng(0)
    for colour in PALETTE:
        scene = sample_scene("circle", colour, rng)
        figure = picture_channels([scene])[0, -1]
        y, x = np.indices(figure.shape) / MAP_SIZE + 0.5 / MAP_SIZE
        weight = np.maximum(figure - np.quantile(figure, 0.7), 0)
        assert abs((x * weight).sum() / weight.sum() - scene.x) < 0.1
        assert abs((y * weight).sum() / weight.sum() - scene.y) < 0.1


def test_codes_name_shape_and_colour():
    rng = np.random.default_rng(0)
    scenes = [sample_scene("star", "white", rng), sample_scene("circle", "orange", rng)]
    assert picture_channels(scenes).shape == (2, NUM_CHANNELS, MAP_SIZE, MAP_SIZE)
    np.testing.assert_array_equal(shape_code(scenes).argmax(1), [3, 0])
    np.testing.assert_array_equal(colour_code(scenes).argmax(1), [7, 1])
