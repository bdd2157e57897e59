"""The first stage between pictures and latents, and the folder of a latent diffusion model.

Outside this module pictures are (B, 3, H, W) in [-1, 1] and latents have a standard deviation near
one: the scaling factor of the stored configuration is applied here and nowhere else.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel, VQModel
from torch import Tensor

from mindvis.errors import CheckpointError, one_of
from mindvis.models.conditioning import BrainConditioner, LabelConditioner, WordConditioner
from mindvis.models.loading import component_folder, load_component, read_config

# AutoencoderTiny writes `block_out_channels` into its configuration and warns when it reads it back
logging.getLogger("diffusers.configuration_utils").addFilter(
    lambda record: "were passed to AutoencoderTiny" not in record.getMessage()
)

FirstStage: TypeAlias = VQModel | AutoencoderKL | AutoencoderTiny
FIRST_STAGES: dict[str, type[Any]] = {
    "VQModel": VQModel,
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
}
CONDITIONERS: dict[str, type[Any]] = {
    "LabelConditioner": LabelConditioner,
    "WordConditioner": WordConditioner,
    "BrainConditioner": BrainConditioner,
}


def build_first_stage(
    kind: Literal["vq", "kl", "tiny"] = "kl",
    latent_channels: int = 4,
    block_out_channels: Sequence[int] = (32, 64, 64),
    layers_per_block: int = 1,
    num_codes: int = 256,
) -> FirstStage:
    """A small untrained first stage of stock parts; it halves the picture at each level but one.

    Args:
        kind: "vq" is vector-quantised, "kl" has Gaussian latents, "tiny" is a plain autoencoder.
        latent_channels: Channels of the latents.
        block_out_channels: Channels of each level, finest first; "tiny" has the last throughout.
        layers_per_block: Residual blocks of a level.
        num_codes: Size of the codebook of "vq".
    """
    channels = tuple(block_out_channels)
    if kind == "tiny":
        return AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=channels[-1:] * len(channels),
            decoder_block_out_channels=channels[-1:] * len(channels),
            # blocks among all pixels cost most and gain least: the finest level has none
            num_encoder_blocks=(0,) + (layers_per_block,) * (len(channels) - 1),
            num_decoder_blocks=(layers_per_block,) * (len(channels) - 1) + (0,),
        )
    sizes: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "block_out_channels": channels,
        "layers_per_block": layers_per_block,
        "latent_channels": latent_channels,
        "norm_num_groups": gcd(32, *channels),
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,
    }
    if kind == "vq":
        return VQModel(num_vq_embeddings=num_codes, vq_embed_dim=latent_channels, **sizes)
    return AutoencoderKL(**sizes, force_upcast=False)


def downsampling(first_stage: FirstStage) -> int:
    """How many pixels of the picture one latent is wide."""
    config = first_stage.config
    channels = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(channels) - 1))


def latent_channels(first_stage: FirstStage) -> int:
    """Channels of the latents."""
    return int(first_stage.config.get("vq_embed_dim") or first_stage.config.latent_channels)


def raw_latents(first_stage: FirstStage, images: Tensor) -> Tensor:
    """Unscaled latents: the posterior's mean for "kl", before quantisation for "vq"."""
    encoded = first_stage.encode(images)
    return encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents


def encode_images(first_stage: FirstStage, images: Tensor) -> Tensor:
    """Scaled latents (B, C, h, w) of pictures (B, 3, H, W) in [-1, 1]."""
    scaling, shift = scaling_and_shift(first_stage)
    return (raw_latents(first_stage, images) - shift) * scaling


