"""BData files (Kamitani lab): one table of samples, and metadata that say what its columns are."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError, one_of
from preprocessing.damage import readable

BLOCK_BYTES = 32 * 1024 * 1024
#: older files spell the two groups otherwise
_TABLES = ("dataset", "dataSet")
_METADATA = ("metadata", "metaData")


@dataclass(frozen=True)
class BData:
    """The columns of a BData file; its table stays on disk.

    Args:
        path: The file.
        table: Name of the dataset of all samples.
        rows: Number of samples.
        columns: float64 (columns,) by name of a metadata key, NaN where it says nothing.
    """

    path: Path
    table: str
    rows: int
    columns: dict[str, NDArray[np.float64]]

    def member(self, key: str) -> NDArray[np.bool_]:
        """Columns for which a key is 1.

        Raises:
            SourceError: If there is no such key.
        """
        if key not in self.columns:
            raise SourceError(
                f"{self.path} has no metadata key {key!r}", one_of("it", key, self.columns)
            )
        return self.columns[key] == 1

    def value(self, *keys: str) -> NDArray[np.float64]:
        """The one column that the first known of several keys marks, float64 (rows,).

        Raises:
            SourceError: If none is known, or it marks no column or several.
        """
        key = next((key for key in keys if key in self.columns), keys[0])
        places = np.flatnonzero(self.member(key))
        if len(places) != 1:
            raise SourceError(f"{key!r} in {self.path} marks {len(places)} columns", "one column")
        return self.read(places).ravel()

    def read(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Columns of the table by number, (rows, places), a block of rows in memory at a time."""
        low, high = int(places.min()), int(places.max()) + 1
        step = max(1, BLOCK_BYTES // (8 * (high - low)))
        with readable(self.path, "a whole HDF5 file"), h5py.File(self.path) as file:
            out = np.empty((self.rows, len(places)))
            for start in range(0, self.rows, step):
                block = file[self.table][start : start + step, low:high]
                out[start : start + step] = block[:, places - low]
        return out


def open_bdata(path: Path) -> BData:
    """The columns of a file, both spellings of its groups known.

    Raises:
        SourceError: If the file is damaged, is no BData, or its numbers are not double precision:
            a stimulus id such as 3626115.019498 does not survive single precision.
    """
    with readable(path, "a whole HDF5 file"), h5py.File(path) as file:
        table = _present(file, _TABLES, path)
        group = _present(file, _METADATA, path)
        keys = [_text(key) for key in file[group]["key"][()].ravel()]
        values = np.asarray(file[group]["value"][()], dtype=np.float64)
        dataset = file[table]
        if not isinstance(dataset, h5py.Dataset):
            raise SourceError(f"{table!r} in {path} is a group", "the table of samples")
        if dataset.dtype != np.float64 or dataset.ndim != 2:
            raise SourceError(
                f"{table!r} in {path} is {dataset.dtype} of shape {dataset.shape}",
                "float64 (samples, columns), in which stimulus ids are exact",
            )
        if values.shape != (len(keys), dataset.shape[1]):
            raise SourceError(
                f"the metadata of {path} are {len(keys)} keys and values of shape {values.shape}",
                f"values for each key and each of {dataset.shape[1]} columns",
            )
        return BData(path, table, dataset.shape[0], dict(zip(keys, values, strict=True)))


def _present(file: h5py.File, names: Iterable[str], path: Path) -> str:
    for name in names:
        if name in file:
            return name
    first, second = names
    raise SourceError(f"{path} has neither {first!r} nor {second!r}", "a BData file")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
