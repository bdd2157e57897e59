"""Sampling: stock schedulers by name, and the loop from noise to latents in a dozen lines."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from mindvis.errors import ConfigError, one_of

SchedulerName = Literal["dpm", "ddim", "plms", "unipc"]
Generators = torch.Generator | list[torch.Generator] | None

# What a network was trained on; everything else about a scheduler is the sampler's own affair.
_TRAINED = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
# The choices that reproduce latent diffusion's own samplers: timesteps 1, 1 + T/n, ..., the last
# alpha taken from the schedule, no clipping (latents are not confined to [-1, 1]).
_LEADING = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
# Spaced evenly in noise level after Karras et al. 2022, equation 5: where data have a tenth of the
# noise's spread, 25 steps evenly spaced in time keep a third of that spread, these keep 0.93 of it.
_KARRAS = {"use_karras_sigmas": True, "timestep_spacing": "linspace", "solver_order": 2}

_SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm": (DPMSolverMultistepScheduler, {**_KARRAS, "algorithm_type": "dpmsolver++"}),
    "ddim": (DDIMScheduler, {**_LEADING, "clip_sample": False}),
    "plms": (PNDMScheduler, {**_LEADING, "skip_prk_steps": True}),
    "unipc": (UniPCMultistepScheduler, _KARRAS),
}


def make_scheduler(name: str, base_config: Mapping[str, Any]) -> Any:
    """A stock scheduler for the noise schedule that a network was trained on.

    Args:
        name: "dpm" (DPM-Solver++ of order 2), "ddim", "plms" (diffusers' PNDM without its
            Runge-Kutta steps) or "unipc".
        base_config: Configuration of the scheduler saved with the model; only its noise schedule
            and prediction type are taken over, so the sampler is the same whatever was saved.

    Returns:
        The scheduler.

    Raises:
        ConfigError: The name is none of the four.
    """
    if name not in _SCHEDULERS:
        choices = one_of("the scheduler", name, get_args(SchedulerName))
        raise ConfigError(f"there is no scheduler {name!r}", choices)
    scheduler_class, own = _SCHEDULERS[name]
    trained = {key: base_config[key] for key in _TRAINED if key in base_config}
    betas = base_config.get("trained_betas")
    return scheduler_class.from_config({**trained, **own, "trained_betas": betas})


def set_steps(scheduler: Any, num_steps: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Put the scheduler at the start of a run of `num_steps` and return its timesteps.

    Refused are counts that the scheduler would answer with an index error, and counts whose
    timesteps, spaced by a whole number, would leave out more than a tenth of the noisy end: pure
    noise would then be taken for a half-denoised picture.

    Args:
        scheduler: A diffusers scheduler.
        num_steps: Number of denoising steps.
        device: Where the timesteps go.

    Returns:
        Timesteps in the order of the run, one per network evaluation.

    Raises:
        ConfigError: The scheduler cannot do this number of steps.
    """
    total = int(scheduler.config.num_train_timesteps)
    name = type(scheduler).__name__
    if not 1 <= num_steps <= total:
        raise ConfigError(
            f"{num_steps} sampling steps were asked of a model of {total} timesteps",
            f"a number of steps from 1 to {total}",
        )
    scheduler.set_timesteps(num_steps, device=device)
    if hasattr(scheduler, "set_begin_index"):
        # else the first step is looked up by its timestep, which a fine run visits twice
        scheduler.set_begin_index(0)
    first, ratio = int(scheduler.timesteps.max()), total // num_steps
    left_out = total - first > max(1.5 * ratio, total / 10)
    if first >= total or left_out:
        raise ConfigError(
            f"{name} cannot do {num_steps} steps of a model of {total} timesteps: "
            f"it would start at timestep {first} in steps of {ratio}",
            remedy=f"take a number that divides {total}, such as {_near_divisor(total, num_steps)}",
        )
    return scheduler.timesteps


def denoise(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scheduler: Any,
    latents: torch.Tensor,
    num_steps: int,
    *,
    eta: float = 0.0,
    generator: Generators = None,
    on_step: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Walk from noise to latents: predict the noise, let the scheduler take a step, repeat.

    Args:
        predict: (latents (batch, ...), timestep) -> predicted noise of the same shape.
        scheduler: A diffusers scheduler.
        latents: Standard normal noise.
        num_steps: Number of denoising steps.
        eta: Share of fresh noise in each DDIM step, 0 (deterministic) to 1 (as in DDPM).
        generator: Source of that fresh noise, one for the batch or one per image.
        on_step: Called after each step with (step index, timestep, latents); returns the latents
            to go on with.

    Returns:
        The denoised latents, of the shape of `latents`.

    Raises:
        ConfigError: The scheduler cannot do this number of steps, or has no `eta`.
    """
    timesteps = set_steps(scheduler, num_steps, latents.device)
    options = _step_options(scheduler, eta, generator)
    latents = latents * scheduler.init_noise_sigma
    for index, timestep in enumerate(timesteps):
        noise = predict(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(noise, timestep, latents, **options).prev_sample
        if on_step is not None:
            latents = on_step(index, timestep, latents)
    return latents


def guide(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance: u + s (c - u); Ho and Salimans 2022, equation 6, s = 1 + w."""
    return unconditional + scale * (conditional - unconditional)


def check_eta(scheduler: Any, eta: float) -> None:
    """Refuse a non-zero `eta` for a scheduler whose step adds no noise."""
    if eta and "eta" not in inspect.signature(scheduler.step).parameters:
        raise ConfigError(
            f"eta is {eta}, but {type(scheduler).__name__} adds no noise of its own",
            "eta to be 0",
            "choose the ddim scheduler for stochastic sampling",
        )


def _step_options(scheduler: Any, eta: float, generator: Generators) -> dict[str, Any]:
    """The keyword arguments that this scheduler's `step` understands."""
    check_eta(scheduler, eta)
    known = inspect.signature(scheduler.step).parameters
    offered = {"eta": eta, "generator": generator}
    return {name: value for name, value in offered.items() if name in known}


def _near_divisor(total: int, number: int) -> int:
    """The divisor of `total`, below `total` itself, that is nearest to `number`."""
    divisors = (k for k in range(1, total) if total % k == 0)
    return min(divisors, key=lambda k: abs(k - number), default=1)
