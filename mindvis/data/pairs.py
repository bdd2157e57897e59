"""Responses with the pictures that were seen, for conditioning the diffusion model."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from mindvis.data.base import SplitData
from mindvis.data.collection import read_stored
from mindvis.data.datasets import PairDataset
from mindvis.data.items import Rows
from mindvis.data.ordering import Order
from mindvis.data.recordings import (
    Recipe,
    Recording,
    divide,
    fitting_rows,
    input_files,
    open_recordings,
    read_responses,
    refuse_test_rows,
    region_names,
    reuse_or_fit,
    split_record,
    voxel_facts,
)
from mindvis.data.sources import CACHE_BYTES, Augmentation, Pictures
from mindvis.data.splits import Split, digest
from mindvis.data.store import StoredStimuli
from mindvis.data.transforms import Padding, Preprocessing, Standardise, Statistics
from mindvis.errors import ConfigError


class PairData(SplitData):
    """Responses with the pictures that were seen, for conditioning the diffusion model (stage B).

    Args:
        store: A store with pictures.
        subjects: Those to take; all when omitted.
        roi: Regions whose voxels are read, the union of those that a subject has; all stored
            voxels when omitted.
        order: Voxels as stored, or along a Hilbert curve through the volume; see ResponseData.
        padding: What fills the last patch and shorter subjects; see ResponseData.
        standardise: Each voxel by its own mean and deviation over training rows, or all by one.
        statistics: Rows that mean and deviation are of: "train", "train_only" or "all"; see
            ResponseData.
        patch_size: Voxels of a patch.
        length: Voxels the model reads; those of the largest subject when omitted.
        preprocessing: The run or model of stage A whose preprocessing is used again; roi, order,
            padding, standardise, patch_size and length are then its own.
        average_repeats: Average the repeats of a picture before they are encoded: less noise, but
            fewer responses to learn from.
        image_size: Pixels of a side; as stored when omitted.
        flip: Mirror pictures at random; left and right are then lost.
        crop: Largest part of the side cut off at random, in [0, 1). Off, so that latents of
            pictures can be cached; MinD-Vis uses 0.2.
        batch_size: Pairs of a batch, on each device.
        val_fraction: Part of the training pictures held out of training.
        num_workers: Processes that read ahead; 0 is fastest while the data fit in memory.
        seed: Of the order of training items, and of the choice of validation.
        cache_bytes: Keep responses, and pictures, in memory up to this size each.
    """

    def __init__(
        self,
        store: str,
        subjects: list[str] | None = None,
        roi: str | list[str] | None = None,
        order: Order = "stored",
        padding: Padding = "zero",
        standardise: Standardise = "voxel",
        patch_size: int = 16,
        length: int | None = None,
        preprocessing: str | None = None,
        average_repeats: bool = False,
        image_size: int | None = None,
        flip: bool = False,
        crop: float = 0.0,
        batch_size: int = 16,
        val_fraction: float = 0.1,
        num_workers: int = 0,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
        statistics: Statistics = "train",
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.store = store
        self.subjects = subjects
        self.recipe = Recipe(
            region_names(roi), order, padding, standardise, patch_size, length, statistics
        )
        self.saved = preprocessing
        self.average_repeats = average_repeats
        self.image_size = image_size
        self.augmentation = Augmentation(flip, crop, seed)
        self.val_fraction = val_fraction
        self.cache_bytes = cache_bytes

    @cached_property
    def recordings(self) -> list[Recording]:
        """The subjects, in the order of the numbers in a batch."""
        return open_recordings(self.store, self.subjects)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """That of the pretrained model, or one fitted on the rows that `statistics` says."""
        rows = fitting_rows(self.recordings, self.recipe.statistics, **self._division)
        return reuse_or_fit(self.recordings, rows, self.recipe, self.saved)

    @property
    def sees_test(self) -> bool:
        """Whether the preprocessing says so."""
        return self.preprocessing.transductive

    def _rows(self, split: Split) -> list[Rows]:
        rows = divide(self.recordings, split, **self._division)
        if split == "test":
            return rows
        return refuse_test_rows(self.recordings, rows, f"the {split} split")

    @property
    def _division(self) -> dict[str, Any]:
        return {"kinds": ("task",), "val_fraction": self.val_fraction, "seed": self.seed}

    def splits(self) -> dict[str, dict[str, Any]]:
        """Numbers and digests of the stimuli of each split, by subject."""
        return split_record(self.recordings, self._rows("train"), self._rows("val"))

    @property
    def stimuli(self) -> StoredStimuli:
        """The pictures of the store."""
        stimuli = self.recordings[0].stored.store.stimuli
        if stimuli is None:
            raise ConfigError(f"{self.store} holds no pictures", "a store with /stimuli")
        return stimuli

    @cached_property
    def class_names(self) -> list[str]:
        """All classes of the store, sorted; `label` in a batch is a position in this list."""
        return sorted(set(self.stimuli.labels))

    @property
    def size(self) -> int:
        """Pixels of a picture's side."""
        return self.image_size or min(self.stimuli.rows.shape[1:3])

    @property
    def facts(self) -> dict[str, int]:
        """Voxels, patch, classes, picture size and number, and whether pictures are augmented."""
        return {
            **voxel_facts(self.preprocessing),
            "num_classes": len(self.class_names),
            "image_size": self.size,
            "num_stimuli": len(self.stimuli),
            "augmented": int(self.augmentation.active),
        }

    @property
    def inputs(self) -> list[Path]:
        """The store, and the preprocessing that was used again."""
        return input_files(self.store, self.saved)

    def split_digest(self, split: Split) -> str:
        """SHA-256 of the stimuli of a split: equal for two runs that were split alike."""
        names = zip(self.recordings, self._rows(split), strict=True)
        return digest(
            name
            for recording, rows in names
            for name in recording.stored.trials["stimulus"].iloc[rows]
        )

    @cached_property
    def pictures(self) -> Pictures:
        """All pictures of the store, at the size the model reads."""
        stimuli, size = self.stimuli, self.size
        return Pictures(partial(read_stored, stimuli, size), len(stimuli), size, self.cache_bytes)

    def dataset(self, split: Split) -> PairDataset:
        """Pairs of one split."""
        responses = read_responses(
            self.recordings,
            self._rows(split),
            self.preprocessing,
            split,
            repeats="average" if self.average_repeats else "single",
            cache_bytes=self.cache_bytes,
        )
        shown = [
            str(source.stored.trials["stimulus"].iloc[rows[0]])
            for source in responses.sources
            for rows in source.rows
        ]
        place = {name: number for number, name in enumerate(self.class_names)}
        return PairDataset(
            responses,
            self.pictures,
            self.stimuli.index(shown).astype(np.int64),
            np.array([place[label] for label in self.stimuli.labels], dtype=np.int64),
            self.augmentation if split == "train" else None,
        )