def decode_latents(first_stage: FirstStage, latents: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), clamped to [-1, 1], of scaled latents (B, C, h, w)."""
    scaling, shift = scaling_and_shift(first_stage)
    return first_stage.decode(latents / scaling + shift, return_dict=False)[0].clamp(-1, 1)


def scaling_and_shift(first_stage: FirstStage) -> tuple[float, float]:
    """Latents outside are (raw - shift) * scaling; a configuration without a shift has 0."""
    config = first_stage.config
    return float(config.scaling_factor), float(config.get("shift_factor") or 0.0)


class ReconstructionLoss(NamedTuple):
    """Training loss of a first stage.

    Attributes:
        loss: What is minimised.
        reconstruction: The error of the picture alone.
        images: (B, 3, H, W), the reconstruction.
    """

    loss: Tensor
    reconstruction: Tensor
    images: Tensor


def first_stage_loss(
    first_stage: FirstStage,
    images: Tensor,
    generator: torch.Generator | None = None,
    regularisation: float | None = None,
) -> ReconstructionLoss:
    """Absolute plus squared error of the picture, plus what keeps the latents in order.

    For "kl" that is the divergence from N(0, 1) a latent (weight 1e-4), for "vq" the commitment
    and codebook loss of "Neural discrete representation learning" (weight 1), for "tiny" the mean
    square of the latents (weight 1e-4).

    Args:
        first_stage: The network.
        images: (B, 3, H, W) in [-1, 1].
        generator: Source of the posterior's noise ("kl").
        regularisation: Its weight; None is the one above.
    """
    encoded = first_stage.encode(images)
    if isinstance(first_stage, AutoencoderKL):
        posterior = encoded.latent_dist
        latents, weight = posterior.sample(generator), 1e-4
        penalty = posterior.kl().mean() / latents[0].numel()
    elif isinstance(first_stage, VQModel):
        quantised, penalty, _ = first_stage.quantize(encoded.latents)
        latents, weight = quantised, 1.0
    else:
        latents, weight = encoded.latents, 1e-4
        penalty = latents.square().mean()
    decoded = decode_for_training(first_stage, latents)
    error = decoded - images
    reconstruction = error.abs().mean() + error.square().mean()
    weight = weight if regularisation is None else regularisation
    return ReconstructionLoss(reconstruction + weight * penalty, reconstruction, decoded)


def decode_for_training(first_stage: FirstStage, latents: Tensor) -> Tensor:
    """Decode latents as they are: a "vq" code is not looked up a second time."""
    if isinstance(first_stage, VQModel):
        return first_stage.decode(latents, force_not_quantize=True, return_dict=False)[0]
    return first_stage.decode(latents, return_dict=False)[0]


@torch.no_grad()
def start_codebook(model: VQModel, images: Tensor, generator: torch.Generator) -> None:
    """Set the codes of a "vq" first stage to latents of pictures: none starts out of reach."""
    latents = raw_latents(model, images).movedim(1, -1).flatten(0, -2)
    codes = model.quantize.embedding.weight
    draws = torch.randint(len(latents), (len(codes),), generator=generator)
    codes.copy_(latents[draws.to(latents.device)])


@torch.no_grad()
def estimate_scaling(first_stage: FirstStage, batches: Iterable[Tensor]) -> float:
    """The factor 1 / standard deviation that gives latents of pictures unit variance.

    Args:
        first_stage: The trained network.
        batches: Pictures (B, 3, H, W) in [-1, 1].
    """
    count, total, squares = 0, 0.0, 0.0
    for images in batches:
        latents = raw_latents(first_stage, images).double()
        count += latents.numel()
        total += latents.sum().item()
        squares += latents.square().sum().item()
    variance = squares / max(count, 1) - (total / max(count, 1)) ** 2
    return variance**-0.5 if variance > 0 else 1.0


def set_scaling(first_stage: FirstStage, factor: float) -> None:
    """Write the scaling factor into the configuration that is saved with the weights."""
    first_stage.register_to_config(scaling_factor=factor)


class LDM(NamedTuple):
    """A latent diffusion model.

    Attributes:
        unet: The denoiser.
        first_stage: Between pictures and latents.
        scheduler: The stock scheduler it was trained with.
        conditioner: What it was trained to be conditioned on; None where the folder has none.
    """

    unet: UNet2DConditionModel
    first_stage: FirstStage
    scheduler: Any
    conditioner: LabelConditioner | WordConditioner | BrainConditioner | None


def load_ldm(path: str | os.PathLike[str]) -> LDM:
    """Load unet/, vae/ or vqvae/, scheduler/ and, where it is there, conditioner/.

    Args:
        path: A run folder of the latent stage, its `model` folder, or any diffusers-format folder.

    Raises:
        CheckpointError: A part is missing, of an unknown class, or damaged.
    """
    root = Path(path)
    root = root / "model" if (root / "model").is_dir() else root
    for part, names in {"unet": ["unet"], "first stage": ["vae", "vqvae"]}.items():
        if not any((root / name).is_dir() for name in names):
            raise CheckpointError(
                f"{root} has no {part} ({' or '.join(f'{name}/' for name in names)})",
                "unet/, vae/ or vqvae/, and scheduler/ of a diffusers latent diffusion model",
                "run the latent stage, or give the folder that holds model_index.json",
            )
    unet = load_component(UNet2DConditionModel, root / "unet")
    first_stage = load_one_of(component_folder(root, ("vae", "vqvae")), FIRST_STAGES)
    conditioner = None
    if (root / "conditioner").is_dir():
        conditioner = load_one_of(root / "conditioner", CONDITIONERS)
    return LDM(unet, first_stage, load_scheduler(root / "scheduler"), conditioner)


def load_one_of(folder: Path, classes: dict[str, type[Any]]) -> Any:
    """A component whose class its configuration names, among those that are known.

    Raises:
        CheckpointError: The class is not one of them.
    """
    name = str(read_config(folder).get("_class_name", ""))
    if name not in classes:
        raise CheckpointError(
            f"{folder} holds a {name or 'component without a class'}",
            one_of("its class", name, classes),
        )
    return load_component(classes[name], folder)


def load_scheduler(folder: Path) -> Any:
    """The stock scheduler that a `scheduler_config.json` names.

    Raises:
        CheckpointError: The file is absent or names no scheduler of diffusers.
    """
    config = read_config(folder, "scheduler_config.json")
    name = str(config.get("_class_name", ""))
    cls = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if cls is None:
        raise CheckpointError(
            f"{folder} names the scheduler {name!r}",
            "a scheduler of diffusers, such as DDPMScheduler or DDIMScheduler",
        )
    return cls.from_config(config)


def save_ldm(ldm: LDM, path: str | os.PathLike[str]) -> None:
    """Write the parts as `load_ldm` reads them, in safetensors."""
    root = Path(path)
    ldm.unet.save_pretrained(root / "unet")
    ldm.first_stage.save_pretrained(root / "vae")
    ldm.scheduler.save_pretrained(root / "scheduler")
    if ldm.conditioner is not None:
        ldm.conditioner.save_pretrained(root / "conditioner")
