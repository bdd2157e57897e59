"""MinD-Vis' weights under our names, and its weights by rule, to compare with its own numbers."""

import re

import numpy as np
import torch
from torch import Tensor

from tests.tolerances import NETWORK

BLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def close(ours, theirs, tolerance=NETWORK):
    """Whether the largest difference is below the tolerance times the largest value."""
    ours = torch.as_tensor(np.asarray(ours.detach() if isinstance(ours, Tensor) else ours))
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def by_rule(golden):
    """Weights that the golden file describes by a rule: k-th name, k-th legacy random stream."""
    amplitude, ones = float(golden["rule_a"]), set(golden["rule_ones"])
    weights = {}
    names = zip(golden["rule_names"], golden["rule_shapes"], strict=True)
    for k, (name, sizes) in enumerate(names):
        shape = tuple(int(size) for size in str(sizes).split(","))
        values = np.random.RandomState(k).uniform(-amplitude, amplitude, shape).astype("f4")
        weights[str(name)] = torch.from_numpy(values + np.float32(name in ones))
    return weights


def under(weights, prefix):
    """The weights whose names start with the prefix, without it."""
    return {name[len(prefix) :]: w for name, w in weights.items() if name.startswith(prefix)}


def arrays(golden, prefix):
    """Arrays of a golden file below a prefix, as tensors."""
    return {
        name[len(prefix) :]: torch.from_numpy(golden[name])
        for name in golden.files
        if name.startswith(prefix)
    }


def brain_name(name):
    """Our name of a weight of the masked autoencoder."""
    renamed = {
        "cls_token": "trunk.class_token",
        "pos_embed": "trunk.positions",
        "decoder_pos_embed": "decoder_positions",
        "patch_embed.proj.weight": "trunk.patch_embed.weight",
        "patch_embed.proj.bias": "trunk.patch_embed.bias",
    }
    if name in renamed:
        return renamed[name]
    return f"trunk.{name}" if name.startswith(("blocks.", "norm.")) else name


def brain_layout(name, weight):
    """Our layout of it: the patch convolution is a matrix, positions have no batch axis."""
    if name == "patch_embed.proj.weight":
        return weight[:, 0]
    return weight[0] if name.endswith("pos_embed") else weight


def brain_weights(weights, decoder=True):
    """A state dict of `BrainMAE`, or without the decoder of `BrainEncoder`."""
    ours = {brain_name(name): brain_layout(name, w) for name, w in weights.items()}
    return {name: w for name, w in ours.items() if decoder or name.startswith("trunk.")}


def compat_weights(weights):
    """The token and width maps of `CompatProjection`, its pooled maps not among them."""
    renamed = {"channel_mapper.": "token_maps.", "dim_mapper.": "width_map."}
    return {
        new + name[len(old) :]: w
        for name, w in weights.items()
        for old, new in renamed.items()
        if name.startswith(old)
    }


def unet_weights(weights, levels, layers):
    """A state dict of `UNet2DConditionModel` from CompVis names."""
    return {unet_name(name, levels, layers): w for name, w in weights.items()}


def unet_name(name, levels, layers):
    fixed = {
        "input_blocks.0.0.": "conv_in.",
        "time_embed.0.": "time_embedding.linear_1.",
        "time_embed.2.": "time_embedding.linear_2.",
        "time_embed_condtion.2.": "class_embedding.",
        "time_embed_condtion.": "class_embedding.",
        "out.0.": "conv_norm_out.",
        "out.2.": "conv_out.",
        "middle_block.0.": "mid_block.resnets.0.",
        "middle_block.1.": "mid_block.attentions.0.",
        "middle_block.2.": "mid_block.resnets.1.",
    }
    for old, new in fixed.items():
        if name.startswith(old):
            return residual(new + name[len(old) :])
    side, index, part, rest = re.fullmatch(
        r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)", name
    ).groups()
    place = int(index) - (side == "input")
    level, layer = divmod(place, layers + 1)
    block = f"{'down' if side == 'input' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{block}.downsamplers.0.conv.{rest[3:]}"
    if rest.startswith("conv."):
        return f"{block}.upsamplers.0.{rest}"
    kind = "resnets" if part == "0" else "attentions"
    return residual(f"{block}.{kind}.{layer}.{rest}")


def residual(name):
    for old, new in BLOCK.items():
        name = name.replace(f".{old}.", f".{new}.")
    return name


def vq_weights(weights, levels):
    """A state dict of `VQModel` from CompVis names."""
    return {vq_name(name, levels): vq_layout(name, w) for name, w in weights.items()}


def vq_layout(name, weight):
    is_attention_map = ".attn_1." in name and weight.ndim == 4
    return weight[:, :, 0, 0] if is_attention_map else weight


def vq_name(name, levels):
    name = re.sub(r"up\.(\d+)\.", lambda match: f"up_blocks.{levels - 1 - int(match[1])}.", name)
    name = re.sub(r"down\.(\d+)\.", r"down_blocks.\1.", name)
    name = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", name)
    pairs = {
        ".block.": ".resnets.",
        "nin_shortcut": "conv_shortcut",
        "downsample.": "downsamplers.0.",
        "upsample.": "upsamplers.0.",
        "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
        "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
        "mid.attn_1.q": "mid_block.attentions.0.to_q",
        "mid.attn_1.k": "mid_block.attentions.0.to_k",
        "mid.attn_1.v": "mid_block.attentions.0.to_v",
        "norm_out": "conv_norm_out",
    }
    for old, new in pairs.items():
        name = name.replace(old, new)
    return name
