"""Responses without pictures, for masked modelling."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mindvis.data.base import SplitData
from mindvis.data.datasets import ResponseDataset
from mindvis.data.items import Repeats, Rows
from mindvis.data.ordering import Order
from mindvis.data.recordings import (
    Recipe,
    Recording,
    divide,
    divide_test,
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
from mindvis.data.sources import CACHE_BYTES
from mindvis.data.splits import Split
from mindvis.data.transforms import Padding, Preprocessing, Standardise, Statistics
from mindvis.errors import ConfigError


class ResponseData(SplitData):
    """Responses without pictures, for masked modelling (stage A).

    Args:
        store: One store or several, of any subjects.
        subjects: Those to take; all when omitted.
        roi: Regions whose voxels are read, the union of those that a subject has; all stored
            voxels when omitted.
        kinds: Task responses, rest windows, or both: without pictures, both teach.
        order: Voxels as stored, or along a Hilbert curve through the volume, so that a patch is a
            neighbourhood of cortex; vertices of a surface, whose coordinates no store keeps, stay
            as stored.
        padding: What fills the last patch and shorter subjects: zeros, which the loss leaves out,
            or the vector from its start; "legacy" adds a whole patch as MinD-Vis does.
        standardise: Each voxel by its own mean and deviation over training rows, or all by one.
        statistics: Rows that mean and deviation are of: "train"; "train_only", which leaves test
            responses as they are stored, as MinD-Vis does with GOD; or "all", test rows among them,
            as it does with BOLD5000: results are then marked transductive.
        patch_size: Voxels of a patch.
        length: Voxels the model reads, a multiple of patch_size; those of the largest subject when
            omitted. Give more to leave room for subjects to come.
        preprocessing: A run or model whose preprocessing is used again, for adaptation.
        batch_size: Responses of a batch, on each device.
        val_fraction: Part of the pictures (and rest runs) held out of training.
        num_workers: Processes that read ahead; 0 is fastest while the responses fit in memory.
        seed: Of the order of training items, and of the choice of validation.
        rows: "test" adapts to unlabelled test responses; all results of such a model are marked
            transductive.
        cache_bytes: Keep responses in memory up to this size.
        repeats: Responses to one picture singly, averaged, or both.
        interpolation: Training items for each response, the others means of two responses of one
            subject drawn at random; 1 adds none.
    """

    def __init__(
        self,
        store: str | list[str],
        subjects: list[str] | None = None,
        roi: str | list[str] | None = None,
        kinds: Sequence[Literal["task", "rest"]] = ("task", "rest"),
        order: Order = "stored",
        padding: Padding = "zero",
        standardise: Standardise = "voxel",
        patch_size: int = 16,
        length: int | None = None,
        preprocessing: str | None = None,
        batch_size: int = 32,
        val_fraction: float = 0.1,
        num_workers: int = 0,
        seed: int = 0,
        rows: Literal["train", "test"] = "train",
        cache_bytes: int = CACHE_BYTES,
        statistics: Statistics = "train",
        repeats: Repeats = "single",
        interpolation: float = 1.0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.store = store
        self.subjects = subjects
        self.kinds = tuple(kinds)
        self.recipe = Recipe(
            region_names(roi), order, padding, standardise, patch_size, length, statistics
        )
        self.saved = preprocessing
        self.val_fraction = val_fraction
        self.rows = rows
        self.cache_bytes = cache_bytes
        self.repeats: Repeats = repeats
        if interpolation < 1:
            raise ConfigError(f"interpolation is {interpolation}", "1 or more")
        self.interpolation = interpolation

    @cached_property
    def recordings(self) -> list[Recording]:
        """The subjects, in the order of the numbers in a batch."""
        return open_recordings(self.store, self.subjects)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Fitted on the rows that `statistics` says, whatever `rows` says."""
        rows = fitting_rows(self.recordings, self.recipe.statistics, **self._division)
        fitted = reuse_or_fit(self.recordings, rows, self.recipe, self.saved)
        if self.rows == "test":
            fitted = Preprocessing(**{**vars(fitted), "transductive": True})
        return fitted

    @property
    def sees_test(self) -> bool:
        """Whether the preprocessing says so."""
        return self.preprocessing.transductive

    def _rows(self, split: Split) -> list[Rows]:
        return divide(self.recordings, split, **self._division)

    @property
    def _division(self) -> dict[str, Any]:
        return {"kinds": self.kinds, "val_fraction": self.val_fraction, "seed": self.seed}

    @property
    def facts(self) -> dict[str, int]:
        """Voxels the model reads, and voxels of a patch."""
        return voxel_facts(self.preprocessing)

    @property
    def inputs(self) -> list[Path]:
        """The stores, and the preprocessing that was used again."""
        return input_files(self.store, self.saved)

    def _read_rows(self, split: Split) -> list[Rows]:
        """Rows whose responses a split reads; test rows only where `rows` asks for them."""
        if self.rows == "test":
            return divide_test(
                self.recordings, split, val_fraction=self.val_fraction, seed=self.seed
            )
        rows = self._rows(split)
        return (
            rows
            if split == "test"
            else refuse_test_rows(self.recordings, rows, f"the {split} split")
        )

    def splits(self) -> dict[str, dict[str, Any]]:
        """Numbers and digests of the stimuli whose responses are read, by subject."""
        return split_record(self.recordings, self._read_rows("train"), self._read_rows("val"))

    @property
    def watches_test(self) -> bool:
        """Whether validation reads test rows."""
        return self.rows == "test"

    def dataset(self, split: Split) -> ResponseDataset:
        """Responses of one split; test responses throughout when `rows` is "test"."""
        rows = self._read_rows(split)
        return ResponseDataset(
            read_responses(
                self.recordings,
                rows,
                self.preprocessing,
                "test" if self.rows == "test" else split,
                repeats=self.repeats,
                interpolation=self.interpolation if split == "train" else 1.0,
                seed=self.seed,
                cache_bytes=self.cache_bytes,
            )
        )
