"""The denoiser: a stock diffusers U-Net, conditioned by attention and time embedding at once."""

from collections.abc import Sequence
from math import gcd
from typing import Literal

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from mindvis.errors import ConfigError
from mindvis.models.conditioning import Conditioning

Opened = Literal["conditioning", "all"]
BranchStart = Literal["zero", "random"]


def build_denoiser(
    sample_size: int,
    in_channels: int,
    context_dim: int,
    pooled_dim: int,
    block_out_channels: Sequence[int] = (64, 128, 192),
    layers_per_block: int = 1,
    attention: Sequence[bool] | None = None,
    attention_head_dim: int | None = 32,
) -> UNet2DConditionModel:
    """A U-Net that predicts the noise of latents.

    Args:
        sample_size: Height and width of the latents.
        in_channels: Channels of the latents.
        context_dim: Width of the context tokens.
        pooled_dim: Width of the pooled vector.
        block_out_channels: Channels of each level, finest first.
        layers_per_block: Residual blocks of a level.
        attention: Whether each level attends; None is all but the finest.
        attention_head_dim: Channels of an attention head; None is one head at every level.

    Raises:
        ConfigError: Sizes that do not fit each other.
    """
    channels = tuple(block_out_channels)
    attends = (
        tuple(attention) if attention is not None else (False,) + (True,) * (len(channels) - 1)
    )
    check_levels(sample_size, channels, attends)
    down = ["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attends]
    up = ["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attends)]
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=in_channels,
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=context_dim,
        attention_head_dim=heads_of_levels(channels, attends, attention_head_dim),
        norm_num_groups=gcd(32, *channels),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=pooled_dim,
    )


def heads_of_levels(
    channels: tuple[int, ...], attends: tuple[bool, ...], head_dim: int | None
) -> tuple[int, ...]:
    """Heads of each level; the coarsest always attends, in the middle of the U-Net."""
    used = (*attends[:-1], True)
    return tuple(
        number_of_heads(width, head_dim) if level else 1
        for width, level in zip(channels, used, strict=True)
    )


def with_pooled_input(
    unet: UNet2DConditionModel, pooled_dim: int, start: BranchStart = "zero"
) -> UNet2DConditionModel:
    """The same U-Net with a map from a pooled vector to its time embedding.

    Args:
        unet: Any stock text- or label-conditional U-Net.
        pooled_dim: Width of the pooled vector, where the U-Net has no map of its own.
        start: Of a new map: at "zero" the U-Net predicts what it did before; "random", as in
            MinD-Vis, disturbs it.

    Raises:
        ConfigError: Its time embedding is conditioned in another way.
    """
    kind = unet.config.class_embed_type
    if kind == "simple_projection":
        return unet
    if kind is not None:
        raise ConfigError(
            f"The U-Net has class embeddings of type {kind!r}",
            "'simple_projection', or none",
            "choose another latent diffusion model",
        )
    added = {"class_embed_type": "simple_projection"}
    config = {**unet.config, **added, "projection_class_embeddings_input_dim": pooled_dim}
    wider = UNet2DConditionModel.from_config(config)
    wider.load_state_dict(unet.state_dict(), strict=False)
    if start == "zero":
        nn.init.zeros_(wider.class_embedding.weight)
        nn.init.zeros_(wider.class_embedding.bias)
    return wider


def number_of_heads(channels: int, head_dim: int | None) -> int:
    """Heads of `head_dim` channels; diffusers' `attention_head_dim` is, in spite of its name, this.

    Raises:
        ConfigError: The channels cannot be cut into such heads.
    """
    if head_dim is None:
        return 1
    if channels % head_dim:
        raise ConfigError(
            f"A level of {channels} channels has attention heads of {head_dim} channels",
            "a number of channels that the heads divide",
            "change attention_head_dim or block_out_channels",
        )
    return channels // head_dim


def check_levels(sample_size: int, channels: tuple[int, ...], attends: tuple[bool, ...]) -> None:
    """Refuse levels that are not described once each or that cannot be halved."""
    if len(attends) != len(channels):
        raise ConfigError(
            f"attention says {len(attends)} levels and block_out_channels {len(channels)}",
            "as many of one as of the other",
        )
    if sample_size % 2 ** (len(channels) - 1):
        raise ConfigError(
            f"Latents of {sample_size} x {sample_size} are halved {len(channels) - 1} times",
            f"a multiple of {2 ** (len(channels) - 1)}",
            "use fewer levels in block_out_channels or another picture size",
        )


def is_conditioning(name: str) -> bool:
    """Whether a parameter of the U-Net carries the condition.

    These are cross-attention (`attn2`), the norm before it (`norm2` of a transformer block, not of
    a residual block) and the map of the pooled vector (`class_embedding`).
    """
    in_transformer = ".transformer_blocks." in name and (".attn2." in name or ".norm2." in name)
    return in_transformer or name.startswith("class_embedding.")


def open_for_conditioning(unet: UNet2DConditionModel) -> list[str]:
    """Freeze the U-Net, then let the parameters that carry the condition train.

    Frozen parameters get no gradient and must not be handed to an optimiser.

    Returns:
        The names of the parameters that train.
    """
    unet.requires_grad_(False)
    opened = [name for name, _ in unet.named_parameters() if is_conditioning(name)]
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(is_conditioning(name))
    return opened


def open_denoiser(unet: UNet2DConditionModel, part: Opened = "conditioning") -> list[str]:
    """Let a part of the U-Net train: what carries the condition, or all of it.

    Returns:
        The names of the parameters that train.
    """
    if part == "conditioning":
        return open_for_conditioning(unet)
    unet.requires_grad_(True)
    return [name for name, _ in unet.named_parameters()]


def predict_noise(
    unet: UNet2DConditionModel, latents: Tensor, t: Tensor, conditioning: Conditioning
) -> Tensor:
    """The noise in `latents` (B, C, H, W) at steps `t` (B,), given a conditioning of B samples."""
    return unet(
        latents,
        t,
        encoder_hidden_states=conditioning.context,
        class_labels=conditioning.pooled,
        return_dict=False,
    )[0]
