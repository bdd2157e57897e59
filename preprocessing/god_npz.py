"""Generic Object Decoding as MinD-Vis reads it: sbj_N.npz, pictures in one file, label tables."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import StimulusData, SubjectData
from mindvis.errors import SourceError
from preprocessing.facts import ExpectedFile
from preprocessing.formats import Array, array_names, load_arrays
from preprocessing.imagenet import CLASS_INDEX, class_names, picture_name, synset_of
from preprocessing.orientation import Layout, orient, resize, shared_range, to_uint8
from preprocessing.quality import response_quality
from preprocessing.tables import voxel_places
from preprocessing.trials import Test, count_repeats, stored_columns

LABELS = {"train": "imagenet_training_label.csv", "test": "imagenet_testing_label.csv"}
#: what the unnamed arrays are, found by those who had to use them
_ARRAYS = {
    "train": "arr_0",
    "test": "arr_1",
    "average": "arr_2",
    "train_index": "arr_3",
    "test_index": "arr_4",
    "noise_ceiling": "arr_5",
    "snr": "arr_6",
}


def npz_files(source: Path, subjects: Sequence[str], images: str) -> list[ExpectedFile]:
    """The files of some subjects, their pictures and labels."""
    files = [ExpectedFile(subject_file(source, name), f"responses of {name}") for name in subjects]
    files += [ExpectedFile(source / name, f"{split} labels") for split, name in LABELS.items()]
    if images != "none":
        files.append(ExpectedFile(source / image_file(images), "pictures"))
    return [*files, ExpectedFile(source / CLASS_INDEX, "names of the classes", required=False)]


def subject_file(source: Path, name: str) -> Path:
    """sbj_3.npz of "sub-03"."""
    return source / f"sbj_{int(name.removeprefix('sub-'))}.npz"


def image_file(images: str) -> str:
    """The pictures' file: images_256.npz unless another is named."""
    return images if images.endswith(".npz") else "images_256.npz"


def read_labels(path: Path) -> list[str]:
    """Pictures in the order of their table, such as "n03626115_19498"; ids are read as text.

    Raises:
        SourceError: If the table is empty or a first column is no id.
    """
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig", errors="replace").splitlines()))
    try:
        names = [picture_name(row[0]) for row in rows if row]
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    if not names:
        raise SourceError(f"{path} is empty", "a stimulus id in each row")
    return names


def npz_stimuli(
    source: Path, subjects: Sequence[str], images: str, size: int | None
) -> StimulusData | None:
    """All pictures, of training and test, as they lie in the file.

    Raises:
        SourceError: If there are not as many as labels, or values fit no range of pictures.
    """
    if images == "none":
        return None
    path = source / image_file(images)
    names = {split: read_labels(source / table) for split, table in LABELS.items()}
    blocks = []
    arrays = load_arrays(path, [f"{split}_images" for split in names])
    scale = shared_range(arrays)
    for split, known in names.items():
        key = f"{split}_images"
        pictures = arrays[key]
        layout: Layout = "chw" if pictures.ndim == 4 and pictures.shape[1] in {1, 3} else "hwc"
        block = to_uint8(orient(pictures, layout, None, key), scale, key)
        if len(block) != len(known):
            raise SourceError(
                f"{path} has {len(block)} {key} and {LABELS[split]} {len(known)} rows", "one each"
            )
        blocks.append(resize(block, size))
    ids = [*names["train"], *names["test"]]
    classes = class_names(source)
    synsets = [synset_of(name) for name in ids]
    labels = [classes.get(synset, synset) for synset in synsets]
    return StimulusData(np.concatenate(blocks), ids, labels, synsets)


