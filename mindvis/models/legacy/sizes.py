"""Sizes of networks, from the shapes of their weights; the configuration says what shapes cannot.

That is the number of attention heads, of both transformer and U-Net, and the size of the picture.
Everything else is read from the weights, and a configuration that says otherwise is refused.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.legacy.names import FIRST_STAGE, UNET

# Published: the encoder of the paper, and the label-conditioned model of its `label2img` folder.
PUBLISHED_ENCODER: Final = {"num_heads": 16, "decoder_num_heads": 16}
PUBLISHED_ENCODER_SIZES: Final = {"embed_dim": 1024, "depth": 24}
PUBLISHED_LDM_SIZES: Final = {"channels": (192, 384, 576, 960), "context_dim": 512}
PUBLISHED_BETAS: Final = (0.0015, 0.0195)
LATENT_SIZE: Final = 64

Weights = Mapping[str, Tensor]


def count(weights: Weights, pattern: str) -> int:
    """How many of the numbers 0, 1, ... names have where the pattern has its group."""
    found = {match[1] for match in map(re.compile(pattern).match, weights) if match}
    number = 0
    while str(number) in found:
        number += 1
    return number


def shape(weights: Weights, name: str, file: str, axes: int) -> tuple[int, ...]:
    """The shape of a weight that must be there, with so many axes, none of them empty.

    Raises:
        CheckpointError: It is missing, or of another shape.
    """
    expected = "a whole checkpoint of MinD-Vis or of its label-conditioned model"
    if name not in weights:
        raise CheckpointError(f"{file} has no {name}", expected, "give another file")
    found = tuple(weights[name].shape)
    if len(found) != axes or not all(found):
        raise CheckpointError(f"{name} in {file} has shape {found}", f"{axes} axes, in {expected}")
    return found


def section(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A part of nested configuration; empty where there is none."""
    for name in names:
        inner = config.get(name)
        config = inner if isinstance(inner, Mapping) else {}
    return config


