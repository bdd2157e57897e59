"""The order of batches is a function of seed and epoch, also in a run that was resumed."""

from contextlib import suppress
from itertools import chain

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mindvis.data.batches import BatchDataset
from mindvis.data.sampling import (
    EpochSampler,
    epoch_order,
    ordered_loader,
    split_keys,
    train_loader,
)


class Numbers(BatchDataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitems__(self, keys):
        epoch, row = map(torch.from_numpy, split_keys(keys, self.length))
        return {"epoch": epoch, "row": row}


def rows(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [batch["row"].tolist() for batch in loader]


def loader(length=11, workers=0, seed=5, **more):
    return train_loader(
        Numbers(length), batch_size=4, seed=seed, num_workers=workers, pin_memory=False, **more
    )


def test_order_depends_on_seed_and_epoch_alone():
    first = rows(loader(), 3)
    torch.manual_seed(99)
    again = loader()
    rows(again, 0)
    assert rows(again, 3) == first
    assert rows(loader(), 2) != first
    assert rows(loader(seed=6), 3) != first
    assert sorted(chain(*first)) == list(range(11))
    assert [len(batch) for batch in first] == [4, 4, 3]


def test_order_is_frozen():
    """The numbers of a published run: a change of them changes every result."""
    assert epoch_order(8, 0, 0).tolist() == [6, 0, 5, 4, 2, 7, 3, 1]
    assert epoch_order(8, 0, 1).tolist() == [4, 0, 1, 3, 2, 7, 6, 5]


def test_global_random_state_is_not_touched():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    rows(loader(), 0)
    list(ordered_loader(Numbers(5), batch_size=2, num_workers=0, pin_memory=False))
    assert torch.equal(torch.get_rng_state(), before)


def test_keys_carry_the_epoch():
    made = loader()
    made.sampler.set_epoch(7)
    assert {int(value) for batch in made for value in batch["epoch"]} == {7}


@pytest.mark.parametrize(("length", "replicas"), [(12, 3), (11, 2), (3, 5)])
def test_processes_share_an_epoch(length, replicas):
    parts = [list(EpochSampler(Numbers(length), 0, replicas, rank)) for rank in range(replicas)]
    assert len({len(part) for part in parts}) == 1
    assert set(np.concatenate(parts)) == set(range(length))
    if length % replicas == 0:
        assert sum(map(len, parts)) == length


def test_ordered_batches():
    made = ordered_loader(Numbers(5), batch_size=2, num_workers=0, pin_memory=False)
    assert [batch["row"].tolist() for batch in made] == [[0, 1], [2, 3], [4]]


class Recorder(pl.LightningModule):
    """Writes down what it is given; its one weight makes checkpoints possible."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
        self.stop_at = stop_at

    def training_step(self, batch, _):
        if self.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append((batch["epoch"].tolist(), batch["row"].tolist()))
        return self.weight * batch["row"].float().mean()

    def validation_step(self, batch, _):
        self.log("score", batch["row"].float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Module(pl.LightningDataModule):
    def __init__(self, workers):
        super().__init__()
        self.workers = workers

    def train_dataloader(self):
        return loader(workers=self.workers)

    def val_dataloader(self):
        return ordered_loader(Numbers(5), batch_size=2, num_workers=0, pin_memory=False)


def fit(folder, module, workers=0, resume=None, **checkpoint):
    trainer = pl.Trainer(
        default_root_dir=folder,
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, save_last=True, **checkpoint)] if checkpoint else [],
        enable_checkpointing=bool(checkpoint),
    )
    with suppress(KeyboardInterrupt, SystemExit):
        trainer.fit(module, Module(workers), ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("checkpoint", "stop_at"),
    [
        ({"every_n_train_steps": 1}, 4),  # after the first batch of the second epoch
        ({"every_n_train_steps": 1}, 2),  # within the first epoch
        ({"every_n_train_steps": 1}, 6),  # after the last batch of an epoch
        ({"every_n_train_steps": 5}, 8),  # some batches are done again
        ({"every_n_epochs": 1, "monitor": "score"}, 8),  # after validation
        (
            {"every_n_epochs": 1, "save_on_train_epoch_end": True},
            7,
        ),  # back to the end of the second epoch
    ],
)
def test_a_resumed_run_sees_the_same_batches(tmp_path, workers, checkpoint, stop_at):
    whole = fit(tmp_path / "whole", Recorder()).seen
    assert len(whole) == 12
    assert [epochs[0] for epochs, _ in whole] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    fit(tmp_path / "part", Recorder(stop_at), workers, **checkpoint)
    last = tmp_path / "part" / "last.ckpt"
    done = torch.load(last, weights_only=True)["global_step"]
    assert 0 < done <= stop_at
    resumed = fit(tmp_path / "part", Recorder(), workers, resume=last, **checkpoint).seen
    assert resumed == whole[done:]
