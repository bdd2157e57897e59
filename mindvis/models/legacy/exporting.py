"""Networks of ours as files that MinD-Vis' own code loads: its names, its layout, no class of ours.

Its code reads sizes as attributes of `config`, which a pickled `argparse.Namespace` of the standard
library has.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel, VQModel
from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.conditioning import BrainConditioner, LabelConditioner
from mindvis.models.encoder import BrainEncoder
from mindvis.models.legacy.configuration import (
    DECODER_SIZES,
    ENCODER_SIZES,
    STAGE_A,
    STAGE_B,
    require,
)
from mindvis.models.legacy.names import (
    CONDITION,
    brain_table,
    conditioner_table,
    export_weights,
    label_table,
    unet_table,
    vq_table,
)
from mindvis.models.legacy.schedule import schedule_buffers
from mindvis.models.mae import BrainMAE


def export_mae(mae: BrainMAE, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What an `fmri_encoder.pth` holds: model, epoch, config.

    Args:
        mae: With one map for all patches.
        config: Values of the configuration it was imported with.

    Raises:
        CheckpointError: Each patch has a map of its own, which MinD-Vis cannot hold.
    """
    require_shared(mae)
    sizes = {name: mae.config[name] for name in (*ENCODER_SIZES, *DECODER_SIZES)}
    weights = mae.state_dict()
    return {
        "model": export_weights(brain_table(weights), weights),
        "epoch": 0,
        "config": Namespace(**{**STAGE_A, **(config or {}), **sizes}),
    }


def require_shared(network: BrainMAE | BrainEncoder) -> None:
    """Refuse a network with a map for each patch.

    Raises:
        CheckpointError: It has one.
    """
    if network.config.patch_weights != "shared":
        raise CheckpointError(
            "the encoder has a map of its own for each patch, and MinD-Vis one for all",
            "an encoder trained with patch_weights shared",
            "train stage A with --model.patch_weights shared",
        )


def export_pipeline(
    encoder: BrainEncoder,
    conditioner: BrainConditioner,
    unet: UNet2DConditionModel,
    first_stage: VQModel,
    schedule: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a `checkpoint.pth` holds: model_state_dict, config, state (of random numbers: none).

    Args:
        encoder: Without class token, with one map for all patches.
        conditioner: With the "compat" projection.
        unet: The denoiser.
        first_stage: Vector-quantised.
        schedule: Configuration of the scheduler.
        config: Values of the configuration it was imported with.

    Raises:
        CheckpointError: MinD-Vis has nothing like one of the parts.
    """
    require_shared(encoder)
    require(not encoder.config.class_token, "the encoder uses its class token", "class_token false")
    projection = conditioner.config.get("projection")
    require(projection == "compat", f"the projection is {projection}", "projection compat")
    timed = unet.config.class_embed_type is not None
    weights = {
        **diffusion_weights(unet, first_stage, schedule, encoder.config.pool),
        **_named(brain_table(encoder.state_dict(), f"{CONDITION}mae."), encoder),
        # MinD-Vis keeps the mask token of stage A in its encoder and never reads it
        f"{CONDITION}mae.mask_token": torch.zeros(1, 1, encoder.config.embed_dim),
        **{
            name: weight
            for name, weight in _named(
                conditioner_table(conditioner.state_dict()), conditioner
            ).items()
            if timed or name.startswith(CONDITION)
        },
    }
    sizes = {name: encoder.config[name] for name in ENCODER_SIZES}
    switches = {"global_pool": encoder.config.pool, "use_time_cond": timed}
    return {
        "model_state_dict": weights,
        "config": Namespace(**{**STAGE_B, **(config or {}), **sizes, **switches}),
        "state": None,
    }


def export_ldm(
    conditioner: LabelConditioner,
    unet: UNet2DConditionModel,
    first_stage: VQModel,
    schedule: Mapping[str, Any],
) -> dict[str, Any]:
    """What a CompVis `model.ckpt` holds: state_dict.

    Args:
        conditioner: Of one context token a class.
        unet: Conditioned by cross-attention alone.
        first_stage: Vector-quantised.
        schedule: Configuration of the scheduler.

    Raises:
        CheckpointError: CompVis has nothing like one of the parts.
    """
    one = isinstance(conditioner, LabelConditioner) and conditioner.config.num_context_tokens == 1
    require(one, f"the conditioner is a {type(conditioner).__name__}", "one context token a class")
    plain = unet.config.class_embed_type is None
    require(plain, "the U-Net reads a pooled vector of the label", "cross-attention alone")
    weights = diffusion_weights(unet, first_stage, schedule, pooled=False)
    return {"state_dict": weights | _named(label_table(), conditioner)}


def diffusion_weights(
    unet: UNet2DConditionModel, first_stage: VQModel, schedule: Mapping[str, Any], pooled: bool
) -> dict[str, Tensor]:
    """Schedule, U-Net and first stage under CompVis' names.

    Raises:
        CheckpointError: CompVis has nothing like one of them.
    """
    kind = type(first_stage).__name__
    require(isinstance(first_stage, VQModel), f"the first stage is an {kind}", "a VQModel")
    require(
        first_stage.config.mid_block_add_attention,
        "the first stage has no attention in its middle",
        "a first stage with it",
    )
    groups = (unet.config.norm_num_groups, first_stage.config.norm_num_groups)
    require(groups == (32, 32), f"norms have {groups} groups", "32 in U-Net and first stage")
    predicts = schedule["prediction_type"]
    require(predicts == "epsilon", f"the U-Net predicts {predicts}", "epsilon, the noise")
    scaling = float(first_stage.config.scaling_factor)
    scaled = {} if scaling == 1 else {"scale_factor": torch.tensor(scaling)}
    levels = len(first_stage.config.block_out_channels)
    layers = unet.config.layers_per_block
    return {
        **schedule_buffers(schedule),
        **scaled,
        **_named(unet_table(unet.state_dict(), layers, pooled), unet),
        **_named(vq_table(first_stage.state_dict(), levels), first_stage),
    }


def _named(table: Mapping[str, Any], network: Any) -> dict[str, Tensor]:
    return export_weights(table, network.state_dict())
