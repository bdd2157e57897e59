"""HDF5 with checksums: datasets that notice damage, fixed-width text, gathered rows."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from mindvis.data.rows import Bytes, MappedRows, is_plain
from mindvis.errors import StoreError

# One chunk is one checksum and one read: small enough that a random row costs little.
CHUNK_BYTES: Final = 64 * 1024


class Rows(Protocol):
    """Anything with a shape that gives rows by slice: an array, a memory map, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, then the shape of one row."""
        ...

    def __getitem__(self, key: slice, /) -> Any:
        """The rows of a slice."""
        ...


def chunk_rows(shape: Sequence[int], itemsize: int) -> int:
    """Rows of one chunk: as many as fit into `CHUNK_BYTES`, at least one, at most all."""
    row = itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return int(np.clip(CHUNK_BYTES // max(row, 1), 1, max(shape[0], 1)))


def create(
    group: h5py.Group, name: str, shape: Sequence[int], dtype: npt.DTypeLike
) -> h5py.Dataset:
    """An empty dataset, chunked by rows and checksummed (fletcher32)."""
    kind = np.dtype(dtype)
    chunks = (chunk_rows(shape, kind.itemsize), *shape[1:])
    return group.create_dataset(
        name, tuple(shape), kind, chunks=chunks, fletcher32=True, track_times=False
    )


def put(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    """Write a whole array as a checksummed dataset."""
    create(group, name, values.shape, values.dtype)[...] = values


def put_texts(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write text as fixed-width UTF-8: unlike variable-length text it carries a checksum."""
    coded = [value.encode() for value in values]
    width = max(1, *map(len, coded)) if coded else 1
    kind = h5py.string_dtype("utf-8", width)
    create(group, name, (len(coded),), kind)[...] = np.array(coded, dtype=kind)


def put_attribute(node: h5py.HLObject, name: str, value: str) -> None:
    """Write a text attribute of fixed width."""
    coded = value.encode()
    kind = h5py.string_dtype("utf-8", max(1, len(coded)))
    node.attrs.create(name, np.array(coded, dtype=kind))


def read(dataset: h5py.Dataset, key: Any = ()) -> npt.NDArray[Any]:
    """The values of a slice.

    Raises:
        StoreError: The checksum of a chunk does not match what is on disk.
    """
    try:
        return np.asarray(dataset[key])
    except OSError as error:
        raise _damaged(dataset, error) from error


def _damaged(dataset: h5py.Dataset, error: OSError) -> StoreError:
    return StoreError(
        f"{dataset.name} in {dataset.file.filename} is damaged ({error})",
        remedy="copy the store again from its source, or prepare it again",
    )


def texts(dataset: h5py.Dataset) -> list[str]:
    """A column of text."""
    return [value.decode() for value in read(dataset).tolist()]


def gather(rows: Rows, indices: npt.ArrayLike, gap: int = 0) -> npt.NDArray[Any]:
    """Rows by index, in any order and with repetition, read as few sorted slices.

    Args:
        rows: Anything sliceable by rows.
        indices: (n,) row numbers.
        gap: Rows that may be read in vain to join two slices; a chunk is read whole anyway.

    Returns:
        (n, ...) in the order of `indices`.
    """
    unique, inverse = np.unique(np.asarray(indices, dtype=np.intp), return_inverse=True)
    out = np.empty((len(unique), *rows.shape[1:]), dtype=np.asarray(rows[0:1]).dtype)
    start = 0
    for block in np.split(unique, np.flatnonzero(np.diff(unique) > gap + 1) + 1):
        if len(block):
            piece = rows[int(block[0]) : int(block[-1]) + 1]
            out[start : start + len(block)] = piece[block - block[0]]
            start += len(block)
    return out if np.array_equal(inverse, np.arange(len(unique))) else out[inverse]


class CheckedRows:
    """A dataset as sliceable rows whose damage is a StoreError.

    Args:
        dataset: Chunked by rows.
        content: The bytes of its file, from which chosen rows are read once HDF5 has verified
            their chunks; None to read through HDF5 alone.
    """

    def __init__(self, dataset: h5py.Dataset, content: Bytes | None = None) -> None:
        self.dataset = dataset
        self._mapped: MappedRows | None = None
        if content is not None and is_plain(dataset):
            self._mapped = MappedRows(dataset, content)
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype

    def __getitem__(self, key: slice, /) -> npt.NDArray[Any]:
        return read(self.dataset, key)

    def gather(self, indices: npt.ArrayLike | None) -> npt.NDArray[Any]:
        """Rows by index; all of them for None."""
        if indices is None:
            return self[:]
        wanted = np.asarray(indices)
        if wanted.dtype == np.bool_:
            wanted = np.flatnonzero(wanted)
        wanted = wanted.astype(np.intp, copy=False)
        # without a sign, a negative number is larger than any row
        if wanted.size and wanted.view(np.uintp).max() >= self.shape[0]:
            outside = wanted[(wanted < 0) | (wanted >= self.shape[0])]
            raise StoreError(
                f"row {int(outside[0])} of {self.dataset.name} was asked for",
                f"rows from 0 to {self.shape[0] - 1}",
            )
        return self._gather(wanted)

    def _gather(self, wanted: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        try:
            if self._mapped is not None and self._mapped.verify(wanted):
                return self._mapped.take(wanted)
        except OSError as error:
            raise _damaged(self.dataset, error) from error
        return gather(self, wanted, gap=self.dataset.chunks[0] if self.dataset.chunks else 0)
