"""The scores of the NSD decoders and of MindEye, against loops over pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import distance
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from mindvis.metrics import suite as module
from mindvis.metrics.networks import Network
from mindvis.metrics.suite import NSD, Suite
from tests import references


@pytest.fixture
def truths(rng):
    return list(rng.integers(0, 256, (5, 30, 26, 3), dtype=np.uint8))


@pytest.fixture
def decoded(truths, rng):
    noise = rng.integers(0, 256, (5, 2, 30, 26, 3))
    return (0.4 * np.stack(truths)[:, None] + 0.6 * noise).astype(np.uint8)


def flat(pixels):
    """A network whose features are the pixels that it is given, every 37th."""
    return {layer: pixels.flatten(1)[:, ::37] for layer in module_layers()}


def module_layers():
    return {f.layer for protocol in NSD.values() for f in protocol.features}


def planted(protocols):
    names = {f.network for p in protocols if p in NSD for f in NSD[p].features}
    names |= {"clip-vit-l-14"}
    digests = dict.fromkeys(names, "ab" * 32)
    return Suite(tuple(protocols), {name: Network(flat) for name in names}, digests)


@pytest.mark.parametrize("name", list(NSD))
def test_features_are_compared_as_the_decoders_do(name, truths, decoded):
    suite, protocol = planted([name]), NSD[name]
    tables = suite.tables(decoded, truths)
    prefix = protocol.prefix
    for feature in protocol.features:
        prepare = protocol.preparation(feature.network)
        own, true = (flat(prepare(p))[feature.layer].numpy() for p in (decoded[:, 1], truths))
        table = tables[f"{prefix}_{feature.key}"][..., 1]
        assert table.shape == (5, 5)
        if feature.kind == "distance":
            expected = [distance.correlation(t, p) for t, p in zip(true, own, strict=True)]
            np.testing.assert_allclose(np.diagonal(table), expected, atol=1e-5)
        else:
            expected = references.two_way_by_correlation(true, own)
            assert np.diagonal(table).mean() == pytest.approx(expected)
    assert {m.name for m in suite.metrics()} == set(tables)


def test_each_network_is_fed_its_own_size():
    sides = {
        p: {f.network: NSD[p].preparation(f.network).side for f in NSD[p].features} for p in NSD
    }
    assert set(sides["nsd8-braindiffuser"].values()) == {224}
    assert (
        sides["nsd8-mindeye"]
        == sides["nsd8-mindeye2"]
        == {
            "alexnet": 256,
            "inception-v3": 342,
            "clip-vit-l-14": 224,
            "efficientnet-b1-v2": 255,
            "swav-resnet50": 224,
        }
    )
    assert "efficientnet-b1-v1" in sides["nsd8-braindiffuser"]


def test_pixels_are_scored_as_brain_diffuser_does(truths, decoded):
    tables = planted(["nsd8-braindiffuser"]).tables(decoded, truths)
    for i in range(5):
        own, true = (
            np.asarray(Image.fromarray(p).resize((425, 425), Image.Resampling.BICUBIC)) / 255
            for p in (decoded[i, 0], truths[i])
        )
        correlation = np.corrcoef(own.ravel(), true.ravel())[0, 1]
        likeness = structural_similarity(
            rgb2gray(own),
            rgb2gray(true),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        assert tables["braindiffuser_pixcorr"][i, i, 0] == pytest.approx(correlation, abs=1e-5)
        assert tables["braindiffuser_ssim"][i, i, 0] == pytest.approx(likeness, abs=1e-5)
    assert np.isnan(tables["braindiffuser_ssim"][0, 1]).all()


def test_retrieval_goes_both_ways(truths, decoded, monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 3)
    tables = planted(["retrieval-300"]).tables(decoded, truths)
    prepare = NSD["nsd8-mindeye"].preparation("clip-vit-l-14")
    own, true = (flat(prepare(p))["image_embeds"].numpy() for p in (decoded[:, 0], truths))
    likeness = 1 - distance.cdist(own, true, "cosine")
    above = (likeness > np.diagonal(likeness)[:, None]).sum(1)
    exact = np.array([1.0, 3 / 6, 1 / 6, 0, 0])  # of 4 others, 2 are drawn
    forward = np.diagonal(tables["retrieval_forward"][..., 0])
    np.testing.assert_allclose(forward, exact[above])
    above = (likeness > np.diagonal(likeness)).sum(0)
    np.testing.assert_allclose(np.diagonal(tables["retrieval_backward"][..., 0]), exact[above])


def test_what_lacks_its_weights_is_null_with_the_reason(truths, decoded, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "locate", lambda *_: None)
    suite = Suite.load(["nsd8-mindeye", "retrieval-300", "kid"])
    metrics = {metric.name: metric for metric in suite.metrics(50)}
    assert metrics["mindeye_two_way_clip"].reason == (
        "the weights clip-vit-l-14 are missing; run `mindvis prefetch`"
    )
    assert metrics["retrieval_forward"].reason.startswith("the weights")
    assert metrics["mindeye_pixcorr"].reason == ""
    assert set(suite.tables(decoded, truths)) == {"mindeye_pixcorr", "mindeye_ssim"}
    few = planted(["retrieval-300"]).metrics(50)[0]
    assert (few.reason, few.chance) == ("50 stimuli; it needs 300", 1 / 300)


def test_a_metric_carries_the_digest_of_its_weights():
    for metric in planted(["nsd8-braindiffuser"]).metrics():
        assert metric.protocol == "nsd8-braindiffuser"
        assert bool(metric.weights) == ("pixcorr" not in metric.name and "_ssim" not in metric.name)
    assert planted(["nsd8-braindiffuser"]).metrics()[-1].better == "lower"


def test_networks_of_torch_need_torch_vision(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setenv("MINDVIS_HOME", str(tmp_path))
    torch.save({}, tmp_path / "swav_800ep_pretrain.pth.tar")
    suite = Suite.load(["nsd8-mindeye"], str(tmp_path))
    assert "torchvision is not installed" in suite.reasons["swav-resnet50"]
    assert "missing" in suite.reasons["alexnet"]


def test_truths_are_seen_once_for_all_draws_and_controls(truths, decoded):
    suite, calls = planted(["nsd8-braindiffuser"]), []

    def count(pixels):
        calls.append(len(pixels))
        return flat(pixels)

    suite.networks["alexnet"] = Network(count)
    name = "braindiffuser_two_way_alexnet_2"
    first = suite.tables(decoded, truths)[name]
    suite.tables(decoded[:, :1], truths)
    assert sum(calls) == 5 + 2 * 5 + 5
    second = suite.tables(decoded, [255 - truth for truth in truths])[name]
    assert (first != second).any()
