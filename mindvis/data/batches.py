"""Batches that a dataset finishes itself, handed over by workers in memory that is used again."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mindvis.errors import ConfigError

SHARED: Final = Path("/dev/shm")
Batch = dict[str, torch.Tensor]
Place = tuple[int, int, int]


class BatchDataset(Dataset[dict[str, Any]], ABC):
    """A map-style dataset that reads a batch at once; an item is a batch of one."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, keys: Sequence[int]) -> Batch:
        """A finished batch: tensors by name, of one value for each key along the first axis."""

    def __getitem__(self, key: int) -> dict[str, Any]:
        """One item: tensors, and plain numbers where there is one for each item."""
        batch = self.__getitems__([key])
        return {name: v[0] if v.ndim > 1 else v[0].item() for name, v in batch.items()}


def finished(batch: Any) -> Any:
    """A batch as its dataset made it: nothing is left to collate."""
    return batch


class SharedSlots:
    """Shared memory for the batches that are on their way from workers to this process.

    A tensor that goes through a queue becomes a file of its own, opened, mapped and filled with
    fresh pages for every batch; these are mapped once. A worker writes its batches into its own
    slots in turn. It has one more than it may be batches ahead, and a batch is copied before the
    next is asked for, so none is overwritten while it is read.

    Args:
        sample: A batch of any number of items, for names, shapes and types.
        batch_size: Items of the largest batch.
        workers: Number of processes.
        ahead: Batches that a worker prepares before the first of them is taken.

    Raises:
        ConfigError: There is less shared memory.
    """

    def __init__(self, sample: Batch, batch_size: int, workers: int, ahead: int) -> None:
        self.count = ahead + 1
        empty = {
            name: values.new_empty((workers, self.count, batch_size, *values.shape[1:]))
            for name, values in sample.items()
        }
        require_shared_memory(sum(values.nbytes for values in empty.values()), workers)
        self.fields = {
            name: values.share_memory_()  # type: ignore[no-untyped-call]
            for name, values in empty.items()
        }
        self._written = 0

    def put(self, batch: Any) -> Any:
        """The place of a worker's batch, once written; in the main process, the batch itself."""
        worker = get_worker_info()
        if worker is None:
            return batch
        slot, self._written = self._written % self.count, self._written + 1
        size = 0
        for name, values in batch.items():
            size = len(values)
            self.fields[name][worker.id, slot, :size] = values
        return worker.id, slot, size

    def take(self, place: Place, pin: bool) -> Batch:
        """A copy of a batch, in pinned memory where it goes on to a GPU."""
        worker, slot, size = place
        batch = {}
        for name, values in self.fields.items():
            written = values[worker, slot, :size]
            batch[name] = torch.empty_like(written, pin_memory=pin)
            # not by torch, which wakes a thread for every core, and the workers have those
            np.copyto(batch[name].numpy(), written.numpy())
        return batch


def require_shared_memory(needed: int, workers: int) -> None:
    """Refuse what would end the process by a bus error, where the system can say how much there is.

    Raises:
        ConfigError: There are fewer free bytes than `needed`.
    """
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else needed
    if needed > free:
        raise ConfigError(
            f"{SHARED} has {free / 1e6:,.0f} MB free",
            f"{needed / 1e6:,.0f} MB for the batches of {workers} workers",
            "lower num_workers or batch_size, or give a container more (docker run --shm-size)",
        )


class BatchLoader(DataLoader[Batch]):
    """A DataLoader of a `BatchDataset` whose workers hand batches over in shared slots."""

    _slots: SharedSlots | None = None

    def __iter__(self) -> Any:  # DataLoader promises an iterator of its own class
        if not self.num_workers:
            return super().__iter__()
        if self._slots is None:
            sample = self.dataset.__getitems__([0])  # type: ignore[attr-defined]
            # not of the loader, which has none where Lightning has put in a sampler of its own
            size = self.batch_sampler.batch_size  # type: ignore[union-attr]
            self._slots = SharedSlots(sample, size, self.num_workers, self.prefetch_factor or 1)
            self.collate_fn = self._slots.put
        return self._copied(super().__iter__(), self._slots)

    def _copied(self, places: Iterator[Any], slots: SharedSlots) -> Iterator[Batch]:
        for place in places:
            yield slots.take(place, self.pin_memory)
