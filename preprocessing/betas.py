"""Single-trial betas that a data set publishes: rows of HDF5 files, standardised by session."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mindvis.data.hdf5 import gather
from mindvis.errors import SourceError, one_of
from preprocessing.damage import readable


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file; every way in which it can be broken is one sentence that names it.

    Raises:
        SourceError: If it is absent, no HDF5 file, truncated or damaged.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist", "an HDF5 file")
    with readable(path, "a whole HDF5 file"), h5py.File(path, "r", locking=False) as file:
        yield file


def dataset_of(file: h5py.File, key: str, path: Path, axes: int) -> h5py.Dataset:
    """The numbers of a key.

    Raises:
        SourceError: If there is no such array, it has another number of axes, or holds no numbers.
    """
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        raise SourceError(f"{path} has no array {key!r}", one_of("it", key, list(file)))
    if len(found.shape or ()) != axes or found.dtype.kind not in "iufb" or 0 in found.shape:
        raise SourceError(
            f"{key!r} in {path} is {found.dtype} of shape {found.shape}",
            f"numbers in {axes} axes",
        )
    return found


class Hdf5Rows:
    """Some rows of an array of an HDF5 file, read when a slice is asked for.

    Args:
        path: The file.
        key: The array.
        axes: Axes that it must have, rows first.
        rows: Which rows, in any order.

    Raises:
        SourceError: If the array is missing or has too few rows.
    """

    def __init__(self, path: Path, key: str, axes: int, rows: NDArray[np.intp]) -> None:
        self.path, self.key, self.axes = path, key, axes
        with opened_hdf5(path) as file:
            dataset = dataset_of(file, key, path, axes)
            shape, self.dtype = dataset.shape, dataset.dtype
        self.rows = rows
        if rows.size and rows.max() >= shape[0]:
            raise SourceError(
                f"{path} has {shape[0]} rows in {key!r}",
                f"{int(rows.max()) + 1} or more",
                "fetch the whole file, or choose fewer sessions",
            )
        self.shape: tuple[int, ...] = (len(rows), *shape[1:])

    def __getitem__(self, key: slice, /) -> NDArray[Any]:
        with opened_hdf5(self.path) as file:
            return gather(file[self.key], self.rows[key])


def standardised(
    rows: NDArray[np.float32], fit: NDArray[np.bool_], what: str
) -> NDArray[np.float32]:
    """Bring each voxel to mean 0 and standard deviation 1 over some of the rows.

    Args:
        rows: (trials, voxels) of one session.
        fit: bool (trials,), the rows that mean and deviation are taken from: not those of the test.
        what: The session, for the message.

    Returns:
        (trials, voxels); a voxel that is constant over the fitted rows is zero.

    Raises:
        SourceError: If there are fewer than two rows to fit.
    """
    if fit.sum() < 2:
        raise SourceError(
            f"{what} has {int(fit.sum())} trials that are not for the test",
            "two or more, to standardise by",
            "pass --standardise none",
        )
    known = rows[fit].astype(np.float64)
    deviation = known.std(axis=0, ddof=1)
    changes = deviation > 0
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=changes)
    return ((rows - known.mean(axis=0)) * scale).astype(np.float32)
