"""Stage B: a training step at MinD-Vis' size against one that does what nobody uses.

The twin encodes the picture in every step and computes the gradient of every weight of the U-Net;
both hand the same weights (encoder, conditioner, cross-attention) to the same optimiser. `mindvis`
takes kept latents and freezes first; `mindvis-half` also holds frozen matrices and kernels in
bfloat16, and computes in float32 as all do; `mindvis-bf16`, where the processor has such
arithmetic, computes under autocast too. Weights, picture, brain and noise are the same; losses and
the norm of the gradient are compared before times are.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel
from torch import Tensor, nn

from benchmarks.machine import alternate, has_bfloat16, spread, typical
from mindvis.models.autoencoder import encode_images
from mindvis.models.conditioning import BrainConditioner
from mindvis.models.denoiser import build_denoiser, open_for_conditioning, predict_noise
from mindvis.models.encoder import BrainEncoder
from mindvis.models.frozen import store_frozen

VARIANTS = ("everything", "mindvis", "mindvis-half", "mindvis-bf16")
TOLERANCE = {"mindvis": 1e-4, "mindvis-half": 0.02, "mindvis-bf16": 0.05}
GOAL = {"ratio": 2.0, "of_memory": 0.6}


@dataclass(frozen=True)
class Size:
    """The networks of stage B and what they see."""

    num_voxels: int
    embed_dim: int
    depth: int
    num_heads: int
    context_dim: int
    image_size: int
    unet_channels: tuple[int, ...]
    unet_layers: int
    vq_channels: tuple[int, ...]
    vq_layers: int
    codes: int
    batch_size: int
    steps: int

    @property
    def latent_size(self) -> int:
        return self.image_size // 2 ** (len(self.vq_channels) - 1)


TRUE = Size(
    num_voxels=4656,
    embed_dim=1024,
    depth=24,
    num_heads=16,
    context_dim=512,
    image_size=256,
    unet_channels=(192, 384, 576, 960),
    unet_layers=2,
    vq_channels=(128, 256, 512),
    vq_layers=2,
    codes=8192,
    batch_size=1,
    steps=1,
)
FAST = Size(160, 32, 2, 4, 24, 32, (16, 32), 1, (8, 16, 16), 1, 32, batch_size=2, steps=1)


class StageB(nn.Module):
    """All networks of stage B, with random weights that depend on the seed alone."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = BrainEncoder(
            size.num_voxels, 16, size.embed_dim, size.depth, size.num_heads, class_token=False
        )
        self.conditioner = BrainConditioner(
            self.encoder.num_tokens,
            size.embed_dim,
            size.context_dim,
            size.context_dim,
            projection="compat",
        )
        self.unet: UNet2DConditionModel = build_denoiser(
            size.latent_size,
            3,
            size.context_dim,
            size.context_dim,
            size.unet_channels,
            size.unet_layers,
            attention_head_dim=None,
        )
        self.first_stage = vq(size).requires_grad_(False).eval()
        self.conditioner.empty.requires_grad_(False)

    def loss(self, latents: Tensor, batch: dict[str, Tensor]) -> Tensor:
        scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195)
        noisy = scheduler.add_noise(latents, batch["noise"], batch["t"])
        conditioning = self.conditioner(self.encoder(batch["voxels"]))
        predicted = predict_noise(self.unet, noisy, batch["t"], conditioning)
        return (predicted.float() - batch["noise"]).square().mean()


def vq(size: Size) -> VQModel:
    levels = len(size.vq_channels)
    return VQModel(
        block_out_channels=size.vq_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=size.vq_layers,
        num_vq_embeddings=size.codes,
        norm_num_groups=min(32, *size.vq_channels),
        scaling_factor=1.0,
    )


def batches(size: Size) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (size.batch_size, 3, size.latent_size, size.latent_size)
    pictures = (size.batch_size, 3, size.image_size, size.image_size)
    while True:
        yield {
            "voxels": torch.randn(size.batch_size, size.num_voxels, generator=generator),
            "image": torch.rand(pictures, generator=generator) * 2 - 1,
            "noise": torch.randn(shape, generator=generator),
            "t": torch.randint(1000, (size.batch_size,), generator=generator),
        }


def prepare(model: StageB, variant: str) -> list[nn.Parameter]:
    """Freeze what the variant freezes; the parameters that the optimiser gets."""
    open_for_conditioning(model.unet)
    trained = [p for p in model.parameters() if p.requires_grad]
    if variant == "everything":
        model.unet.requires_grad_(True)
    elif variant != "mindvis":
        store_frozen(model.unet, torch.bfloat16)
        store_frozen(model.first_stage, torch.bfloat16)
    return trained


@torch.no_grad()
def encode(model: StageB, batch: dict[str, Tensor]) -> Tensor:
    return encode_images(model.first_stage, batch["image"])


def precision(variant: str) -> AbstractContextManager[Any]:
    bf16 = variant == "mindvis-bf16"
    return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()


def train(variant: str, fast: bool) -> dict[str, Any]:
    """A few steps after one that does not count: seconds, losses, norms of the gradient."""
    size = FAST if fast else TRUE
    model = StageB(size)
    stream = [batch for batch, _ in zip(batches(size), range(size.steps + 1), strict=False)]
    kept = [encode(model, batch) for batch in stream]
    trained = prepare(model, variant)
    optimizer = torch.optim.AdamW(trained, lr=5.3e-5, fused=True)
    seconds, losses, norms = [], [], []
    for batch, known in zip(stream, kept, strict=True):
        start = time.perf_counter()
        latents = encode(model, batch) if variant == "everything" else known
        model.zero_grad(set_to_none=True)
        with precision(variant):
            loss = model.loss(latents, batch)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 0.5).item())
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    return {
        "seconds": seconds[1:],
        "losses": losses,
        "gradient_norms": norms,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in trained),
    }


def difference(ours: dict[str, Any], twin: dict[str, Any]) -> float:
    """Largest relative difference of losses and gradient norms."""
    pairs = [
        (a, b)
        for key in ("losses", "gradient_norms")
        for a, b in zip(ours[key], twin[key], strict=True)
    ]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def measure(fast: bool) -> dict[str, Any]:
    """Every variant, alternated; ratios to the twin in time and in peak memory."""
    launches = 1 if fast else 5
    chosen = VARIANTS if fast or has_bfloat16() else VARIANTS[:-1]
    arguments = {variant: {"variant": variant, "fast": fast} for variant in chosen}
    results = alternate("benchmarks.finetune:train", arguments, launches)
    twin = results["everything"]
    report: dict[str, Any] = {}
    for name, runs in results.items():
        apart = difference(runs[0], twin[0])
        report[name] = {
            "seconds_of_a_step": typical(runs, "seconds"),
            "seconds_smallest_and_largest": spread(runs, "seconds"),
            "peak_memory_bytes": typical(runs, "peak_bytes"),
            "ratio": typical(twin, "seconds") / typical(runs, "seconds"),
            "of_memory": typical(runs, "peak_bytes") / typical(twin, "peak_bytes"),
            "largest_relative_difference": apart,
            "agrees": apart <= TOLERANCE.get(name, 0.0),
        }
    return {
        "threads": torch.get_num_threads(),
        "launches": launches,
        "size": asdict(FAST if fast else TRUE),
        "parameters": twin[0]["parameters"],
        "trained": twin[0]["trained"],
        "variants": report,
        "goal": GOAL,
    }
