"""Checkpoint files as MinD-Vis and CompVis write them, small, with random weights."""

import os
import sys
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch

from tests.models import reference

VOXELS, PATCH, WIDTH, DEPTH, HEADS = 160, 16, 32, 2, 4
THIN, THIN_DEPTH, THIN_HEADS = 16, 3, 2
CONTEXT, BASE, CODES, PIXELS = 24, 32, 16, 16
ENCODER_SIZES = {
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "depth": DEPTH,
    "num_heads": HEADS,
    "mlp_ratio": 2.0,
    "decoder_embed_dim": THIN,
    "decoder_num_heads": THIN_HEADS,
}


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@contextmanager
def module(name, **content):
    """A module of this name while the block runs, as the file's writer had one."""
    made = ModuleType(name)
    for key, value in content.items():
        setattr(made, key, value)
    before = sys.modules.get(name)
    sys.modules[name] = made
    try:
        yield made
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def config_class(name, module_name="config"):
    return type(name, (), {"__module__": module_name, "__qualname__": name})


def save(path, content, config=None, class_name="Config_MBM_fMRI"):
    """`torch.save` of the content, its configuration an instance of a class of module `config`."""
    cls = config_class(class_name)
    with module("config", **{class_name: cls}):
        if config is not None:
            instance = cls()
            vars(instance).update(config)
            content = {**content, "config": instance}
        torch.save(content, path)
    return path


def mae_weights(seed=0):
    shapes = reference.mae_shapes(
        VOXELS // PATCH, PATCH, WIDTH, DEPTH, 2 * WIDTH, THIN, THIN_DEPTH, 2 * THIN
    )
    return reference.random_weights(shapes, seed)


def optimizer_state(weights):
    """As AdamW keeps it: moments of each weight, groups, a rate that numpy computed."""
    moments = {
        n: {"step": n, "exp_avg": w * 2, "exp_avg_sq": w**2} for n, w in enumerate(weights.values())
    }
    groups = [{"lr": np.float64(2.5e-4), "betas": (0.9, 0.95), "params": list(moments)}]
    return {"state": moments, "param_groups": groups}


def save_encoder(path, weights=None, config=None, **more):
    weights = mae_weights() if weights is None else weights
    content = {
        "model": weights,
        "optimizer": optimizer_state(weights),
        "epoch": 499,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        **more,
    }
    values = ENCODER_SIZES | {"roi": "VC", "focus_range": None, "lr": np.float64(2.5e-4)}
    return save(path, content, values if config is None else config)


def buffers():
    """What a latent diffusion model keeps of its noise schedule."""
    betas = reference.betas()
    abar = np.cumprod(1 - betas)
    before = np.append(1.0, abar[:-1])
    variance = betas * (1 - before) / (1 - abar)
    values = {
        "betas": betas,
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": abar**0.5,
        "sqrt_one_minus_alphas_cumprod": (1 - abar) ** 0.5,
        "log_one_minus_alphas_cumprod": np.log(1 - abar),
        "sqrt_recip_alphas_cumprod": (1 / abar) ** 0.5,
        "sqrt_recipm1_alphas_cumprod": (1 / abar - 1) ** 0.5,
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * before**0.5 / (1 - abar),
        "posterior_mean_coef2": (1 - before) * (1 - betas) ** 0.5 / (1 - abar),
    }
    return {name: torch.from_numpy(value).float() for name, value in values.items()}


def prefixed(prefix, weights):
    return {prefix + name: w for name, w in weights.items()}


def unet_weights(time="tokens", seed=1):
    shapes = reference.unet_shapes(BASE, (1, 2), 1, (False, True), CONTEXT, time=time)
    return reference.random_weights(shapes, seed)


def vq_weights(seed=2):
    return reference.random_weights(reference.vq_shapes(BASE, (1, 2), 1, 3, CODES), seed)


def condition_weights(seed=3, pooled=False):
    shapes = reference.condition_shapes(VOXELS // PATCH, WIDTH, CONTEXT)
    if pooled:
        shapes = {name: s for name, s in shapes.items() if name.startswith("dim_mapper")}
    encoder = reference.encoder_shapes(VOXELS // PATCH, PATCH, WIDTH, DEPTH, 2 * WIDTH)
    mae = reference.random_weights(encoder | {"mask_token": (1, 1, WIDTH)}, seed)
    return prefixed("mae.", mae) | reference.random_weights(shapes, seed + 10)


def pipeline_weights(time="tokens", pooled=False):
    return (
        buffers()
        | prefixed("model.diffusion_model.", unet_weights(time))
        | prefixed("first_stage_model.", vq_weights())
        | prefixed("cond_stage_model.", condition_weights(pooled=pooled))
    )


def save_pipeline(path, weights=None, **config):
    values = {"patch_size": PATCH, "global_pool": False, "use_time_cond": True, "dataset": "GOD"}
    content = {
        "model_state_dict": pipeline_weights() if weights is None else weights,
        "state": torch.random.get_rng_state(),
    }
    return save(path, content, values | config, "Config_Generative_Model")


def ldm_config(**unet):
    """CompVis' config.yaml, of the parts above."""
    first_stage = {
        "embed_dim": 3,
        "n_embed": CODES,
        "ddconfig": {
            "z_channels": 3,
            "resolution": PIXELS,
            "in_channels": 3,
            "out_ch": 3,
            "ch": BASE,
            "ch_mult": [1, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [],
        },
    }
    sizes = {
        "image_size": PIXELS // 2,
        "in_channels": 3,
        "model_channels": BASE,
        "attention_resolutions": [2],
        "num_res_blocks": 1,
        "channel_mult": [1, 2],
        "num_heads": 1,
        "context_dim": CONTEXT,
    }
    params = {
        "linear_start": 0.0015,
        "linear_end": 0.0195,
        "timesteps": 1000,
        "image_size": PIXELS // 2,
        "channels": 3,
        "unet_config": {"params": sizes | unet},
        "first_stage_config": {"params": first_stage},
        "cond_stage_config": {"params": {"n_classes": 11, "embed_dim": CONTEXT}},
    }
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}


def unet_config(**params):
    """A configuration that says this of the U-Net, and nothing else."""
    return {"model": {"params": {"unet_config": {"params": params}}}}


def ldm_weights(classes=11):
    table = torch.randn(classes, CONTEXT, generator=torch.Generator().manual_seed(5))
    unet = unet_weights(time=None)
    ema = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    ema |= {f"model_ema.diffusion_model{name.replace('.', '')}": w + 1 for name, w in unet.items()}
    return (
        buffers()
        | prefixed("model.diffusion_model.", unet)
        | ema
        | prefixed("first_stage_model.", vq_weights())
        | {"cond_stage_model.embedding.weight": table}
    )


def save_ldm(path, weights=None):
    """As Lightning wrote it: callbacks by class, optimisers, schedules."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    cls = config_class("ModelCheckpoint", name)
    content = {
        "epoch": 23,
        "global_step": 178000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": ldm_weights() if weights is None else weights,
        "callbacks": {cls: {"monitor": "val/loss", "best_model_score": torch.tensor(0.15)}},
        "optimizer_states": [optimizer_state({"w": torch.ones(3)})],
        "lr_schedulers": [{"last_epoch": 178000, "_last_lr": [np.float64(1e-4)]}],
    }
    packages = module("pytorch_lightning"), module("pytorch_lightning.callbacks")
    with packages[0], packages[1], module(name, ModelCheckpoint=cls):
        torch.save(content, path)
    return path
