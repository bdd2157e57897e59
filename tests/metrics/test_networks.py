"""Features of random networks of the true shapes, against slow twins and other libraries."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mindvis.errors import CheckpointError
from mindvis.metrics.networks import (
    CLIP,
    IMAGENET,
    Network,
    Preparation,
    build,
    hooked,
    resize_tensor,
    through_256,
)


class AlexNet(nn.Module):
    """Krizhevsky 2014, as torchvision lays it out; a few channels instead of all."""

    def __init__(self, width=8):
        super().__init__()
        c = [width, 3 * width, 6 * width, 4 * width, 4 * width]
        self.features = nn.Sequential(
            nn.Conv2d(3, c[0], 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(c[0], c[1], 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(c[1], c[2], 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c[2], c[3], 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c[3], c[4], 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Linear(c[4] * 36, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (3, 50, 44, 3), dtype=np.uint8)


def test_hooks_give_what_the_first_layers_return(pictures):
    torch.manual_seed(0)
    module = AlexNet().eval()
    prepare = Preparation(224, "pillow", *IMAGENET)
    network = Network(hooked(module, ["features.4", "features.11"]))
    got = network.features(pictures, prepare, batch_size=2)
    with torch.no_grad():
        early = module.features[:5](prepare(pictures))
        late = module.features[:12](prepare(pictures))
    assert got["features.4"].shape == (3, 24 * 27 * 27)
    torch.testing.assert_close(got["features.4"], early.flatten(1))
    torch.testing.assert_close(got["features.11"], late.flatten(1))


def test_average_pooling_is_flattened(pictures):
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(hidden_sizes=[8, 16], depths=[1, 1], embedding_size=8)
    module = ResNetModel(config).eval()
    network = Network(hooked(module, ["pooler"]))
    prepare = Preparation(64, "tensor", *IMAGENET)
    got = network.features(pictures, prepare)["pooler"]
    with torch.no_grad():
        expected = module(prepare(pictures)).last_hidden_state.mean((2, 3))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_clip_embedding_is_projected_and_not_normalised(pictures, tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        image_size=224, patch_size=56, projection_dim=12,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    prepare = Preparation(224, "pillow", *CLIP)
    got = build("clip-vit-l-14", tmp_path).features(pictures, prepare)["image_embeds"]
    model = CLIPVisionModelWithProjection.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        hidden = model.vision_model(pixel_values=prepare(pictures)).last_hidden_state
        first = model.vision_model.post_layernorm(hidden[:, 0])
        expected = first @ model.visual_projection.weight.T
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert (got.norm(dim=-1) - 1).abs().min() > 1e-3


def test_brain_diffuser_resizes_bytes_by_pillow(pictures):
    got = Preparation(30, "pillow", *IMAGENET)(pictures)
    mean, std = (np.array(v) for v in IMAGENET)
    for row, picture in zip(got, pictures, strict=True):
        small = np.asarray(Image.fromarray(picture).resize((30, 30), Image.Resampling.BILINEAR))
        expected = ((small / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(row, expected, atol=1e-5)


def bilinear(image, side):
    """Bilinear interpolation between pixel centres, one pixel after the other: (H, W)."""
    height, width = image.shape
    out = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            y = np.clip((i + 0.5) * height / side - 0.5, 0, height - 1)
            x = np.clip((j + 0.5) * width / side - 0.5, 0, width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
            low = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + low * (y - y0)
    return out


def test_mind_eye_resizes_floats_without_antialiasing_by_way_of_256(pictures):
    image = torch.from_numpy(pictures[:1]).permute(0, 3, 1, 2).float() / 255
    small = resize_tensor(image, 20)[0, 0].numpy()  # smaller: antialiasing would show
    np.testing.assert_allclose(small, bilinear(image[0, 0].numpy(), 20), atol=1e-5)
    there = through_256(pictures, 60)
    torch.testing.assert_close(there[:1], resize_tensor(resize_tensor(image, 256), 60))
    mixed = through_256([pictures[0], pictures[1][:40, :30]], 60)
    torch.testing.assert_close(mixed[0], there[0])


def test_without_torchvision_a_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    torch.save({}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"torchvision is not installed.*mindvis\[metrics\]"):
        build("alexnet", tmp_path / "a.pth")


class Models:
    """Stands where torchvision.models does: networks of the same names, small."""

    @staticmethod
    def alexnet(weights):
        assert weights is None
        return AlexNet()

    @staticmethod
    def resnet50(weights):
        assert weights is None
        return _Backbone()


class _Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.avgpool(self.conv(x)).flatten(1))


@pytest.fixture
def torchvision(monkeypatch):
    """A module of that name; the real one is not needed to test what we do with it."""
    import types

    fake = types.ModuleType("torchvision")
    fake.models = Models
    monkeypatch.setitem(sys.modules, "torchvision", fake)


def test_weights_reach_the_network(torchvision, tmp_path, pictures):
    torch.manual_seed(1)
    module = AlexNet().eval()
    torch.save(module.state_dict(), tmp_path / "a.pth")
    prepare = Preparation(224, "pillow", *IMAGENET)
    got = build("alexnet", tmp_path / "a.pth").features(pictures, prepare)
    expected = Network(hooked(module, ["features.11"])).features(pictures, prepare)
    torch.testing.assert_close(got["features.11"], expected["features.11"])


def test_swav_is_a_wrapped_backbone_with_other_heads(torchvision, tmp_path, pictures):
    torch.manual_seed(2)
    backbone = _Backbone().eval()
    state = {f"module.{k}": v for k, v in backbone.state_dict().items() if "fc" not in k}
    torch.save(state | {"module.prototypes.weight": torch.ones(2)}, tmp_path / "s.pth.tar")
    prepare = Preparation(32, "tensor", *IMAGENET)
    got = build("swav-resnet50", tmp_path / "s.pth.tar").features(pictures, prepare)["avgpool"]
    with torch.no_grad():
        expected = backbone.conv(prepare(pictures)).mean((2, 3))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    torch.save({"module.conv.bias": torch.ones(4)}, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"lacks 1 of the backbone's weights, conv.weight"):
        build("swav-resnet50", tmp_path / "less.pth")
