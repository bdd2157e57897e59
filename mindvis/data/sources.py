"""Where items come from: responses of several subjects, pictures, random changes of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mindvis.data.images import augment
from mindvis.data.picture_files import Picture
from mindvis.data.store import StoredSubject
from mindvis.data.transforms import Float, VoxelTransform, group_means
from mindvis.errors import ConfigError
from mindvis.seeding import numpy_generator

CACHE_BYTES: Final = 2 * 1024**3
BLOCK: Final = 1024
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ResponseSource:
    """Responses of one subject, each the mean of one or more stored rows.

    Args:
        stored: Where the rows are.
        transform: From stored to read voxels.
        rows: Row numbers of each item.
        number: Of the subject, in the batch.
    """

    stored: StoredSubject
    transform: VoxelTransform
    rows: Sequence[npt.NDArray[np.intp]]
    number: int

    def read(self, items: Indices) -> Float:
        """Transformed responses (n, length) of some items."""
        if self._single is not None:
            return self.transform(self.stored.responses(self._single[items]))
        chosen = [self.rows[item] for item in items.tolist()]
        counts = [len(rows) for rows in chosen]
        values = self.transform(self.stored.responses(np.concatenate(chosen)))
        return group_means(values, counts)

    @cached_property
    def _single(self) -> npt.NDArray[np.intp] | None:
        """The row of each item, where no item is a mean of several."""
        if not len(self.rows) or any(len(rows) != 1 for rows in self.rows):
            return None
        return np.concatenate(self.rows)


class Responses:
    """Responses of several subjects as one sequence, in memory when they are small.

    Args:
        sources: One for each subject, all of one length.
        cache_bytes: Keep the transformed responses in memory up to this size.
    """

    def __init__(self, sources: Sequence[ResponseSource], cache_bytes: int = CACHE_BYTES) -> None:
        self.sources = list(sources)
        self.starts = np.cumsum([0, *(len(source.rows) for source in self.sources)])
        self.length = self.sources[0].transform.length if self.sources else 0
        fits = 4 * len(self) * self.length <= cache_bytes
        self._cache: Float | None = self._read_all() if fits else None

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which entries of a response are measured voxels, bool (sources, length)."""
        return np.stack([source.transform.valid for source in self.sources])

    @cached_property
    def numbers(self) -> Indices:
        """The number of each source's subject, i64 (sources,)."""
        return np.array([source.number for source in self.sources], dtype=np.int64)

    def owner(self, indices: Indices) -> Indices:
        """Which source each item belongs to."""
        return np.searchsorted(self.starts, indices, side="right") - 1

    def read(self, indices: Indices) -> Float:
        """Voxels (n, length) of items, of any mixture of subjects."""
        if self._cache is not None:
            return self._cache[indices]
        owner = self.owner(indices).tolist()
        by_owner = sorted(range(len(owner)), key=owner.__getitem__)
        out = np.empty((len(owner), self.length), dtype=np.float32)
        for number, places in groupby(by_owner, owner.__getitem__):
            mine = list(places)
            out[mine] = self.sources[number].read(indices[mine] - self.starts[number])
        return out

    def _read_all(self) -> Float:
        out = np.empty((len(self), self.length), dtype=np.float32)
        for source, start in zip(self.sources, self.starts[:-1], strict=True):
            for first in range(0, len(source.rows), BLOCK):
                items = np.arange(first, min(first + BLOCK, len(source.rows)))
                out[start + items] = source.read(items)
        return out


class Pictures:
    """Square pictures by row, read when they are asked for or kept in memory when small.

    Args:
        read: Gives uint8 (n, size, size, 3) of row numbers.
        length: Number of rows.
        size: Pixels of a side.
        cache_bytes: Keep all in memory up to this size.
    """

    def __init__(
        self,
        read: Callable[[Indices], Picture],
        length: int,
        size: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._read = read
        self.length = length
        self.size = size
        fits = length * size * size * 3 <= cache_bytes
        self._cache: Picture | None = self._read_all() if fits else None

    def __len__(self) -> int:
        return self.length

    def read(self, rows: Indices) -> Picture:
        """Pictures of rows as uint8 (n, size, size, 3)."""
        return self._read(rows) if self._cache is None else self._cache[rows]

    def _read_all(self) -> Picture:
        out = np.empty((self.length, self.size, self.size, 3), dtype=np.uint8)
        blocks = range(0, self.length, BLOCK)
        for first in tqdm(blocks, "Reading pictures", disable=len(blocks) < 3, leave=False):
            rows = np.arange(first, min(first + BLOCK, self.length))
            out[rows] = self._read(rows)
        return out


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures, drawn from (seed, epoch, item)."""

    flip: bool = False
    crop: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.crop < 1:
            raise ConfigError(f"crop is {self.crop}", "a part of the side, from 0 up to 1")

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.flip or self.crop > 0

    def __call__(self, pictures: Picture, epochs: Indices, rows: Indices) -> Picture:
        """Change each picture of a batch; the same array where nothing is to change."""
        if not self.active:
            return pictures
        changed = [
            augment(picture, self._generator(epoch, row), flip=self.flip, crop=self.crop)
            for picture, epoch, row in zip(pictures, epochs.tolist(), rows.tolist(), strict=True)
        ]
        return np.stack(changed)

    def _generator(self, epoch: int, row: int) -> np.random.Generator:
        return numpy_generator(self.seed, "augment", epoch, row)
