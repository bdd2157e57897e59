"""Rows read straight from the bytes of an HDF5 file, after HDF5 has verified their chunk once.

A dataset that is chunked by whole rows and has no filter but fletcher32 lies in its file as plain
values, each chunk followed by its checksum. HDF5 reads and sums up a whole chunk for every row of
a shuffled batch; here it does so the first time alone.
"""

import mmap
from contextlib import suppress
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

ABSENT: Final = -1
CHECKSUM_BYTES: Final = 4
Bytes = npt.NDArray[np.uint8]


def map_file(file: h5py.File) -> Bytes | None:
    """The bytes of an open file, read only; None where HDF5 keeps it in another way.

    The map is of the file that is open, also when its name belongs to another one by now. Its
    pages are the operating system's cache.
    """
    if file.driver != "sec2" or file.mode != "r" or file.userblock_size:
        return None
    return np.frombuffer(
        mmap.mmap(file.id.get_vfd_handle(), 0, access=mmap.ACCESS_READ), dtype=np.uint8
    )


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether chunks are whole rows of numbers as they are in memory, with fletcher32 alone."""
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or 0 in dataset.shape:
        return False
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    return (
        filters == [h5py.h5z.FILTER_FLETCHER32]
        and dataset.dtype.kind in "iuf"
        and h5py.h5t.py_create(dataset.dtype) == dataset.id.get_type()
    )


def chunk_starts(dataset: h5py.Dataset, size: int) -> npt.NDArray[np.int64]:
    """Where the bytes of each chunk begin.

    Args:
        dataset: Of which `is_plain` holds.
        size: Bytes of its file.

    Returns:
        (chunks,), `ABSENT` for a chunk that was never written, or without its checksum.
    """
    rows = dataset.chunks[0]
    starts = np.full(-(-len(dataset) // rows), ABSENT, dtype=np.int64)
    whole = dataset.dtype.itemsize * int(np.prod(dataset.chunks, dtype=np.int64)) + CHECKSUM_BYTES

    def note(chunk: Any) -> None:
        number, begin = chunk.chunk_offset[0] // rows, chunk.byte_offset
        fits = number < len(starts) and begin + whole <= size
        if fits and chunk.size == whole and not chunk.filter_mask:
            starts[number] = begin

    # where the index is damaged, HDF5 will say so when it reads the chunk
    with suppress(OSError, RuntimeError):
        dataset.id.chunk_iter(note)
    return starts


class MappedRows:
    """Rows of a plain dataset by their place in the file.

    Args:
        dataset: Of which `is_plain` holds.
        content: The bytes of its file.
    """

    def __init__(self, dataset: h5py.Dataset, content: Bytes) -> None:
        self._dataset = dataset
        self._dtype, self._row_shape = dataset.dtype, dataset.shape[1:]
        self._row_bytes = self._dtype.itemsize * int(np.prod(self._row_shape, dtype=np.int64))
        self._chunk: int = dataset.chunks[0]
        self._starts = chunk_starts(dataset, len(content))
        self._verified = np.zeros(len(self._starts), dtype=np.bool_)
        # every place where a row could begin, aligned or not
        self._windows = np.ndarray(
            (max(0, len(content) - self._row_bytes + 1),),
            dtype=np.dtype((np.void, self._row_bytes)),
            buffer=content.data,
            strides=(1,),
        )

    def verify(self, rows: npt.NDArray[np.intp]) -> bool:
        """Have HDF5 verify the chunks of some rows that it has not verified yet.

        Returns:
            Whether `take` can read these rows; HDF5 has to where a chunk is absent.

        Raises:
            OSError: A chunk is damaged.
        """
        chunks = rows // self._chunk
        known = self._verified[chunks]
        return bool(known.all()) or all(
            self._verify(chunk) for chunk in sorted(set(chunks[~known].tolist()))
        )

    def take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """A copy (n, ...) of verified rows, in any order and with repetition."""
        chunk, place = np.divmod(rows, self._chunk)
        found = self._windows[self._starts[chunk] + place * self._row_bytes]
        return found.view(self._dtype).reshape(len(rows), *self._row_shape)

    def _verify(self, chunk: int) -> bool:
        """Whether HDF5, which sums the chunk up, reads the very bytes that `take` does."""
        if self._starts[chunk] == ABSENT:
            return False
        first = chunk * self._chunk
        values = self._dataset[first : first + self._chunk]
        rows = np.arange(first, first + len(values))
        self._verified[chunk] = self.take(rows).tobytes() == values.tobytes()
        return bool(self._verified[chunk])
