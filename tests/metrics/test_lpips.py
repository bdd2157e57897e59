"""LPIPS: its formula against loops, its network against torchmetrics', its place in a suite."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.image import lpips as upstream

from mindvis.errors import CheckpointError
from mindvis.files import sha256
from mindvis.metrics import functional as M
from mindvis.metrics import lpips
from mindvis.metrics.lpips import LPIPS, AlexNetLayers, AtSize, load_lpips
from mindvis.metrics.suite import Suite
from mindvis.metrics.weights import WEIGHTS

FILE = "alexnet-owt-7be5be79.pth"


def random_layers(rng, count, shapes=((3, 4, 5), (6, 2, 3))):
    return [torch.tensor(rng.normal(size=(count, *shape))) for shape in shapes]


def slow(one, other, weights):
    """LPIPS of two pictures, place by place."""
    total = 0.0
    for first, second, weight in zip(one, other, weights, strict=True):
        _, height, width = first.shape
        for y in range(height):
            for x in range(width):
                a, b = first[:, y, x], second[:, y, x]
                difference = a / np.linalg.norm(a) - b / np.linalg.norm(b)
                total += (weight * difference**2).sum() / (height * width)
    return total


def test_the_formula_is_that_of_a_loop_over_places(rng):
    own, true = random_layers(rng, 3), random_layers(rng, 4)
    weights = [torch.tensor(rng.uniform(size=c)) for c in (3, 6)]
    numbers = [weight.numpy() for weight in weights]
    got = M.squared_distance(
        *(M.lpips_embedding(layers, weights) for layers in (own, true)), block=7
    )
    expected = [
        [
            slow(*([x[k].numpy() for x in z] for z, k in ((own, i), (true, j))), numbers)
            for j in range(4)
        ]
        for i in range(3)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_dead_places_count_nothing():
    zeros = [torch.zeros(1, 3, 2, 2)]
    got = M.lpips_embedding(zeros, [torch.ones(3)])
    assert torch.equal(got, torch.zeros(1, 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """AlexNet's file with random weights of the true sizes, and a tensor that nothing reads."""
    torch.manual_seed(0)
    state = AlexNetLayers().state_dict()
    folder = tmp_path_factory.mktemp("weights")
    torch.save({**state, "classifier.1.weight": torch.zeros(2, 2)}, folder / FILE)
    return folder


@pytest.fixture
def reference(folder, monkeypatch):
    """torchmetrics' own LPIPS, with the same AlexNet as torchvision lays it out."""
    state = torch.load(folder / FILE, weights_only=True)
    layout = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    plain = {n.removeprefix("features."): v for n, v in state.items() if n[0] == "f"}
    layout.load_state_dict(plain)
    monkeypatch.setattr(upstream, "_get_tv_model_features", lambda *_: layout)
    network = upstream._LPIPS(net="alex")

    def distance(own, true):
        one, other = (torch.tensor(p).permute(2, 0, 1)[None].float() / 255 for p in (own, true))
        return float(network(one, other, normalize=True))

    return distance


@pytest.fixture
def truths(rng):
    return list(rng.integers(0, 256, (5, 40, 47, 3), dtype=np.uint8))


@pytest.fixture
def decoded(truths, rng):
    noise = rng.integers(0, 256, (5, 2, 40, 47, 3))
    return (0.3 * np.stack(truths)[:, None] + 0.7 * noise).astype(np.uint8)


@pytest.fixture
def known(folder, monkeypatch):
    """The random file as if it were the published one."""
    digest = sha256(folder / FILE)
    monkeypatch.setitem(WEIGHTS, "alexnet", replace(WEIGHTS["alexnet"], published=digest[:8]))
    return digest


def test_distances_are_those_of_torchmetrics(folder, reference, truths, decoded):
    network = load_lpips(folder / FILE)
    own, true = (network.features(p, AtSize(40, 47))[LPIPS] for p in (decoded[:, 0], truths))
    expected = [[reference(p, t) for t in truths] for p in decoded[:, 0]]
    got = M.squared_distance(own, true)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert (got.diagonal() < got.mean(1)).all()


def test_two_way_identification_by_lpips(folder, known, reference, truths, decoded):
    suite = Suite.load(["mindvis-pairwise"], str(folder))
    assert suite.reasons == {}
    table = suite.tables(decoded, truths)["two_way_lpips"]
    assert table.shape == (5, 5, 2)
    distances = np.array([[reference(p, t) for t in truths] for p in decoded[:, 1]])
    for i, row in enumerate(distances):
        for j in range(5):
            others = np.delete(row, j)
            assert table[j, i, 1] == pytest.approx((row[j] < others).mean())
    (metric,) = suite.metrics()
    assert (metric.protocol, metric.chance, metric.better) == ("mindvis-pairwise", 0.5, "higher")
    assert metric.weights == {"alexnet": known, LPIPS: lpips.PUBLISHED}


def test_truths_are_brought_to_the_size_of_the_pictures(folder, known, truths, decoded):
    suite = Suite.load(["mindvis-pairwise"], str(folder))
    large = [np.kron(truth, np.ones((2, 2, 1), np.uint8)) for truth in truths]
    table = suite.tables(decoded, large)["two_way_lpips"]
    assert np.diagonal(table[..., 0]).mean() > 0.5


def test_what_cannot_be_computed_says_why(folder, known, truths, decoded, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (metric,) = Suite.load(["mindvis-pairwise"], str(tmp_path)).metrics()
    assert metric.reason == "the weights alexnet are missing; run `mindvis prefetch`"
    assert metric.weights == {}
    suite = Suite.load(["mindvis-pairwise"], str(folder))
    small = [truth[:28, :28] for truth in truths]
    assert suite.tables(decoded[:, :, :28, :28], small) == {}
    (metric,) = suite.metrics()
    assert metric.reason == "pictures of 28 x 28 pixels; LPIPS with AlexNet needs 31"
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="lpips-alex does not load from"):
        load_lpips(tmp_path / "other.pth")
    monkeypatch.setattr(lpips, "PUBLISHED", "0")
    with pytest.raises(CheckpointError, match=r"alex\.pth of LPIPS 0\.1; pip install"):
        load_lpips(folder / FILE)


def test_pictures_of_the_smallest_size_pass(folder):
    network = load_lpips(folder / FILE)
    side = lpips.SMALLEST
    assert network.features(np.zeros((1, side, side, 3), np.uint8), AtSize(side, side))
    with pytest.raises(RuntimeError):
        network.features(np.zeros((1, 30, 30, 3), np.uint8), AtSize(30, 30))