def number(config: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number of a configuration.

    Raises:
        CheckpointError: It is something else.
    """
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(f"the configuration says {name} {value!r}", "a positive number")
    return value


def agree(found: Mapping[str, Any], config: Mapping[str, Any], file: str) -> None:
    """Refuse a configuration that contradicts the weights.

    Raises:
        CheckpointError: With the first size that differs.
    """
    for name, size in found.items():
        if config.get(name, size) != size:
            raise CheckpointError(
                f"{file} has weights of {name} {size}, its configuration says {config[name]}",
                "the configuration that the weights were trained with",
                "give that configuration, or another file",
            )


def encoder_sizes(
    weights: Weights, prefix: str, config: Mapping[str, Any], file: str
) -> dict[str, Any]:
    """Arguments of `BrainEncoder`.

    Args:
        weights: Of the whole file.
        prefix: Of the encoder's names.
        config: Values of MinD-Vis' configuration.
        file: For messages.

    Raises:
        CheckpointError: A weight is missing, or the number of heads is not known.
    """
    embed_dim, _, patch_size = shape(weights, f"{prefix}patch_embed.proj.weight", file, 3)
    tokens = shape(weights, f"{prefix}pos_embed", file, 3)[1]
    hidden = shape(weights, f"{prefix}blocks.0.mlp.fc1.weight", file, 2)[0]
    found = {
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": count(weights, rf"{re.escape(prefix)}blocks\.(\d+)\."),
        "mlp_ratio": hidden / embed_dim,
    }
    agree(found, config, file)
    heads = _heads("num_heads", found, config, file)
    return {**found, "num_voxels": (tokens - 1) * patch_size, "num_heads": heads}


def decoder_sizes(weights: Weights, config: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The decoder's arguments of `BrainMAE`.

    Raises:
        CheckpointError: A weight is missing, or the number of heads is not known.
    """
    width, embed_dim = shape(weights, "decoder_embed.weight", file, 2)
    found = {
        "decoder_embed_dim": width,
        "decoder_depth": count(weights, r"decoder_blocks\.(\d+)\."),
    }
    agree(found, config, file)
    encoder = {"embed_dim": embed_dim, "depth": count(weights, r"blocks\.(\d+)\.")}
    return {**found, "decoder_num_heads": _heads("decoder_num_heads", encoder, config, file)}


def _heads(name: str, found: Mapping[str, Any], config: Mapping[str, Any], file: str) -> int:
    """Attention heads, which no shape tells: configured, or those of the published encoder."""
    if name in config:
        return int(number(config, name, 0))
    if all(found[size] == value for size, value in PUBLISHED_ENCODER_SIZES.items()):
        return PUBLISHED_ENCODER[name]
    raise CheckpointError(
        f"{file} does not say how many attention heads its encoder has ({name})",
        remedy="give the fmri_encoder.pth that it was trained from as encoder_config",
    )


def unet_sizes(weights: Weights, ldm: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Arguments of `build_denoiser`, and the heads of each level.

    Args:
        weights: Of the whole file.
        ldm: `unet_config.params` of CompVis' configuration.
        file: For messages.

    Raises:
        CheckpointError: A weight is missing, or the number of heads is not known.
    """
    first, in_channels = shape(weights, f"{UNET}input_blocks.0.0.weight", file, 4)[:2]
    blocks = count(weights, rf"{re.escape(UNET)}input_blocks\.(\d+)\.") - 1
    down = [n for n in range(1, blocks + 1) if f"{UNET}input_blocks.{n}.0.op.weight" in weights]
    layers = (down[0] if down else blocks + 1) - 1
    starts = [1 + level * (layers + 1) for level in range(len(down) + 1)]
    channels = tuple(
        shape(weights, f"{UNET}input_blocks.{n}.0.out_layers.3.weight", file, 4)[0] for n in starts
    )
    middle = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    context_dim = shape(weights, middle, file, 2)[1]
    sizes = {
        "in_channels": in_channels,
        "context_dim": context_dim,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "attention": tuple(f"{UNET}input_blocks.{n}.1.norm.weight" in weights for n in starts),
        "sample_size": int(number(ldm, "image_size", LATENT_SIZE)),
    }
    agree(
        {"in_channels": in_channels, "num_res_blocks": layers, "context_dim": context_dim}
        | {"model_channels": first, "channel_mult": [c // first for c in channels]},
        ldm,
        file,
    )
    return {**sizes, "heads": _unet_heads(channels, context_dim, ldm, file)}


def _unet_heads(
    channels: tuple[int, ...], context_dim: int, ldm: Mapping[str, Any], file: str
) -> tuple[int, ...]:
    """Heads of each level: a number for all, or channels of a head, or one as published."""
    if ldm.get("num_head_channels", -1) != -1:
        width = int(number(ldm, "num_head_channels", -1))
        return tuple(max(size // width, 1) for size in channels)
    if "num_heads" in ldm:
        return (int(number(ldm, "num_heads", -1)),) * len(channels)
    if {"channels": channels, "context_dim": context_dim} == PUBLISHED_LDM_SIZES:
        return (1,) * len(channels)
    raise CheckpointError(
        f"{file} does not say how many attention heads its U-Net has",
        remedy="give the config.yaml of the model that it was trained from as ldm_config",
    )


def vq_sizes(weights: Weights, file: str) -> dict[str, Any]:
    """Arguments of `VQModel`.

    Raises:
        CheckpointError: A weight is missing.
    """
    levels = count(weights, rf"{re.escape(FIRST_STAGE)}encoder\.down\.(\d+)\.")
    layers = count(weights, rf"{re.escape(FIRST_STAGE)}encoder\.down\.0\.block\.(\d+)\.")
    codes, code_dim = shape(weights, f"{FIRST_STAGE}quantize.embedding.weight", file, 2)
    return {
        "in_channels": shape(weights, f"{FIRST_STAGE}encoder.conv_in.weight", file, 4)[1],
        "out_channels": shape(weights, f"{FIRST_STAGE}decoder.conv_out.weight", file, 4)[0],
        "block_out_channels": tuple(
            shape(weights, f"{FIRST_STAGE}encoder.down.{level}.block.0.conv2.weight", file, 4)[0]
            for level in range(levels)
        ),
        "layers_per_block": layers,
        "latent_channels": shape(weights, f"{FIRST_STAGE}encoder.conv_out.weight", file, 4)[0],
        "num_vq_embeddings": codes,
        "vq_embed_dim": code_dim,
    }
