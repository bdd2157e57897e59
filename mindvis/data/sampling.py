"""The order of training items: a function of seed and epoch, also after a resumed run."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from mindvis.data.batches import BatchDataset, BatchLoader, finished
from mindvis.seeding import numpy_generator, torch_generator


def epoch_order(length: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The permutation of `length` items in one epoch."""
    return numpy_generator(seed, "order", epoch).permutation(length)


def split_keys(
    keys: Sequence[int], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Epoch and row of the keys that `EpochSampler` gives: key = epoch * length + row."""
    epoch, row = np.divmod(np.asarray(keys, dtype=np.int64), length)
    return epoch, row


class EpochSampler(DistributedSampler[Any]):
    """Items in the order of the epoch, with the epoch inside each key.

    A key is `epoch * length + row`, so that augmentation in a worker process knows the epoch; a
    dataset takes it modulo its length. Lightning calls `set_epoch`, and leaves samplers of this
    class alone when it trains on several devices.

    Args:
        dataset: Of known length.
        seed: Of all orders.
        replicas: Processes that share an epoch; the order is repeated from its start until it
            divides among them.
        rank: Of this process.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=replicas, rank=rank, seed=seed)
        self.size = len(dataset)  # type: ignore[arg-type]
        self.skip = 0

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.size, self.seed, self.epoch) + self.epoch * self.size
        shared = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        return iter(shared[self.skip :].tolist())


class ResumableLoader(BatchLoader):
    """A loader whose checkpoint says how many batches of the epoch were used.

    Lightning stores and restores this state. A run that was stopped within an epoch then goes on
    with the batch after the last one, in the order of that epoch. Workers start with the first
    batch, after Lightning has told the sampler its epoch, not when the iterator is made.
    """

    _used = 0
    _resume = 0

    def __iter__(self) -> Any:
        self._used, self._resume = self._resume, 0
        sampler = self.sampler
        if isinstance(sampler, EpochSampler):
            sampler.skip = self._used * (self.batch_size or 1)
        for batch in super().__iter__():
            self._used += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Batches of the present epoch that were handed out; 0 between epochs."""
        return {"batches": self._used % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next epoch start after these batches."""
        self._resume = int(state["batches"])


def train_loader(
    dataset: BatchDataset,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    pin_memory: bool,
    replicas: int = 1,
    rank: int = 0,
) -> ResumableLoader:
    """Batches in the order of seed and epoch; the global random state is not touched."""
    return ResumableLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(dataset, seed, replicas, rank),
        collate_fn=finished,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        generator=torch_generator(seed, "workers"),
    )


def ordered_loader(
    dataset: BatchDataset, *, batch_size: int, num_workers: int, pin_memory: bool
) -> BatchLoader:
    """Batches in the order of the dataset, each item once."""
    return BatchLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=finished,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        generator=torch_generator("ordered"),
    )
