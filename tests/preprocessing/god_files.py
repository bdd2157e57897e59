"""Generic Object Decoding in small: BData files and the npz folder, every size different.

Six training pictures of three classes, four test pictures of four others with three trials each,
imagery of the four test classes twice, eleven voxels among columns that are none.
"""

import json
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

TRAIN = [1518878005958, 1518878010042, 2084071000123, 2084071000007, 3626115019498, 3626115000001]
TEST = [1443537022563, 1621127019020, 4554684053399, 2190790015121]
NAMES = {number: f"n{number // 10**6:08d}_{number % 10**6}" for number in [*TRAIN, *TEST]}
VOXELS, REPEATS, IMAGINED = 11, 3, 2
CLASSES = {"n01518878": "ostrich", "n02084071": "dog", "n01443537": "goldfish"}
ROIS = {"VC": range(11), "LVC": range(5), "V1": range(2), "LOC": (5, 6, 7), "FFA": (9,)}


def stimulus_id(number: int) -> float:
    """3626115019498 as the files have it: 3626115.019498."""
    return float(f"{number // 10**6}.{number % 10**6:06d}")


def content(seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of one subject: responses, stimulus ids, types and runs."""
    rng = np.random.default_rng(seed)
    numbers = [*TRAIN, *TEST * REPEATS, *TEST[::-1] * IMAGINED]
    types = [1] * len(TRAIN) + [2] * len(TEST) * REPEATS + [3] * len(TEST) * IMAGINED
    runs = [1, 1, 1, 2, 2, 2] + [1] * 4 + [2] * 4 + [3] * 4 + [1] * 8
    return {
        "responses": rng.normal(size=(len(numbers), VOXELS)),
        "stimulus": np.array([stimulus_id(number) for number in numbers]),
        "type": np.array(types, float),
        "run": np.array(runs, float),
    }


def coordinates() -> np.ndarray:
    """(voxels, 3) in millimetres, on a grid of 3 x 3 x 4 mm."""
    places = np.stack([np.arange(VOXELS), np.arange(VOXELS) % 4, np.arange(VOXELS) % 3], axis=1)
    return places * [3.0, 3.0, 4.0] + [-16.5, 7.5, -30.0]


def write_bdata(
    path: Path, rows: dict[str, np.ndarray], old: bool = False, label: str = "stimulus_id"
) -> None:
    """A file as bdpy writes it; `old` spells its groups as dataSet and metaData."""
    extra = [rows["type"], rows["run"], rows["stimulus"]]
    # voxels do not come first, and not together: a column of none stands among them
    table = np.column_stack(
        [extra[0], rows["responses"][:, :4], extra[1], rows["responses"][:, 4:]]
    )
    table = np.column_stack([table, extra[2]])
    voxels = np.array([1, 2, 3, 4, *range(6, 13)])
    single = {"DataType": 0, "Run": 5, label: 13}
    values = {key: np.full(14, np.nan) for key in single}
    for key, place in single.items():
        values[key][place] = 1
    values["VoxelData"] = np.full(14, np.nan)
    values["VoxelData"][voxels] = 1
    for name, members in ROIS.items():
        values[f"ROI_{name}"] = np.full(14, np.nan)
        values[f"ROI_{name}"][voxels] = 0
        values[f"ROI_{name}"][voxels[list(members)]] = 1
    for axis, column in zip("xyz", coordinates().T, strict=True):
        values[f"voxel_{axis}"] = np.full(14, np.nan)
        values[f"voxel_{axis}"][voxels] = column
    metadata = "metaData" if old else "metadata"
    with h5py.File(path, "w") as file:
        file["dataSet" if old else "dataset"] = table
        file[f"{metadata}/key"] = np.array([key.encode() for key in values])
        file[f"{metadata}/description"] = np.array([b"about it"] * len(values))
        file[f"{metadata}/value"] = np.stack(list(values.values()))


def write_pictures(folder: Path) -> dict[str, tuple[int, int, int]]:
    """A file for each picture, test pictures in a folder of their own; its colour by name."""
    colours = {name: (20 * row, 7, 250 - row) for row, name in enumerate(NAMES.values())}
    for row, (name, colour) in enumerate(colours.items()):
        path = folder / ("test" if row >= len(TRAIN) else "train/deep") / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), colour).save(path, quality=100, subsampling=0)
    return colours


def write_classes(folder: Path) -> None:
    """imagenet_class_index.json: a list of synsets, the name last."""
    table = {str(row): [synset, name] for row, (synset, name) in enumerate(CLASSES.items())}
    (folder / "imagenet_class_index.json").write_text(json.dumps(table))


def bdata_folder(root: Path) -> Path:
    """Two subjects in both spellings, pictures and class names."""
    root.mkdir()
    write_bdata(root / "Subject1.h5", content(1))
    write_bdata(root / "Subject3.h5", content(3), old=True, label="Label")
    write_pictures(root / "images")
    write_classes(root)
    return root


def npz_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of sbj_N.npz; training pictures are shown in another order than their table."""
    rng = np.random.default_rng(seed)
    shown = np.array([4, 0, 5, 2, 1, 3])
    tests = np.array([2, 0, 1, 3] * REPEATS)
    return {
        "arr_0": rng.normal(size=(len(shown), VOXELS)),
        "arr_1": rng.normal(size=(len(tests), VOXELS)),
        "arr_2": rng.normal(size=(len(TEST), VOXELS)),
        "arr_3": shown,
        "arr_4": tests,
        "arr_5": rng.random(VOXELS),
        "arr_6": rng.random(VOXELS) + 1,
        "VC": np.arange(VOXELS) < 10,
        "V1": np.arange(VOXELS) < 2,
    }


def npz_folder(root: Path, seed: int = 0) -> Path:
    """sbj_2.npz, pictures in uint8, label tables whose ids lost their trailing zeros."""
    root.mkdir()
    np.savez(root / "sbj_2.npz", **npz_arrays(seed))
    rng = np.random.default_rng(9)
    pictures = {
        "train_images": rng.integers(0, 256, (len(TRAIN), 8, 8, 3), dtype=np.uint8),
        "test_images": rng.integers(0, 256, (len(TEST), 8, 8, 3), dtype=np.uint8),
    }
    np.savez(root / "images_256.npz", **pictures)
    for name, numbers in (("training", TRAIN), ("testing", TEST)):
        rows = [f"{stimulus_id(number)!r},{NAMES[number]}.JPEG" for number in numbers]
        (root / f"imagenet_{name}_label.csv").write_text("\n".join(rows) + "\n")
    write_classes(root)
    return root