def npz_subject(source: Path, name: str, test: Test) -> SubjectData:
    """What a store keeps of one file.

    Raises:
        SourceError: If arrays are missing or do not fit each other.
    """
    path = subject_file(source, name)
    keys = dict(_ARRAYS)
    masks = [key for key in array_names(path) if not key.startswith("arr_")]
    arrays = load_arrays(path, [*keys.values(), *masks])
    blocks = {split: _responses(arrays[keys[split]], keys[split], path) for split in list(keys)[:3]}
    voxels = blocks["train"].shape[1]
    for split, block in blocks.items():
        if block.shape[1] != voxels:
            raise SourceError(f"{keys[split]} of {path} has {block.shape[1]} voxels", f"{voxels}")
    singles = _table(source, arrays, blocks, "single", path)
    quality = _given(arrays, voxels) or response_quality(
        np.concatenate([blocks["train"], blocks["test"]]), singles
    )
    single = test == "single"
    trials = singles if single else _table(source, arrays, blocks, test, path)
    ijk, affine, shape = voxel_places(None, voxels)
    return SubjectData(
        responses=np.concatenate([blocks["train"], blocks["test" if single else "average"]]),
        trials=stored_columns(trials),
        ijk=ijk,
        affine=affine,
        shape=shape,
        rois={key: _mask(arrays[key], key, voxels, path) for key in masks},
        quality=quality,
        units="as given",
        space="unknown",
        tr=3.0,
    )


def _responses(values: Array, key: str, path: Path) -> NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise SourceError(
            f"{key} of {path} is {values.dtype} of shape {values.shape}",
            "finite numbers (trials, voxels)",
        )
    return values.astype(np.float32)


def _table(
    source: Path,
    arrays: dict[str, Array],
    blocks: dict[str, NDArray[np.float32]],
    test: Test,
    path: Path,
) -> pd.DataFrame:
    """A row for each response: training trials, then test trials or their means."""
    names = {split: read_labels(source / table) for split, table in LABELS.items()}
    train = _shown(arrays, "train_index", names["train"], len(blocks["train"]), path)
    if test == "single":
        tests = _shown(arrays, "test_index", names["test"], len(blocks["test"]), path)
    else:
        tests = names["test"]
    if test == "averaged" and len(tests) != len(blocks["average"]):
        raise SourceError(f"arr_2 of {path} has {len(blocks['average'])} rows", f"{len(tests)}")
    shown = [*train, *tests]
    table = pd.DataFrame({"stimulus": shown, "condition": [synset_of(name) for name in shown]})
    table["split"] = ["train"] * len(train) + ["test"] * len(tests)
    table = table.assign(session=1, run=1, onset=0.0, kind="task")
    count_repeats(table)
    return table


def _shown(
    arrays: dict[str, Array], what: str, names: list[str], count: int, path: Path
) -> list[str]:
    """The picture of each trial, by its number in the table of labels."""
    key = _ARRAYS[what]
    numbers = np.ravel(arrays[key])
    whole = numbers.astype(np.int64) if numbers.dtype.kind in "iuf" else np.full(len(numbers), -1)
    if len(whole) != count or (whole != numbers).any() or not _within(whole, len(names)):
        raise SourceError(
            f"{key} of {path} has {len(numbers)} values of {numbers.dtype}",
            f"{count} numbers of pictures, from 0 to {len(names) - 1}",
        )
    return [names[number] for number in whole.tolist()]


def _within(numbers: NDArray[np.int64], count: int) -> bool:
    return bool(((numbers >= 0) & (numbers < count)).all())


def _given(arrays: dict[str, Array], voxels: int) -> dict[str, NDArray[np.float32]]:
    """Noise ceiling and signal-to-noise ratio, where the file has one value for each voxel."""
    pairs = {name: np.ravel(arrays[_ARRAYS[name]]) for name in ("noise_ceiling", "snr")}
    return {
        name: values.astype(np.float32)
        for name, values in pairs.items()
        if values.size == voxels and values.dtype.kind == "f"
    }


def _mask(values: Array, key: str, voxels: int, path: Path) -> NDArray[np.bool_]:
    flat = np.ravel(values)
    if flat.size != voxels or flat.dtype.kind not in "biuf":
        raise SourceError(f"the region {key} of {path} has {flat.size} values", f"{voxels}")
    return np.asarray(flat > 0, dtype=np.bool_)
