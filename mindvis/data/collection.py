"""Pictures for the image prior, from a folder, from arrays, or from a store's training stimuli."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mindvis.data.images import list_pictures, read_arrays, stack_squares
from mindvis.data.picture_files import Picture, PictureReader, picture_size
from mindvis.data.sources import Indices
from mindvis.data.store import StoredStimuli, VoxelStore
from mindvis.errors import DataError

Read = Callable[[Indices], Picture]


@dataclass(frozen=True)
class Collection:
    """Pictures that can be read by row.

    Args:
        names: Unique, stable: the choice of validation depends on them.
        labels: The class of each.
        read: Gives uint8 (n, size, size, 3) of row numbers.
        size: Pixels of a side.
        inputs: The files.
    """

    names: Sequence[str]
    labels: Sequence[str]
    read: Read
    size: int
    inputs: Sequence[Path]


def from_folder(folder: str, size: int | None) -> Collection:
    """Picture files, one folder for each class."""
    files = list_pictures(folder)
    side = size or min(picture_size(files.paths[0]))
    names = [path.relative_to(folder).as_posix() for path in files.paths]
    read = partial(_read_files, PictureReader(), files.paths, side)
    return Collection(names, files.labels, read, side, files.paths)


def from_arrays(path: str, size: int | None) -> Collection:
    """The arrays `images` and `labels` of an .npz file."""
    images, labels = read_arrays(path)
    side = size or min(images.shape[1:3])
    names = [f"{Path(path).name}:{row}" for row in range(len(images))]
    return Collection(names, labels, partial(_read_array, images, side), side, [Path(path)])


def from_store(path: str, size: int | None) -> Collection:
    """Pictures that were shown in training trials and in no test trial of any subject."""
    with VoxelStore(path) as store:
        if store.stimuli is None:
            raise DataError(f"{path} holds no pictures", "a store with /stimuli")
        trials = [subject.trials for subject in store]
        train, test = (
            {name for table in trials for name in table.loc[table["split"] == split, "stimulus"]}
            for split in ("train", "test")
        )
        rows = store.stimuli.index(sorted(train - test - {""}))
        if not len(rows):
            raise DataError(f"{path} has no training trials", "pictures that were seen in training")
        side = size or min(store.stimuli.rows.shape[1:3])
        names, labels = ([column[row] for row in rows] for column in _columns(store.stimuli))
        read = partial(_read_stored, store.stimuli, rows, side)
        return Collection(names, labels, read, side, [Path(path)])


def join(first: Collection, second: Collection) -> Collection:
    """Both collections, one after the other."""
    if first.size != second.size:
        raise DataError(
            f"the pictures are of {first.size} and {second.size} pixels",
            "one size",
            "give image_size",
        )
    return Collection(
        [*first.names, *second.names],
        [*first.labels, *second.labels],
        partial(_read_both, first.read, second.read, len(first.names), first.size),
        first.size,
        [*first.inputs, *second.inputs],
    )


def read_stored(stimuli: StoredStimuli, size: int, rows: Indices) -> Picture:
    """Squares of stored pictures."""
    return stack_squares(stimuli.images(rows), size)


def _columns(stimuli: StoredStimuli) -> tuple[list[str], list[str]]:
    return stimuli.ids, stimuli.labels


def _read_files(reader: PictureReader, paths: Sequence[Path], size: int, rows: Indices) -> Picture:
    return stack_squares([reader.read(paths[row]) for row in rows], size)


def _read_array(images: Picture, size: int, rows: Indices) -> Picture:
    return stack_squares(images[rows], size)


def _read_stored(
    stimuli: StoredStimuli, kept: npt.NDArray[np.intp], size: int, rows: Indices
) -> Picture:
    return read_stored(stimuli, size, kept[rows])


def _read_both(first: Read, second: Read, border: int, size: int, rows: Indices) -> Picture:
    out = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    early = rows < border
    out[early] = first(rows[early])
    out[~early] = second(rows[~early] - border)
    return out
