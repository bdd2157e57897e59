"""Networks whose features are compared: from local weights, fed as each protocol feeds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import trange

from mindvis.errors import CheckpointError

Bytes = NDArray[np.uint8]
Pictures = Bytes | Sequence[Bytes]
Run = Callable[[Tensor], dict[str, Tensor]]
IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP: Final = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def resize_pillow(pictures: Pictures, side: int, resample: Image.Resampling) -> Tensor:
    """Pictures of any size as floats (n, 3, side, side) in [0, 1], resized as bytes by Pillow."""
    small = [np.asarray(Image.fromarray(p).resize((side, side), resample)) for p in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def resize_tensor(images: Tensor, side: int) -> Tensor:
    """Bilinear without antialiasing, as torchvision's `Resize` of tensors was before 0.17."""
    if images.shape[-2:] == (side, side):
        return images
    return nn.functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)


def through_256(pictures: Pictures, side: int) -> Tensor:
    """Floats (n, 3, side, side) in [0, 1]: to 256 pixels first, then to `side`."""
    large = [torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 255 for p in pictures]
    return resize_tensor(torch.cat([resize_tensor(p, 256) for p in large]), side)


@dataclass(frozen=True)
class Preparation:
    """From pictures to what a network reads.

    Args:
        side: Pixels of a side.
        resize: "pillow" resizes bytes by Pillow's antialiased bilinear filter; "tensor" resizes
            floats to 256 pixels and then to `side`, bilinear without antialiasing.
        mean: Subtracted from each channel, of pictures in [0, 1].
        std: Divided by.
    """

    side: int
    resize: Literal["pillow", "tensor"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pictures: Pictures) -> Tensor:
        """Floats (n, 3, side, side) of pictures (n, height, width, 3)."""
        if self.resize == "pillow":
            images = resize_pillow(pictures, self.side, Image.Resampling.BILINEAR)
        else:
            images = through_256(pictures, self.side)
        mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (self.mean, self.std))
        return (images - mean) / std


@dataclass(frozen=True)
class Network:
    """A network that gives features.

    Args:
        run: Maps prepared pictures to the features of each layer.
        device: Where it runs.
    """

    run: Run
    device: str = "cpu"

    @torch.inference_mode()
    def features(
        self, pictures: Pictures, prepare: Callable[[Pictures], Tensor], batch_size: int = 32
    ) -> dict[str, Tensor]:
        """Features of pictures, float32 (n, d) on the CPU, for each layer."""
        found: dict[str, list[Tensor]] = {}
        for start in trange(0, len(pictures), batch_size, desc="features", delay=2, leave=False):
            pixels = prepare(pictures[start : start + batch_size]).to(self.device)
            for layer, values in self.run(pixels).items():
                found.setdefault(layer, []).append(values.flatten(1).float().cpu())
        return {layer: torch.cat(parts) for layer, parts in found.items()}


def hooked(module: nn.Module, layers: Sequence[str]) -> Run:
    """Run a network and keep what some of its submodules return.

    Args:
        module: In evaluation mode.
        layers: Names of submodules, as `get_submodule` takes them.
    """
    kept: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            kept[layer] = output

        return hook

    for layer in layers:
        module.get_submodule(layer).register_forward_hook(keep(layer))

    def run(pixels: Tensor) -> dict[str, Tensor]:
        module(pixels)
        return dict(kept)

    return run


LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    "alexnet": ("features.4", "features.11"),
    "inception-v3": ("avgpool",),
    "efficientnet-b1-v1": ("avgpool",),
    "efficientnet-b1-v2": ("avgpool",),
    "swav-resnet50": ("avgpool",),
    "clip-vit-l-14": ("image_embeds",),
}


def build(name: str, path: Path, device: str = "cpu") -> Network:
    """A network by name, with its weights.

    Args:
        name: Key of `LAYERS`.
        path: Its weights.
        device: Where it runs.

    Raises:
        CheckpointError: torchvision is needed and absent, or the weights do not fit.
    """
    try:
        if name == "clip-vit-l-14":
            return Network(_clip(path, device), device)
        module = _torchvision(name, path).eval().to(device)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{name} does not load from {path} ({reason})", "the weights of that network"
        ) from error
    return Network(hooked(module, LAYERS[name]), device)


def _clip(path: Path, device: str) -> Run:
    """CLIP's projected image embedding, before normalisation, through transformers."""
    from transformers import CLIPVisionModelWithProjection  # seconds to import

    model = CLIPVisionModelWithProjection.from_pretrained(
        path, local_files_only=True, use_safetensors=True
    )
    model = model.eval().to(device)
    return lambda pixels: {"image_embeds": model(pixel_values=pixels).image_embeds}


def import_torchvision() -> Any:
    """`torchvision.models`.

    Raises:
        CheckpointError: It is not installed.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise CheckpointError(
            "torchvision is not installed",
            "it, for networks that are defined there",
            "pip install 'mindvis[metrics]'",
        ) from error
    return models


def _torchvision(name: str, path: Path) -> nn.Module:
    """A network of torchvision with weights from a file, as the protocols use it."""
    models = import_torchvision()
    state = torch.load(path, map_location="cpu", weights_only=True)
    module: nn.Module
    if name == "alexnet":
        module = models.alexnet(weights=None)
    elif name == "inception-v3":
        # as with torchvision's own weights: inputs are renormalised inside
        module = models.inception_v3(weights=None, transform_input=True, init_weights=False)
    elif name == "swav-resnet50":
        module = models.resnet50(weights=None)
        return _load_backbone(module, state)
    else:
        module = models.efficientnet_b1(weights=None)
    module.load_state_dict(state)
    return module


def _load_backbone(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Weights of SwAV: those of a wrapped ResNet with heads of its own instead of the last layer.

    Raises:
        RuntimeError: More than the last layer is missing.
    """
    plain = {name.removeprefix("module."): values for name, values in state.items()}
    report = module.load_state_dict(plain, strict=False)
    absent = [name for name in report.missing_keys if not name.startswith("fc.")]
    if absent:
        raise RuntimeError(f"it lacks {len(absent)} of the backbone's weights, {absent[0]} first")
    return module
