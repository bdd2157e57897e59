"""FID and KID against SciPy and a loop, on a random network."""

import numpy as np
import pytest
import torch
from torch import nn

from mindvis.metrics import sets
from mindvis.metrics.sets import load_inception, set_distances, set_entries
from mindvis.metrics.suite import Suite
from tests import references


class Features(nn.Module):
    """Eight random projections of the pixels."""

    num_features = 8

    def __init__(self):
        super().__init__()
        weight = torch.randn(3 * 12 * 10, 8, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight / 300)

    def forward(self, images):
        return images.flatten(1).to(self.weight.dtype) @ self.weight


@pytest.fixture
def pictures(rng):
    truths = rng.integers(0, 200, (40, 12, 10, 3), dtype=np.uint8)
    decoded = rng.integers(30, 256, (40, 2, 12, 10, 3), dtype=np.uint8)
    return decoded, truths


def features(pictures):
    with torch.no_grad():
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        return Features()(images).double().numpy()


def test_distances_equal_scipy_and_a_loop(pictures):
    decoded, truths = pictures
    got = set_distances(decoded, list(truths), Features(), batch_size=16)
    true = features(truths)
    own = [features(decoded[:, draw]) for draw in (0, 1)]
    fid = np.mean([references.frechet_distance(true, f) for f in own])
    kid = np.mean([references.kernel_distance(true, f) for f in own])
    assert got["fid-2048"] == pytest.approx(fid, rel=1e-3)
    assert got["kid"] == pytest.approx(kid, rel=1e-3)


def test_equal_sets_are_at_no_distance(pictures):
    truths = pictures[1]
    got = set_distances(truths[:, None], list(truths), Features())
    assert got["fid-2048"] == pytest.approx(0, abs=1e-3)


def test_random_numbers_elsewhere_are_left_alone(pictures, monkeypatch):
    monkeypatch.setattr(sets, "SUBSET", 10)
    decoded, truths = pictures
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = set_distances(decoded, list(truths), Features())
    assert torch.rand(1) == expected
    assert set_distances(decoded, list(truths), Features()) == one


def test_without_weights_the_entry_is_null(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    decoded, truths = pictures
    entries = Suite.load(["kid"]).sets([(decoded, list(truths))])
    assert list(entries) == ["kid"]
    assert entries["kid"]["value"] is None
    assert "fid-inception are missing; run `mindvis prefetch`" in entries["kid"]["reason"]
    assert entries["kid"]["n"] == 40
    assert set_entries(["nsd8-mindeye"], [], None) == {}


def test_weights_of_another_network_are_a_reason_not_a_crash(tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Missing key(s) in state_dict: fc.weight")

    monkeypatch.setattr(sets, "locate", lambda *_: tmp_path)
    monkeypatch.setattr(sets, "verify", lambda *_: "ab")
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", refuse)
    assert "fid-inception does not load from" in Suite.load(["kid"]).reasons["fid-inception"]


def test_with_weights_the_entry_has_their_digest(pictures):
    decoded, truths = pictures
    parts = [(decoded, list(truths))] * 2
    found = set_entries(["fid-2048"], parts, Features(), "cd" * 32)["fid-2048"]
    expected = set_distances(decoded, list(truths), Features())["fid-2048"]
    assert found["value"] == pytest.approx(expected)
    assert found["weights"] == {"fid-inception": "cd" * 32}
    assert (found["unit"], found["better"], found["p"]) == ("set", "lower", None)


def test_torch_fidelity_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "verify", lambda *_: "ab")
    monkeypatch.setattr(sets, "locate", lambda *_: tmp_path)
    with pytest.raises(sets.CheckpointError, match=r"torch-fidelity is not installed.*\[metrics\]"):
        load_inception()
