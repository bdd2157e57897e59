"""Names and layouts of MinD-Vis' and CompVis' weights, each from ours; read either way.

Every table is {our name: place of the weight there}, built from the names of a network of ours, so
that import and export cannot disagree and whatever a file lacks or has too much has a name.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from torch import Tensor

from mindvis.errors import CheckpointError

UNET: Final = "model.diffusion_model."
FIRST_STAGE: Final = "first_stage_model."
CONDITION: Final = "cond_stage_model."


class Place(NamedTuple):
    """Where a weight is there.

    Attributes:
        name: Its name.
        axes: Axes of length one that it has there and not here, in ascending order.
    """

    name: str
    axes: tuple[int, ...] = ()

    def theirs(self, weight: Tensor) -> Tensor:
        """Our weight in their layout, without copying."""
        for axis in self.axes:
            weight = weight.unsqueeze(axis)
        return weight

    def ours(self, weight: Tensor) -> Tensor:
        """Their weight in our layout, without copying."""
        for axis in reversed(self.axes):
            weight = weight.squeeze(axis)
        return weight


Table = dict[str, Place]

_BRAIN: Final = {
    "trunk.class_token": Place("cls_token"),
    "trunk.positions": Place("pos_embed", (0,)),
    "trunk.patch_embed.weight": Place("patch_embed.proj.weight", (1,)),
    "trunk.patch_embed.bias": Place("patch_embed.proj.bias"),
    "decoder_positions": Place("decoder_pos_embed", (0,)),
}
_CONDITIONER: Final = {
    "mapping.token_maps.": f"{CONDITION}channel_mapper.",
    "mapping.width_map.": f"{CONDITION}dim_mapper.",
    "mapping.pooled_maps.": f"{UNET}time_embed_condtion.",  # spelled so
}
_UNET_ENDS: Final = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "class_embedding.": "time_embed_condtion.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
_UNET_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VQ_PARTS: Final = {
    "mid_block.resnets.0.": "mid.block_1.",
    "mid_block.resnets.1.": "mid.block_2.",
    "mid_block.attentions.0.group_norm.": "mid.attn_1.norm.",
    "mid_block.attentions.0.to_q.": "mid.attn_1.q.",
    "mid_block.attentions.0.to_k.": "mid.attn_1.k.",
    "mid_block.attentions.0.to_v.": "mid.attn_1.v.",
    "mid_block.attentions.0.to_out.0.": "mid.attn_1.proj_out.",
    "resnets.": "block.",
    "conv_shortcut.": "nin_shortcut.",
    "downsamplers.0.": "downsample.",
    "upsamplers.0.": "upsample.",
    "conv_norm_out.": "norm_out.",
}


def brain_table(names: Iterable[str], prefix: str = "") -> Table:
    """Of `BrainMAE` or `BrainEncoder`: the patch convolution is our matrix."""
    places = {name: _BRAIN.get(name, Place(name.removeprefix("trunk."))) for name in names}
    return {name: Place(prefix + place.name, place.axes) for name, place in places.items()}


def conditioner_table(names: Iterable[str]) -> Table:
    """Of the compat `BrainConditioner`; its empty conditioning is nowhere there."""
    return {
        name: Place(name.replace(ours, theirs))
        for name in names
        for ours, theirs in _CONDITIONER.items()
        if name.startswith(ours)
    }


def label_table() -> Table:
    """Of `LabelConditioner`: CompVis has its table of context tokens alone."""
    return {"context_table.weight": Place(f"{CONDITION}embedding.weight")}


def unet_table(names: Iterable[str], layers: int, pooled: bool = False) -> Table:
    """Of `UNet2DConditionModel` with `layers` residual blocks a level.

    CompVis numbers the blocks of each side through, the way down from 1 with each downsampling as
    a block of its own, the way up from 0 with the upsampling inside the last block of its level.
    MinD-Vis' map to the time embedding follows two convolutions, but for a `pooled` brain.
    """
    known = set(names)
    table = {name: Place(UNET + _unet_name(name, layers, known)) for name in names}
    straight = {
        f"class_embedding.{end}": f"time_embed_condtion.{end}" for end in ("weight", "bias")
    }
    for ours in known & straight.keys() if pooled else ():
        table[ours] = Place(UNET + straight[ours])
    return table


def _unet_name(name: str, layers: int, known: set[str]) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(ours):
            return theirs + _in_resnet(name, name.removeprefix(ours))
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        raise CheckpointError(f"MinD-Vis' U-Net has nothing like {name}")
    side, level, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    first = level * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{rest.replace('conv.', 'op.')}"
    if kind == "upsamplers":
        attends = f"up_blocks.{level}.attentions.0.norm.weight" in known
        return f"output_blocks.{first + layers}.{2 if attends else 1}.{rest}"
    block = (
        f"input_blocks.{first + layer + 1}" if side == "down" else f"output_blocks.{first + layer}"
    )
    return f"{block}.{0 if kind == 'resnets' else 1}.{_in_resnet(name, rest)}"


def _in_resnet(name: str, rest: str) -> str:
    """The part of a residual block; parts of transformers keep their names."""
    if ".resnets." not in name:
        return rest
    part, _, leaf = rest.partition(".")
    return f"{_UNET_RESNET[part]}.{leaf}"


def vq_table(names: Iterable[str], levels: int) -> Table:
    """Of `VQModel` with `levels` levels; attention's maps are convolutions there."""
    return {name: _vq_place(name, levels) for name in names}


def _vq_place(name: str, levels: int) -> Place:
    theirs = re.sub(r"down_blocks\.(\d+)\.", r"down.\1.", name)
    theirs = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{levels - 1 - int(m[1])}.", theirs)
    for ours, other in _VQ_PARTS.items():
        theirs = theirs.replace(ours, other)
    is_map = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", theirs) is not None
    return Place(FIRST_STAGE + theirs, (2, 3) if is_map else ())


def export_weights(table: Mapping[str, Place], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names and in their layout, without copying."""
    return {place.name: place.theirs(ours[name]) for name, place in table.items()}
