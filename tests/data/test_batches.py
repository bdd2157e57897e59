"""A batch is its items put together, whoever reads it and however it is handed over."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, default_collate

from mindvis.data import batches
from mindvis.data.batches import BatchDataset, SharedSlots
from mindvis.data.datamodule import PairData, PictureData, ResponseData
from mindvis.data.sampling import ordered_loader, train_loader
from mindvis.data.store import VoxelStore
from mindvis.errors import ConfigError

VARIANTS = [
    (ResponseData, {}),
    (ResponseData, {"padding": "wrap", "standardise": "global", "length": 128}),
    (ResponseData, {"padding": "legacy", "standardise": "none", "order": "hilbert"}),
    (ResponseData, {"kinds": ["task"], "repeats": "both", "interpolation": 1.5}),
    (ResponseData, {"roi": ["V1", "LOC"], "rows": "test", "statistics": "train_only"}),
    (PairData, {}),
    (PairData, {"average_repeats": True, "flip": True, "crop": 0.2}),
    (PictureData, {"flip": True}),
]


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert torch.equal(found[name], values), name


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_a_batch_is_its_items(store, rng, kind, options):
    dataset = kind(store=str(store), cache_bytes=0, **options).dataset("train")
    keys = [*rng.integers(0, 3 * len(dataset), 20).tolist(), 0, 0, len(dataset) - 1]
    batch = dataset.__getitems__(keys)
    equal(batch, default_collate([dataset[key] for key in keys]))
    assert all(values.is_contiguous() for values in batch.values())
    if "subject" in batch:
        assert len(batch["subject"].unique()) == 2


@pytest.mark.parametrize("padding", ["zero", "wrap", "legacy"])
@pytest.mark.parametrize("order", ["stored", "hilbert"])
@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_values_are_those_of_the_store(store, rng, padding, order, cache_bytes):
    """Row by row with NumPy, from rows that HDF5 reads."""
    data = ResponseData(str(store), padding=padding, order=order, cache_bytes=cache_bytes)
    dataset = data.dataset("test")
    keys = rng.permutation(len(dataset))
    batch = dataset.__getitems__(keys.tolist())
    expected = []
    with VoxelStore(store) as opened:
        for number, subject in enumerate(opened):
            transform = data.preprocessing[subject.name]
            for row in np.flatnonzero(subject.trials["split"] == "test"):
                stored = subject.rows.dataset[row][transform.columns]
                scaled = (stored - transform.mean) * (np.float32(1) / transform.std)
                wrapped = np.resize(scaled, transform.length)
                zeros = np.zeros(transform.length, np.float32)
                zeros[: len(scaled)] = scaled
                expected.append((number, zeros if padding == "zero" else wrapped))
    for key, subject, voxels in zip(keys, batch["subject"], batch["voxels"], strict=True):
        assert subject == expected[key][0]
        np.testing.assert_array_equal(voxels.numpy(), expected[key][1])


@pytest.mark.parametrize(("kind", "options"), [VARIANTS[3], VARIANTS[6]])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_hand_over_the_same_batches(store, kind, options, workers):
    """Both epochs, bit for bit, the shorter last batch too, and none changes once it is given."""

    def epochs(workers):
        data = kind(
            store=str(store), batch_size=7, num_workers=workers, cache_bytes=0, seed=3, **options
        )
        data.setup("fit")
        train, val = data.train_dataloader(), data.val_dataloader()
        kept = []
        for epoch in range(2):
            train.sampler.set_epoch(epoch)
            kept += [*train, *val]
        return kept

    for found, expected in zip(epochs(workers), epochs(0), strict=True):
        equal(found, expected)


class Numbers(BatchDataset):
    """Item n is three times n."""

    def __len__(self):
        return 50

    def __getitems__(self, keys):
        return {"number": torch.tensor(keys)[:, None].expand(-1, 3).contiguous()}


OPTIONS = {"batch_size": 4, "pin_memory": False}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_far_ahead_overwrite_nothing(monkeypatch, workers):
    take = SharedSlots.take

    def slowly(*args):
        time.sleep(0.02)  # every worker writes as far ahead as it may
        return take(*args)

    monkeypatch.setattr(SharedSlots, "take", slowly)
    loader = ordered_loader(Numbers(), num_workers=workers, **OPTIONS)
    found = torch.cat([batch["number"] for batch in loader])
    assert torch.equal(found, torch.arange(50)[:, None].expand(-1, 3))


def test_an_epoch_that_was_left_does_no_harm_to_the_next():
    loader = train_loader(Numbers(), num_workers=2, seed=1, **OPTIONS)
    expected = list(train_loader(Numbers(), num_workers=0, seed=1, **OPTIONS))
    for stop in (1, 4):
        for _, batch in zip(range(stop), loader, strict=False):
            assert len(batch["number"]) == 4
    for found, batch in zip(loader, expected, strict=True):
        equal(found, batch)


def test_too_little_shared_memory_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(batches, "SHARED", tmp_path)
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    sample = {"image": torch.zeros(1, 3, 64, 64), "label": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(ConfigError, match=r"has 1 MB free; expected 3 MB for the batches of 2 w"):
        SharedSlots(sample, batch_size=10, workers=2, ahead=2)
    assert SharedSlots(sample, batch_size=10, workers=1, ahead=1).fields["image"].is_shared()


def test_a_sampler_of_lightnings_own():
    """Validation on several devices, and prediction: the loader is made again around it."""
    made = ordered_loader(Numbers(), num_workers=1, **OPTIONS)
    sampler = BatchSampler(range(20), batch_size=8, drop_last=False)
    again = type(made)(Numbers(), batch_sampler=sampler, num_workers=1, collate_fn=made.collate_fn)
    assert again.batch_size is None
    assert torch.cat([batch["number"][:, 0] for batch in again]).tolist() == list(range(20))


def test_the_main_process_needs_no_slot():
    """Who takes the collation of a loader for a loader of their own gets batches."""
    loader = train_loader(Numbers(), num_workers=1, seed=1, **OPTIONS)
    next(iter(loader))
    batch = Numbers().__getitems__([3, 1])
    assert loader.collate_fn(batch) is batch
