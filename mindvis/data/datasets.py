"""Map-style datasets whose items are small dictionaries; a batch is gathered in one read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from mindvis.data.images import Picture, augment, to_float
from mindvis.data.sampling import split_keys
from mindvis.data.store import StoredSubject
from mindvis.data.transforms import Float, VoxelTransform
from mindvis.errors import ConfigError
from mindvis.seeding import numpy_generator

CACHE_BYTES: Final = 2 * 1024**3
BLOCK: Final = 1024
Indices = npt.NDArray[np.int64]


class ResponseItem(TypedDict):
    """One response: voxels f32 (L,), valid bool (L,), subject and index numbers."""

    voxels: torch.Tensor
    valid: torch.Tensor
    subject: int
    index: int


class PairItem(TypedDict):
    """One response and the picture that was seen: image f32 (3, H, W) in [-1, 1].

    `stimulus` is the picture's row in the store, `label` the number of its class.
    """

    voxels: torch.Tensor
    image: torch.Tensor
    stimulus: int
    label: int
    subject: int
    index: int


class PictureItem(TypedDict):
    """One picture: f32 (3, H, W) in [-1, 1], the number of its class, its row in the collection."""

    image: torch.Tensor
    label: int
    index: int


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
        chosen = [self.rows[item] for item in items.tolist()]
        counts = np.array([len(rows) for rows in chosen])
        values = self.transform(self.stored.responses(np.concatenate(chosen)))
        if (counts == 1).all():
            return values
        starts = np.cumsum(counts) - counts
        means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
        return means.astype(np.float32)


class Responses:
    """Responses of several subjects as one sequence, in memory when they are small.

    Args:
        sources: One for each subject, all of one length.
        cache_bytes: Keep the transformed responses in memory up to this size.
    """

    def __init__(self, sources: Sequence[ResponseSource], cache_bytes: int = CACHE_BYTES) -> None:
        self.sources = list(sources)
        self.starts = np.cumsum([0, *(len(source.rows) for source in self.sources)])
        self.valid = [torch.from_numpy(source.transform.valid) for source in self.sources]
        length = self.sources[0].transform.length if self.sources else 0
        fits = 4 * len(self) * length <= cache_bytes
        self._cache: Float | None = self._read_all(length) if fits else None

    def __len__(self) -> int:
        return int(self.starts[-1])

    def owner(self, indices: Indices) -> Indices:
        """Which source each item belongs to."""
        return np.searchsorted(self.starts, indices, side="right") - 1

    def read(self, indices: Indices) -> Float:
        """Voxels (n, length) of items, of any mixture of subjects."""
        if self._cache is not None:
            return self._cache[indices]
        owner = self.owner(indices)
        out = np.empty((len(indices), self.sources[0].transform.length), dtype=np.float32)
        for number in np.unique(owner):
            mine = owner == number
            out[mine] = self.sources[number].read(indices[mine] - self.starts[number])
        return out

    def _read_all(self, length: int) -> Float:
        out = np.empty((len(self), length), dtype=np.float32)
        for source, start in zip(self.sources, self.starts[:-1], strict=True):
            for first in range(0, len(source.rows), BLOCK):
                items = np.arange(first, min(first + BLOCK, len(source.rows)))
                out[start + items] = source.read(items)
        return out


class ResponseDataset(Dataset[ResponseItem]):
    """Responses without pictures, for stage A."""

    def __init__(self, responses: Responses) -> None:
        self.responses = responses

    def __len__(self) -> int:
        return len(self.responses)

    def __getitem__(self, key: int) -> ResponseItem:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int]) -> list[ResponseItem]:
        """All items of a batch, read at once."""
        _, rows = split_keys(keys, len(self))
        voxels = torch.from_numpy(self.responses.read(rows))
        sources = self.responses.owner(rows).tolist()
        return [
            {
                "voxels": values,
                "valid": self.responses.valid[source],
                "subject": self.responses.sources[source].number,
                "index": row,
            }
            for values, source, row in zip(voxels, sources, rows.tolist(), strict=True)
        ]


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


class PairDataset(Dataset[PairItem]):
    """Responses with the pictures that were seen, for stage B.

    Args:
        responses: Of task rows.
        pictures: Of the whole store.
        stimulus: Row of the picture, for each response.
        labels: Number of the class, for each picture.
        augmentation: None for none.
    """

    def __init__(
        self,
        responses: Responses,
        pictures: Pictures,
        stimulus: Indices,
        labels: Indices,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.responses = responses
        self.pictures = pictures
        self.stimulus = stimulus
        self.labels = labels
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.responses)

    def __getitem__(self, key: int) -> PairItem:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int]) -> list[PairItem]:
        """All items of a batch, read at once."""
        epochs, rows = split_keys(keys, len(self))
        stimulus = self.stimulus[rows]
        images = self.augmentation(self.pictures.read(stimulus), epochs, rows)
        columns = zip(
            torch.from_numpy(self.responses.read(rows)),
            to_float(images),
            stimulus.tolist(),
            self.labels[stimulus].tolist(),
            self.responses.owner(rows).tolist(),
            rows.tolist(),
            strict=True,
        )
        return [
            {
                "voxels": voxels,
                "image": image,
                "stimulus": shown,
                "label": label,
                "subject": self.responses.sources[source].number,
                "index": row,
            }
            for voxels, image, shown, label, source, row in columns
        ]


class PictureDataset(Dataset[PictureItem]):
    """Pictures with their class, for the image prior and the judge.

    Args:
        pictures: All of a collection.
        rows: The rows of `pictures` that belong to this split.
        labels: Number of the class, for each row of `pictures`.
        augmentation: None for none.
    """

    def __init__(
        self,
        pictures: Pictures,
        rows: Indices,
        labels: Indices,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.pictures = pictures
        self.rows = rows
        self.labels = labels
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> PictureItem:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int]) -> list[PictureItem]:
        """All items of a batch, read at once."""
        epochs, items = split_keys(keys, len(self))
        rows = self.rows[items]
        images = to_float(self.augmentation(self.pictures.read(rows), epochs, items))
        labels = self.labels[rows].tolist()
        columns = zip(images, labels, rows.tolist(), strict=True)
        return [{"image": image, "label": label, "index": row} for image, label, row in columns]
