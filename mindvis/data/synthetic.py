"""A tiny store with a planted signal: what tests and first steps train on in seconds."""

import os
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.data.store import StimulusData, SubjectData, write_store
from mindvis.seeding import numpy_generator

COLOURS: Final = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 80, 230)}
SHAPES: Final = ("circle", "square")
ROIS: Final = ("V1", "V4", "LOC")  # VC is their union


def class_names() -> list[str]:
    """The six classes, colour first; the last one, "blue square", has no training trials."""
    return [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]


def make_store(
    path: str | os.PathLike[str],
    *,
    subjects: int = 2,
    voxels: Sequence[int] = (70, 93),
    train_pictures: int = 40,
    test_pictures: int = 12,
    test_repeats: int = 3,
    rest_windows: int = 16,
    image_size: int = 16,
    noise: float = 0.5,
    seed: int = 0,
) -> None:
    """Write a store whose responses are a linear code of each picture plus noise.

    The code has one column for each class, colour and shape, and two for the position, so that a
    linear decoder recovers class and position; "blue square" occurs in the test split alone.

    Args:
        path: The store to write.
        subjects: How many; named sub-01, sub-02, ...
        voxels: Voxels of each subject, used in turn; a tenth of them lie in no region.
        train_pictures: Training trials, one picture each.
        test_pictures: Test pictures; every sixth is of the unseen class.
        test_repeats: Test trials of each picture.
        rest_windows: Responses without a stimulus.
        image_size: Pixels of a side.
        noise: Standard deviation of the noise; that of the signal is 1.
        seed: Of everything.
    """
    scenes = _scenes(train_pictures, test_pictures, seed)
    names = class_names()
    stimuli = StimulusData(
        images=np.stack([_draw(*scene, image_size) for scene in scenes.values()]),
        ids=list(scenes),
        labels=[names[scene[0]] for scene in scenes.values()],
        categories=[names[scene[0]].split()[1] for scene in scenes.values()],
    )
    trials = _trials(train_pictures, test_pictures, test_repeats, rest_windows, stimuli)
    code = {name: _features(*scene) for name, scene in scenes.items()}

    def each() -> Iterator[tuple[str, SubjectData]]:
        for number in range(subjects):
            count = voxels[number % len(voxels)]
            yield f"sub-{number + 1:02d}", _subject(number, count, trials, code, noise, seed)

    attrs = {"dataset": "synthetic", "licence": "CC0-1.0", "command": "make_store"}
    write_store(path, each(), stimuli, attrs)


def _scenes(train: int, test: int, seed: int) -> dict[str, tuple[int, float, float]]:
    """Class, x and y (both in [0, 1]) by stimulus id."""
    rng = numpy_generator(seed, "scenes")
    seen = len(class_names()) - 1
    kinds = [row % seen for row in range(train)] + [row % (seen + 1) for row in range(test)]
    ids = [f"train-{row:03d}" for row in range(train)] + [f"test-{row:03d}" for row in range(test)]
    places = rng.uniform(0.3, 0.7, (train + test, 2)).tolist()
    return {name: (kind, x, y) for name, kind, (x, y) in zip(ids, kinds, places, strict=True)}


def _draw(kind: int, x: float, y: float, size: int) -> npt.NDArray[np.uint8]:
    """uint8 (size, size, 3): a filled circle or square on grey."""
    colour, shape = class_names()[kind].split()
    grid = (np.arange(size) + 0.5) / size
    down, across = np.abs(grid[:, None] - y), np.abs(grid[None, :] - x)
    inside = (down**2 + across**2 < 0.09) if shape == "circle" else np.maximum(down, across) < 0.26
    picture = np.full((size, size, 3), 128, dtype=np.uint8)
    picture[inside] = COLOURS[colour]
    return picture


def _features(kind: int, x: float, y: float) -> npt.NDArray[np.float64]:
    """(13,): class, colour and shape as indicators, position in units of its deviation."""
    shape, colour = divmod(kind, len(COLOURS))
    classes = np.eye(len(class_names()))[kind]
    place = (np.array([x, y]) - 0.5) / 0.115
    return np.concatenate(
        [classes, np.eye(len(COLOURS))[colour], np.eye(len(SHAPES))[shape], place]
    )


def _trials(train: int, test: int, repeats: int, rest: int, stimuli: StimulusData) -> pd.DataFrame:
    shown = stimuli.ids[:train] + stimuli.ids[train:] * repeats
    label = dict(zip(stimuli.ids, stimuli.labels, strict=True))
    task, total = len(shown), len(shown) + rest
    rows = np.arange(total)
    return pd.DataFrame(
        {
            "stimulus": shown + [""] * rest,
            "condition": [label[name] for name in shown] + ["rest"] * rest,
            "split": ["train"] * train + ["test"] * (test * repeats) + [""] * rest,
            "session": np.where(rows < task // 2, 1, 2),
            "run": rows // 8 + 1,
            "repeat": np.concatenate(
                [np.zeros(train, int), np.repeat(np.arange(repeats), test), np.zeros(rest, int)]
            ),
            "onset": (rows % 8) * 4.0,
            "kind": ["task"] * task + ["rest"] * rest,
        }
    )


def _subject(
    number: int,
    voxels: int,
    trials: pd.DataFrame,
    code: dict[str, npt.NDArray[np.float64]],
    noise: float,
    seed: int,
) -> SubjectData:
    """Responses = code @ weights + noise, in voxels of a box, with regions along its first axis."""
    rng = numpy_generator(seed, "subject", number)
    width = len(next(iter(code.values())))
    design = np.stack([code.get(name, np.zeros(width)) for name in trials["stimulus"]])
    visual = np.arange(voxels) < voxels - voxels // 10
    weights = rng.normal(size=(width, voxels)) * visual / 5**0.5
    responses = design @ weights + noise * rng.normal(size=(len(trials), voxels))
    shape = (5, 6, 7)
    places = rng.permutation(int(np.prod(shape)))[:voxels]
    ijk = np.stack(np.unravel_index(places, shape), axis=1)
    bounds = np.linspace(0, visual.sum(), len(ROIS) + 1).astype(int)
    order = np.arange(voxels)
    rois = {
        name: (order >= low) & (order < high)
        for name, low, high in zip(ROIS, bounds[:-1], bounds[1:], strict=True)
    }
    return SubjectData(
        responses=responses.astype(np.float32),
        trials=trials,
        ijk=ijk.astype(np.int32),
        affine=np.diag([3.0, 3.0, 3.5, 1.0]),
        shape=shape,
        rois={**rois, "VC": visual},
        quality={"snr": (visual / max(noise, 1e-6)).astype(np.float32)},
        units="z",
        space="native",
        tr=2.0,
    )
