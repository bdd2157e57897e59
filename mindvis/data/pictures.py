"""Pictures with their classes, for the image prior and for the judge."""

from functools import cached_property
from pathlib import Path

import numpy as np

from mindvis.data.base import SplitData
from mindvis.data.collection import Collection, from_arrays, from_folder, from_store, join
from mindvis.data.datasets import PictureDataset
from mindvis.data.sources import CACHE_BYTES, Augmentation, Pictures
from mindvis.data.splits import Split, held_out
from mindvis.errors import ConfigError


class PictureData(SplitData):
    """Pictures with their classes, for the latent diffusion prior and for the judge.

    Args:
        pictures: A folder with one folder of pictures for each class (or all pictures in it, as one
            class), or an .npz file with the arrays `images` and `labels`.
        store: A store whose training stimuli are taken, in addition where `pictures` is given; its
            test stimuli never are.
        image_size: Pixels of a side; that of the first picture when omitted.
        flip: Mirror pictures at random; left and right are then lost.
        crop: Largest part of the side cut off at random, in [0, 1); 0.2 in MinD-Vis.
        batch_size: Pictures of a batch, on each device.
        val_fraction: Part of the pictures held out of training.
        num_workers: Processes that read ahead; 0 is fastest while the pictures fit in memory.
        seed: Of the order of training items, of augmentation and of the choice of validation.
        cache_bytes: Keep pictures in memory up to this size.
    """

    def __init__(
        self,
        pictures: str | None = None,
        store: str | None = None,
        image_size: int | None = None,
        flip: bool = False,
        crop: float = 0.0,
        batch_size: int = 64,
        val_fraction: float = 0.05,
        num_workers: int = 0,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.folder = pictures
        self.store = store
        self.image_size = image_size
        self.augmentation = Augmentation(flip, crop, seed)
        self.val_fraction = val_fraction
        self.cache_bytes = cache_bytes

    @cached_property
    def collection(self) -> Collection:
        """All pictures, the training stimuli of the store after those of the folder."""
        size = self.image_size
        parts: list[Collection] = []
        if self.folder is not None:
            arrays = Path(self.folder).suffix == ".npz"
            parts.append((from_arrays if arrays else from_folder)(self.folder, size))
        if self.store is not None:
            parts.append(from_store(self.store, size or (parts[0].size if parts else None)))
        if not parts:
            raise ConfigError("there are no pictures", "data.pictures, data.store, or both")
        return parts[0] if len(parts) == 1 else join(*parts)

    @cached_property
    def class_names(self) -> list[str]:
        """All classes, sorted; `label` in a batch is a position in this list."""
        return sorted(set(self.collection.labels))

    @property
    def facts(self) -> dict[str, int]:
        """Classes, picture size and number, and whether pictures are augmented."""
        return {
            "num_classes": len(self.class_names),
            "image_size": self.collection.size,
            "num_stimuli": len(self.collection.names),
            "augmented": int(self.augmentation.active),
        }

    @property
    def inputs(self) -> list[Path]:
        """The picture files and the store."""
        return list(self.collection.inputs)

    @cached_property
    def images(self) -> Pictures:
        """All pictures, in memory when they are small."""
        collection = self.collection
        return Pictures(collection.read, len(collection.names), collection.size, self.cache_bytes)

    def dataset(self, split: Split) -> PictureDataset:
        """Pictures of one split; there is no test split, which is the store's to keep."""
        names = self.collection.names
        kept = held_out(names, self.val_fraction, self.seed)
        rows = [
            row
            for row, name in enumerate(names)
            if split != "test" and (name in kept) == (split == "val")
        ]
        place = {name: number for number, name in enumerate(self.class_names)}
        return PictureDataset(
            self.images,
            np.array(rows, dtype=np.int64),
            np.array([place[label] for label in self.collection.labels], dtype=np.int64),
            self.augmentation if split == "train" else None,
        )
