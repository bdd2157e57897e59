from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mindvis.simulation.stimuli import (
    CLASS_NAMES,
    COLOURS,
    PALETTE,
    SHAPES,
    class_name,
    object_frame,
    render,
    sample_scene,
    split_class,
    unseen_classes,
)


def scenes_of_all_classes(seed):
    rng = np.random.default_rng(seed)
    return [sample_scene(shape, colour, rng) for shape in SHAPES for colour in COLOURS]


def object_mask(scene, size):
    """Where the object is: pixels that change with its colour."""
    black = render(replace(scene, tint=(0.0, 0.0, 0.0)), size).astype(int)
    white = render(replace(scene, tint=(1.0, 1.0, 1.0), texture="plain"), size).astype(int)
    return (white - black).mean(-1) / 255


def test_class_names_are_the_64_combinations_and_split_back():
    assert len(set(CLASS_NAMES)) == 64
    assert class_name("circle", "red") == "red circle"
    assert [split_class(name) for name in CLASS_NAMES] == [(s, c) for s in SHAPES for c in COLOURS]


def test_unseen_classes_take_two_of_every_shape_and_of_every_colour():
    pairs = [split_class(name) for name in unseen_classes()]
    assert len(set(pairs)) == 16
    assert set(Counter(shape for shape, _ in pairs).items()) == {(s, 2) for s in SHAPES}
    assert set(Counter(colour for _, colour in pairs).items()) == {(c, 2) for c in COLOURS}


def test_the_same_generator_draws_the_same_scene():
    first, second = scenes_of_all_classes(3), scenes_of_all_classes(3)
    assert first == second
    assert first != scenes_of_all_classes(4)


@pytest.mark.parametrize("size", [16, 64])
def test_a_picture_is_rgb_of_the_size_asked_for(size):
    picture = render(scenes_of_all_classes(0)[9], size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("shape", SHAPES)
def test_antialiasing_agrees_with_supersampling(shape):
    scene = sample_scene(shape, "yellow", np.random.default_rng(5))
    fine = render(scene, 512).astype(float).reshape(64, 8, 64, 8, 3).mean((1, 3))
    error = np.abs(render(scene, 64) - fine)
    assert error.mean() < 0.5
    # corners are rounded by a distance function; nowhere else is a pixel off
    assert np.quantile(error, 0.995) < 16


def test_the_object_lies_inside_the_picture_and_has_its_size():
    for scene in scenes_of_all_classes(1):
        mask = object_mask(scene, 64) > 0.5
        rows, columns = np.nonzero(mask)
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
        extent = max(np.ptp(rows), np.ptp(columns)) / 64
        assert 0.6 * scene.size < extent < 1.15 * scene.size
        assert abs(columns.mean() / 64 - scene.x) < 0.15
        assert abs(rows.mean() / 64 - scene.y) < 0.15


def test_the_object_has_the_nearest_palette_colour_and_the_background_none():
    palette = np.array([PALETTE[colour] for colour in COLOURS]) * 255
    for scene in scenes_of_all_classes(2):
        picture, mask = render(scene, 64).astype(float), object_mask(scene, 64)
        colour = picture[mask > 0.95].mean(0)
        assert COLOURS[np.linalg.norm(palette - colour, axis=1).argmin()] == scene.colour
        background = picture[mask < 0.02]
        assert np.ptp(background, axis=1).max() < 0.4 * 255
        assert background.max() < 0.75 * 255


def test_no_shape_is_another_one_turned():
    """Intersection over union of any two shapes, at any relative turn and similar size."""
    axis = np.linspace(-1.2, 1.2, 49, dtype=np.float32)
    scene = replace(sample_scene("circle", "red", np.random.default_rng(0)), x=0, y=0, size=2)
    from mindvis.simulation.stimuli import DISTANCES

    for first, second in combinations(SHAPES, 2):
        upright = DISTANCES[first](axis[None, :], axis[:, None]) < 0
        for turn in np.arange(0, 2 * np.pi, np.pi / 12):
            for scale in (0.8, 0.9, 1.0, 1.1, 1.25):
                turned = replace(scene, rotation=turn, size=2 * scale)
                u, v = object_frame(turned, axis[None, :], axis[:, None])
                other = DISTANCES[second](u, v) < 0
                overlap = (upright & other).sum() / (upright | other).sum()
                assert overlap < 0.9, (first, second, turn, scale)
