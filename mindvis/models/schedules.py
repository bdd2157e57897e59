"""Noise schedules of diffusion models, in double precision."""

import math
from typing import Literal

import torch
from torch import Tensor

from mindvis.errors import ConfigError

NoiseSchedule = Literal["scaled_linear", "linear", "cosine", "square_root"]
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999


def noise_betas(
    schedule: NoiseSchedule = "scaled_linear",
    num_levels: int = 1000,
    beta_start: float = 0.0015,
    beta_end: float = 0.0195,
) -> Tensor:
    """Variance of the noise that each step of the forward process adds.

    Args:
        schedule: "scaled_linear" has evenly spaced square roots (latent diffusion, where it is
            called "linear"); "linear" evenly spaced betas (Ho et al. 2020; there "sqrt_linear");
            "cosine" is that of Nichol and Dhariwal 2021, equation 17, and takes neither end;
            "square_root" the square roots of evenly spaced numbers (there "sqrt").
        num_levels: Number of noise levels.
        beta_start: First beta; of "square_root" its square.
        beta_end: Last beta; of "square_root" its square.

    Returns:
        float64 (num_levels,).

    Raises:
        ConfigError: There is no such schedule.
    """
    if schedule == "cosine":
        return _cosine(num_levels)
    even = torch.linspace(beta_start, beta_end, num_levels, dtype=torch.float64)
    if schedule == "linear":
        return even
    if schedule == "square_root":
        return even.sqrt()
    if schedule == "scaled_linear":
        ends = math.sqrt(beta_start), math.sqrt(beta_end)
        return torch.linspace(*ends, num_levels, dtype=torch.float64).square()
    raise ConfigError(
        f"the noise schedule is {schedule!r}", "scaled_linear, linear, cosine or square_root"
    )


def _cosine(num_levels: int) -> Tensor:
    """1 - f(t + 1) / f(t) with f(t) = cos((t / T + s) / (1 + s) pi / 2) squared, at most .999."""
    time = torch.arange(num_levels + 1, dtype=torch.float64) / num_levels
    signal = ((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square()
    return (1 - signal[1:] / signal[:-1]).clamp(0, LARGEST_BETA)
