"""Map-style datasets of responses, pairs and pictures; a batch is gathered in one read."""

from collections.abc import Sequence

import torch

from mindvis.data.batches import Batch, BatchDataset
from mindvis.data.images import to_float
from mindvis.data.sampling import split_keys
from mindvis.data.sources import Augmentation, Indices, Pictures, Responses


class ResponseDataset(BatchDataset):
    """Responses without pictures, for stage A.

    A batch has voxels f32 (B, L), valid bool (B, L), subject and index i64 (B,).
    """

    def __init__(self, responses: Responses) -> None:
        self.responses = responses

    def __len__(self) -> int:
        return len(self.responses)

    def __getitems__(self, keys: Sequence[int]) -> Batch:
        """A batch, read at once."""
        _, rows = split_keys(keys, len(self))
        owner = self.responses.owner(rows)
        return {
            "voxels": torch.from_numpy(self.responses.read(rows)),
            "valid": torch.from_numpy(self.responses.valid[owner]),
            "subject": torch.from_numpy(self.responses.numbers[owner]),
            "index": torch.from_numpy(rows),
        }


class PairDataset(BatchDataset):
    """Responses with the pictures that were seen, for stage B.

    A batch has voxels f32 (B, L), image f32 (B, 3, H, W) in [-1, 1], and i64 (B,): stimulus, the
    picture's row in the store, label, the number of its class, subject and index.

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

    def __getitems__(self, keys: Sequence[int]) -> Batch:
        """A batch, read at once."""
        epochs, rows = split_keys(keys, len(self))
        stimulus = self.stimulus[rows]
        images = self.augmentation(self.pictures.read(stimulus), epochs, rows)
        owner = self.responses.owner(rows)
        return {
            "voxels": torch.from_numpy(self.responses.read(rows)),
            "image": to_float(images),
            "stimulus": torch.from_numpy(stimulus),
            "label": torch.from_numpy(self.labels[stimulus]),
            "subject": torch.from_numpy(self.responses.numbers[owner]),
            "index": torch.from_numpy(rows),
        }


class PictureDataset(BatchDataset):
    """Pictures with their class, for the image prior and the judge.

    A batch has image f32 (B, 3, H, W) in [-1, 1], and i64 (B,): label, the number of its class,
    and index, its row in the collection.

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

    def __getitems__(self, keys: Sequence[int]) -> Batch:
        """A batch, read at once."""
        epochs, items = split_keys(keys, len(self))
        rows = self.rows[items]
        images = self.augmentation(self.pictures.read(rows), epochs, items)
        return {
            "image": to_float(images),
            "label": torch.from_numpy(self.labels[rows]),
            "index": torch.from_numpy(rows),
        }
