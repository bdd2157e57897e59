"""Map-style datasets whose items are small dictionaries; a batch is gathered in one read."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch.utils.data import Dataset

from mindvis.data.images import to_float
from mindvis.data.sampling import split_keys
from mindvis.data.sources import Augmentation, Indices, Pictures, Responses


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
