"""LPIPS with AlexNet, version 0.1 (Zhang et al. 2018): how unlike two pictures look.

The network is AlexNet with the weights that the other protocols use; how much each of its channels
counts is a file of 1,152 numbers that torchmetrics installs with itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.files import sha256
from mindvis.metrics.functional import lpips_embedding, unit_range
from mindvis.metrics.networks import Network, Pictures
from mindvis.metrics.pairing import fit_size

LPIPS: Final = "lpips-alex"
CHANNEL_WEIGHTS: Final = "functional/image/lpips_models/alex.pth"
PUBLISHED: Final = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
SMALLEST: Final = 31  # pixels of a side; of less the second pooling leaves nothing
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]


class AlexNetLayers(nn.Module):
    """The five convolutions of AlexNet (Krizhevsky 2014), by the names that torchvision has."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, 64, 11, stride=4, padding=2),
                "3": nn.Conv2d(64, 192, 5, padding=2),
                "6": nn.Conv2d(192, 384, 3, padding=1),
                "8": nn.Conv2d(384, 256, 3, padding=1),
                "10": nn.Conv2d(256, 256, 3, padding=1),
            }
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Rectified output of each convolution, (n, channels, h, w)."""
        found = []
        for name, layer in self.features.items():
            if name in {"3", "6"}:
                images = nn.functional.max_pool2d(images, 3, 2)
            images = layer(images).relu()
            found.append(images)
        return found


@dataclass(frozen=True)
class AtSize:
    """Pictures in one size, as LPIPS reads them.

    Args:
        height: Pixels.
        width: Pixels.
    """

    height: int
    width: int

    def __call__(self, pictures: Pictures) -> Tensor:
        """Floats (n, 3, height, width)."""
        images = unit_range(torch.from_numpy(fit_size(pictures, self.height, self.width).copy()))
        shift, scale = (torch.tensor(v).reshape(3, 1, 1) for v in (SHIFT, SCALE))
        return (2 * images - 1 - shift) / scale


def load_lpips(path: Path, device: str = "cpu") -> Network:
    """The network whose `lpips` features have LPIPS as their squared distance.

    Args:
        path: AlexNet's weights.
        device: Where it runs.

    Raises:
        CheckpointError: They are others, or torchmetrics has other weights of channels.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        layers = {name: value for name, value in state.items() if name.startswith("features.")}
        module = AlexNetLayers()
        module.load_state_dict(layers)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{LPIPS} does not load from {path} ({reason})", "the weights of AlexNet"
        ) from error
    module, weights = module.eval().to(device), [w.to(device) for w in channel_weights()]
    return Network(lambda pixels: {LPIPS: lpips_embedding(module(pixels), weights)}, device)


def channel_weights() -> Sequence[Tensor]:
    """How much each channel of each layer counts, (channels,) each.

    Raises:
        CheckpointError: The file is absent, or is not that of version 0.1.
    """
    with resources.as_file(resources.files("torchmetrics") / CHANNEL_WEIGHTS) as path:
        if not path.is_file() or sha256(path) != PUBLISHED:
            raise CheckpointError(
                f"torchmetrics has no {CHANNEL_WEIGHTS} of LPIPS 0.1",
                remedy="pip install --force-reinstall torchmetrics",
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(5)]
