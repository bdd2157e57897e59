"""Loaders of three splits, training in an order that a resumed run repeats."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from mindvis.data.batches import BatchDataset
from mindvis.data.sampling import ordered_loader, train_loader
from mindvis.data.splits import Split
from mindvis.errors import CheckpointError, ConfigError


class SplitData(pl.LightningDataModule, ABC):
    """Loaders of three splits, whose datasets `dataset` makes; training in seeded order.

    Args:
        batch_size: Items of a batch, on each device.
        num_workers: Processes that read ahead; 0 reads in the training process.
        seed: Of the order of training items, and of the choice of validation.
    """

    def __init__(self, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(
                f"batch_size is {batch_size} and num_workers {num_workers}", "at least 1 and 0"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._datasets: dict[Split, BatchDataset] = {}

    @property
    @abstractmethod
    def inputs(self) -> list[Path]:
        """Files that the data come from, for the manifest of checksums."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, int]:
        """Sizes that a model has to agree with."""

    @property
    def sees_test(self) -> bool:
        """Whether test responses have a part in training, be it in the standardisation alone."""
        return False

    @abstractmethod
    def dataset(self, split: Split) -> BatchDataset:
        """The items of one split."""

    def splits(self) -> dict[str, dict[str, Any]]:
        """Numbers and digests of the stimuli of each split, by subject; empty without subjects."""
        return {}

    @property
    def watches_test(self) -> bool:
        """Whether validation reads test rows."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """The splits, which every checkpoint records."""
        return {"splits": self._recorded}

    @cached_property
    def _recorded(self) -> dict[str, dict[str, Any]]:
        """The splits, worked out once: a checkpoint is written every minute."""
        return self.splits()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse a checkpoint that was trained on other splits.

        Raises:
            CheckpointError: With the subject and the split that differ.
        """
        own = self._recorded
        for subject, splits in state_dict["splits"].items():
            for name, saved in splits.items():
                found = own.get(subject, {}).get(name)
                if found != saved:
                    raise CheckpointError(
                        f"the {name} split of subject {subject} has "
                        f"{found['stimuli'] if found else 'no'} stimuli",
                        f"the {saved['stimuli']} that the checkpoint was trained with "
                        f"(sha256 {saved['sha256'][:12]})",
                        "use the store, val_fraction and data seed that the run began with",
                    )

    def setup(self, stage: str) -> None:
        """Read the splits that a stage needs, once."""
        wanted: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",)}
        for split in wanted.get(stage, ("test",)):
            if split not in self._datasets:
                self._datasets[split] = self.dataset(split)

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches, in the order of (seed, epoch)."""
        if not len(self._datasets["train"]):
            raise ConfigError("the training split is empty", remedy="choose other rows or subjects")
        return train_loader(
            self._datasets["train"],
            **self._options,
            seed=self.seed,
            replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Validation batches in fixed order; none where nothing is held out."""
        return self._ordered("val")

    def test_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Test batches in fixed order."""
        return self._ordered("test")

    def predict_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The test batches."""
        return self._ordered("test")

    def _ordered(self, split: Split) -> DataLoader[Any] | list[DataLoader[Any]]:
        dataset = self._datasets[split]
        return ordered_loader(dataset, **self._options) if len(dataset) else []

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
        }
