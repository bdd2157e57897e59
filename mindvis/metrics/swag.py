"""MinD-Vis' own judge: torchvision's ViT-H/14 with SWAG weights, which names 1,000 classes."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.metrics.networks import IMAGENET, import_torchvision
from mindvis.metrics.weights import WEIGHTS, locate, verify

NAME: Final = "vit-h-14"
SIDE: Final = 518


class Classifier(nn.Module):
    """A torchvision classifier that answers as one of transformers does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """Logits (n, classes) of pictures (n, 3, side, side)."""
        return SimpleNamespace(logits=self.network(pixel_values))


class Processor:
    """Shorter side to 518 pixels (Pillow, bicubic), the middle 518 x 518, ImageNet's moments."""

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], **_: Any) -> dict[str, Tensor]:
        """`pixel_values` (n, 3, 518, 518) of uint8 (H, W, 3) pictures."""
        rows = np.stack([_middle(picture) for picture in pictures]).astype(np.float32) / 255
        mean, std = (np.array(values, dtype=np.float32) for values in IMAGENET)
        return {"pixel_values": torch.from_numpy((rows - mean) / std).permute(0, 3, 1, 2)}


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture with its shorter side of 518 pixels, cropped to a square."""
    height, width = picture.shape[:2]
    short = min(height, width)
    size = (int(SIDE * width / short), int(SIDE * height / short))
    large = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (round((side - SIDE) / 2) for side in large.shape[:2])
    return large[top : top + SIDE, left : left + SIDE]


def load_swag(directory: str | None = None) -> tuple[nn.Module, Processor, tuple[str, ...], str]:
    """The classifier, its processor, its class names and the digest of its weights.

    Args:
        directory: A folder of weights, before the caches.

    Raises:
        CheckpointError: torchvision or the weights are absent, or the weights are others.
    """
    path = locate(WEIGHTS[NAME], directory)
    if path is None:
        raise CheckpointError(
            f"the weights of the judge {NAME} are missing",
            remedy=f"run `mindvis prefetch --names {NAME}`",
        )
    models = import_torchvision()
    digest = verify(WEIGHTS[NAME], path)
    names = tuple(models.ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1.meta["categories"])
    network = models.vit_h_14(weights=None, image_size=SIDE)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Classifier(network), Processor(), names, digest
