"""Configurations that MinD-Vis' and CompVis' code read, for models of ours.

Values that their code reads and we do not know (paths, augmentation, sampling) are the published
ones, unless the model was imported from a file that had others.
"""

from collections.abc import Mapping
from typing import Any, Final

from diffusers import UNet2DConditionModel, VQModel

from mindvis.errors import CheckpointError

STAGE_A: Final[dict[str, Any]] = {
    "lr": 2.5e-4,
    "min_lr": 0.0,
    "weight_decay": 0.05,
    "num_epoch": 500,
    "warmup_epochs": 40,
    "batch_size": 100,
    "clip_grad": 0.8,
    "mask_ratio": 0.75,
    "root_path": ".",
    "output_path": ".",
    "seed": 2022,
    "roi": "VC",
    "aug_times": 1,
    "num_sub_limit": None,
    "include_hcp": True,
    "include_kam": True,
    "accum_iter": 1,
    "use_nature_img_loss": False,
    "img_recon_weight": 0.5,
    "focus_range": None,
    "focus_rate": 0.6,
    "local_rank": 0,
}
STAGE_B: Final[dict[str, Any]] = {
    "seed": 2022,
    "root_path": ".",
    "output_path": ".",
    "kam_path": "data/Kamitani/npz",
    "bold5000_path": "data/BOLD5000",
    "roi": "VC",
    "pretrain_gm_path": "pretrains/ldm/label2img",
    "pretrain_mbm_path": "pretrains/GOD/fmri_encoder.pth",
    "dataset": "GOD",
    "kam_subs": ["sbj_3"],
    "bold5000_subs": ["CSI1"],
    "img_size": 256,
    "batch_size": 5,
    "lr": 5.3e-5,
    "num_epoch": 500,
    "precision": 32,
    "accumulate_grad": 1,
    "crop_ratio": 0.2,
    "eval_avg": True,
    "num_samples": 5,
    "ddim_steps": 250,
    "HW": None,
    "model_meta": None,
    "checkpoint_path": None,
    "logger": None,
    "trainer": None,
}
ENCODER_SIZES: Final = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
DECODER_SIZES: Final = ("decoder_embed_dim", "decoder_depth", "decoder_num_heads")


def require(holds: bool, found: str, expected: str) -> None:
    """Refuse a model that MinD-Vis' code could not hold.

    Raises:
        CheckpointError: It does not hold.
    """
    if not holds:
        raise CheckpointError(f"{found}, and MinD-Vis has nothing like it", expected)


def compvis_config(
    unet: UNet2DConditionModel,
    first_stage: VQModel,
    schedule: Mapping[str, Any],
    classes: int | None = None,
) -> dict[str, Any]:
    """CompVis' `config.yaml` of these networks, for `label2img/`, with MinD-Vis' two additions.

    Args:
        unet: The denoiser.
        first_stage: Vector-quantised.
        schedule: Configuration of the scheduler.
        classes: Of the label-conditioned model; None for 1001.
    """
    channels, picture = unet.config.block_out_channels, first_stage.config.block_out_channels
    attends = [2**n for n, kind in enumerate(unet.config.down_block_types) if "CrossAttn" in kind]
    heads = unet.config.attention_head_dim
    width, size = unet.config.cross_attention_dim, unet.config.sample_size
    unet_params = {
        "image_size": size,
        "in_channels": unet.config.in_channels,
        "out_channels": unet.config.out_channels,
        "model_channels": channels[0],
        "attention_resolutions": attends,
        "num_res_blocks": unet.config.layers_per_block,
        "channel_mult": [count // channels[0] for count in channels],
        **_head_params(channels, heads),
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": width,
        "cond_scale": 1.0,
        "use_time_cond": unet.config.class_embed_type is not None,
        "global_pool": False,
    }
    latent = first_stage.config.latent_channels
    picture_params = {
        "double_z": False,
        "z_channels": latent,
        "resolution": size * 2 ** (len(picture) - 1),
        "in_channels": 3,
        "out_ch": 3,
        "ch": picture[0],
        "ch_mult": [count // picture[0] for count in picture],
        "num_res_blocks": first_stage.config.layers_per_block,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params = {
        "linear_start": schedule["beta_start"],
        "linear_end": schedule["beta_end"],
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": schedule["num_train_timesteps"],
        "first_stage_key": "image",
        "cond_stage_key": "fmri" if classes is None else "class_label",
        "image_size": size,
        "channels": unet.config.in_channels,
        "cond_stage_trainable": True,
        "conditioning_key": "crossattn",
        "monitor": "val/loss",
        "use_ema": False,
        "unet_config": _part("modules.diffusionmodules.openaimodel.UNetModel", unet_params),
        "first_stage_config": _part(
            "models.autoencoder.VQModelInterface",
            {
                "embed_dim": first_stage.config.vq_embed_dim,
                "n_embed": first_stage.config.num_vq_embeddings,
                "ddconfig": picture_params,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        ),
        "cond_stage_config": _part(
            "modules.encoders.modules.ClassEmbedder",
            {"n_classes": classes or 1001, "embed_dim": width, "key": "class_label"},
        ),
    }
    return {"model": _part("models.diffusion.ddpm.LatentDiffusion", params)}


def _part(target: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"target": f"dc_ldm.{target}", "params": dict(params)}


def _head_params(channels: tuple[int, ...], heads: int | tuple[int, ...]) -> dict[str, int]:
    """Heads in CompVis' way: one number for all levels, or channels of a head."""
    numbers = (heads,) * len(channels) if isinstance(heads, int) else tuple(heads)
    if len(set(numbers)) == 1:
        return {"num_heads": numbers[0]}
    widths = {width // number for width, number in zip(channels, numbers, strict=True)}
    require(len(widths) == 1, f"levels have {numbers} heads", "one number, or one width, of heads")
    return {"num_heads": -1, "num_head_channels": widths.pop()}
