"""The noise schedule in CompVis' files: 1000 betas, linear in their square root, and what follows.

Symbols of "Denoising diffusion probabilistic models" (2020): alpha = 1 - beta, abar its running
product, the posterior of a step has variance beta (1 - abar before) / (1 - abar).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.legacy.accounts import Accounts
from mindvis.models.legacy.sizes import PUBLISHED_BETAS, number
from mindvis.models.schedules import noise_betas

BUFFERS: Final = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
)


def noise_schedule(accounts: Accounts, ldm: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule as a diffusers scheduler takes it.

    Args:
        accounts: Weights, the betas among them where the file has them.
        ldm: Parameters of CompVis' LatentDiffusion.

    Raises:
        CheckpointError: The betas are no straight line in their square root, contradict the
            configuration, or the network predicts something else than noise.
    """
    start = float(number(ldm, "linear_start", PUBLISHED_BETAS[0]))
    end = float(number(ldm, "linear_end", PUBLISHED_BETAS[1]))
    steps = int(number(ldm, "timesteps", 1000))
    if ldm.get("parameterization", "eps") != "eps":
        raise CheckpointError(
            f"{accounts.file} predicts {ldm['parameterization']}", "a model that predicts noise"
        )
    stored = accounts.weights.get("betas")
    if stored is not None and stored.ndim == 1 and len(stored) and "linear_start" not in ldm:
        start, end, steps = _ends(stored, (start, end))
    if stored is not None and not _agree(stored, _betas(start, end, steps)):
        raise CheckpointError(
            f"the betas in {accounts.file} are not linear in their square root from {start:g} to "
            f"{end:g}",
            "the noise schedule of its configuration",
            "give the config.yaml it was trained with",
        )
    return {
        "num_train_timesteps": steps,
        "beta_schedule": "scaled_linear",
        "beta_start": start,
        "beta_end": end,
        "prediction_type": "epsilon",
    }


def _ends(stored: Tensor, published: tuple[float, float]) -> tuple[float, float, int]:
    """First and last beta and their number; the published digits where they are those."""
    ends = (float(stored[0]), float(stored[-1]))
    start, end = published if np.allclose(ends, published, rtol=1e-5) else ends
    return start, end, len(stored)


def _agree(stored: Tensor, expected: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    return stored.shape == expected.shape and bool(np.allclose(stored, expected, rtol=1e-5))


def _betas(start: float, end: float, steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return noise_betas("scaled_linear", steps, start, end).numpy()


def schedule_buffers(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """What CompVis' model keeps of its schedule, float32.

    Args:
        config: Of a diffusers scheduler.

    Raises:
        CheckpointError: CompVis has no such schedule.
    """
    if config["beta_schedule"] != "scaled_linear" or config.get("trained_betas") is not None:
        raise CheckpointError(
            f"the model was trained with a {config['beta_schedule']} noise schedule of its own",
            "scaled_linear, which MinD-Vis has",
        )
    beta = _betas(config["beta_start"], config["beta_end"], config["num_train_timesteps"])
    abar = np.cumprod(1 - beta)
    before = np.append(1.0, abar[:-1])
    variance = beta * (1 - before) / (1 - abar)
    values = {
        "betas": beta,
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(abar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - abar),
        "log_one_minus_alphas_cumprod": np.log(1 - abar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / abar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / abar - 1),
        "posterior_variance": variance,
        # the first step's is 0, whose logarithm nothing can hold
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": beta * np.sqrt(before) / (1 - abar),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - beta) / (1 - abar),
    }
    return {name: torch.from_numpy(value).float() for name, value in values.items()}
