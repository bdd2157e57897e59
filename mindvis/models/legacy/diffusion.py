"""Latent diffusion models of MinD-Vis and CompVis as stock parts of diffusers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.models.conditioning import BrainConditioner, LabelConditioner
from mindvis.models.denoiser import build_denoiser
from mindvis.models.encoder import BrainEncoder
from mindvis.models.legacy.accounts import Accounts
from mindvis.models.legacy.loading import (
    Checkpoint,
    Config,
    encoder_values,
    is_pooled,
    open_checkpoint,
    read_yaml,
    take_encoder,
)
from mindvis.models.legacy.names import (
    CONDITION,
    FIRST_STAGE,
    UNET,
    conditioner_table,
    label_table,
    unet_table,
    vq_table,
)
from mindvis.models.legacy.schedule import BUFFERS, noise_schedule
from mindvis.models.legacy.sizes import agree, number, section, shape, unet_sizes, vq_sizes
from mindvis.models.sampling import make_scheduler

# The label-conditioned model of CompVis has 1000 classes and, last, the empty one.
CLASSES_WITH_EMPTY: Final = 1001
NOT_USED: Final = {
    "model_ema.": "moving average of the U-Net, which MinD-Vis does not use",
    f"{FIRST_STAGE}loss.": "loss that the first stage was trained with",
    "logvar": "weights of noise levels in a loss, all of them equal",
    **dict.fromkeys(BUFFERS, "noise schedule, computed from its two ends"),
}


class MindVisModel(NamedTuple):
    """A latent diffusion model out of somebody's file.

    Attributes:
        encoder: Of brain responses; None in a model of labels.
        conditioner: Of brain tokens, or of labels.
        unet: The denoiser.
        first_stage: Between pictures and latents.
        scheduler: PLMS for brains, the schedule it was trained with for labels.
        checkpoint: What became of every tensor.
    """

    encoder: BrainEncoder | None
    conditioner: BrainConditioner | LabelConditioner
    unet: UNet2DConditionModel
    first_stage: VQModel
    scheduler: Any
    checkpoint: Checkpoint


def load_mindvis_ldm(
    path: str | os.PathLike[str], ldm_config: Config = None, encoder_config: Config = None
) -> MindVisModel:
    """The model in MinD-Vis' `checkpoint.pth` or `finetuned.pth`, or in CompVis' `model.ckpt`.

    Sizes come from the weights. Weights stay in the file until they are used.

    Args:
        path: The file.
        ldm_config: CompVis' `config.yaml`, or its content; when omitted the file of that name, or
            `<path>.yaml`, beside the checkpoint. Without any, the model must have the published
            sizes.
        encoder_config: Configuration of stage A, or the `fmri_encoder.pth` that has it; needed
            where the encoder is not of the published size.

    Raises:
        CheckpointError: The file is damaged, pickles something else, or is no such model; a tensor
            is missing, surplus or of another shape; a configuration contradicts the weights.
    """
    return ldm_in(open_checkpoint(path), ldm_config, encoder_config)


def ldm_in(
    checkpoint: Checkpoint, ldm_config: Config = None, encoder_config: Config = None
) -> MindVisModel:
    """As `load_mindvis_ldm`, of a file that is open."""
    accounts = checkpoint.accounts
    if checkpoint.kind == "encoder":
        raise CheckpointError(
            f"{accounts.file} is an encoder alone", "a checkpoint.pth or a model.ckpt"
        )
    ldm = ldm_values(ldm_config, Path(accounts.file))
    unet = take_unet(accounts, section(ldm, "unet_config", "params"))
    first_stage = take_first_stage(accounts, ldm)
    schedule = noise_schedule(accounts, ldm)
    if checkpoint.kind == "ldm":
        encoder, conditioner = None, take_labels(accounts)
        scheduler = DDPMScheduler(**schedule, clip_sample=False)
    else:
        config = checkpoint.config | encoder_values(encoder_config)
        encoder, conditioner = take_brain(accounts, config)
        scheduler = make_scheduler("plms", schedule)
    widths = {"context_dim": conditioner.config.context_dim}
    agree(widths, {"context_dim": unet.config.cross_attention_dim}, accounts.file)
    accounts.leave_prefixed(NOT_USED)
    accounts.close()
    return MindVisModel(encoder, conditioner, unet, first_stage, scheduler, checkpoint)


def ldm_values(source: Config, path: Path) -> dict[str, Any]:
    """Parameters of CompVis' LatentDiffusion; empty where there is no configuration.

    Raises:
        CheckpointError: The configuration is of something else.
    """
    if source is not None:
        content = source if isinstance(source, Mapping) else read_yaml(source)
        return _params(content) or _no_params(os.fspath(path))
    for file in (path.with_suffix(".yaml"), path.with_name("config.yaml")):
        if file.is_file() and (params := _params(read_yaml(file))):
            return params
    return {}


def _params(content: Mapping[str, Any]) -> dict[str, Any]:
    model = content.get("model")
    params = model.get("params") if isinstance(model, Mapping) else None
    return dict(params) if isinstance(params, Mapping) else {}


def _no_params(file: str) -> NoReturn:
    raise CheckpointError(
        f"the latent diffusion model's configuration for {file} has no model.params",
        "CompVis' config.yaml",
    )


def take_unet(accounts: Accounts, config: Mapping[str, Any]) -> UNet2DConditionModel:
    """The U-Net; its map of a pooled vector where it has one."""
    sizes = unet_sizes(accounts.weights, config, accounts.file)
    heads = sizes.pop("heads")
    direct = f"{UNET}time_embed_condtion.weight" in accounts.weights
    timed = direct or f"{UNET}time_embed_condtion.2.weight" in accounts.weights
    with torch.device("meta"):
        built = build_denoiser(
            **sizes, pooled_dim=sizes["context_dim"], attention_head_dim=None
        ).config
        changed: dict[str, Any] = {"attention_head_dim": heads}
        if not timed:
            changed |= {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
        unet = UNet2DConditionModel.from_config({**built, **changed})
    table = unet_table(unet.state_dict(), sizes["layers_per_block"], pooled=direct)
    accounts.take("unet", table, unet)
    return unet.eval()


def take_first_stage(accounts: Accounts, ldm: Mapping[str, Any]) -> VQModel:
    """The vector-quantised first stage, and the factor that its latents are scaled by."""
    sizes = vq_sizes(accounts.weights, accounts.file)
    first = sizes["block_out_channels"][0]
    agree(
        {
            "ch": first,
            "ch_mult": [channels // first for channels in sizes["block_out_channels"]],
            "num_res_blocks": sizes["layers_per_block"],
            "z_channels": sizes["latent_channels"],
        },
        section(ldm, "first_stage_config", "params", "ddconfig"),
        accounts.file,
    )
    scaling = float(number(ldm, "scale_factor", 1.0))
    stored = accounts.weights.get("scale_factor")
    if stored is not None and stored.numel() == 1:
        scaling = float(stored)
        accounts.used["scale_factor"] = "vae/config.json"
    levels = len(sizes["block_out_channels"])
    with torch.device("meta"):
        model = VQModel(
            **sizes,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            scaling_factor=scaling,
        )
    accounts.take("vae", vq_table(model.state_dict(), levels), model)
    return model.eval()


def take_brain(
    accounts: Accounts, config: Mapping[str, Any]
) -> tuple[BrainEncoder, BrainConditioner]:
    """Encoder and conditioner of a MinD-Vis pipeline."""
    pool = is_pooled(accounts)
    timed = any(name.startswith(f"{UNET}time_embed_condtion.") for name in accounts.weights)
    agree({"global_pool": pool, "use_time_cond": timed}, config, accounts.file)
    encoder = take_encoder(accounts, f"{CONDITION}mae.", config, pool)
    context_dim = shape(accounts.weights, f"{CONDITION}dim_mapper.weight", accounts.file, 2)[0]
    mixed = f"{CONDITION}channel_mapper.1.weight"
    with torch.device("meta"):
        conditioner = BrainConditioner(
            num_tokens=encoder.num_tokens,
            embed_dim=encoder.config.embed_dim,
            context_dim=context_dim,
            pooled_dim=context_dim,
            num_context_tokens=1 if pool else shape(accounts.weights, mixed, accounts.file, 3)[0],
            projection="compat",
            guidable=False,
        )
    table = conditioner_table(conditioner.state_dict())
    if not timed:  # the U-Net reads no pooled vector
        table = {n: p for n, p in table.items() if not n.startswith("mapping.pooled_maps.")}
    accounts.take("conditioner", table, conditioner)
    fill(accounts, conditioner, "zeros: MinD-Vis has none", {})
    return encoder, conditioner.eval()


def take_labels(accounts: Accounts) -> LabelConditioner:
    """CompVis' table of classes; its last one of 1001 is the empty condition."""
    (place,) = label_table().values()
    classes, context_dim = shape(accounts.weights, place.name, accounts.file, 2)
    with torch.device("meta"):
        conditioner = LabelConditioner(classes, context_dim, context_dim)
    accounts.take("conditioner", label_table(), conditioner)
    known: dict[str, Tensor] = {}
    if classes == CLASSES_WITH_EMPTY:
        known = {"empty.context": conditioner.context_table.weight[-1:].detach().clone()}
    fill(accounts, conditioner, "zeros: CompVis has none", known)
    return conditioner.eval()


def fill(accounts: Accounts, network: nn.Module, why: str, known: Mapping[str, Tensor]) -> None:
    """Give weights that the file does not have their values, and list them.

    Args:
        accounts: Where they are listed.
        network: A conditioner, with the file's weights in it.
        why: What the others are set to.
        known: Values that follow from the file's.
    """
    absent = [name for name, weight in network.state_dict().items() if weight.is_meta]
    values = {
        name: known.get(name, torch.zeros(network.state_dict()[name].shape)) for name in absent
    }
    network.load_state_dict(values, strict=False, assign=True)
    for name in absent:
        how = "the last class of the table" if name in known else why
        accounts.made_here[f"conditioner/{name}"] = how
