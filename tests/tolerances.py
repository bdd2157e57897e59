"""How far two right computations of one number may lie apart, from the condition of the number.

Processors, BLAS paths and numbers of threads add in other orders and take other exponentials and
sines. Equality of bits is asserted of two runs on one machine with the same threads, and of numbers
that are only copied, compared or counted.
"""

import math

import torch
from torch import Tensor

SINGLE = torch.finfo(torch.float32).eps  # one float32 rounding of a number near one: 2^-23
DOUBLE = torch.finfo(torch.float64).eps

# Copies, comparisons and counts have no rounding.
EXACT = 0.0

# Sums of at most 288 products (3 x 3 convolutions of 32 channels), whose roundings add like the
# root of their number, through 25 layers that add theirs like the root of theirs: 85 roundings.
NETWORK = math.sqrt(288 * 25) * SINGLE

# What the tiny U-Nets' output (relative to its largest) and gradients (relative to each norm)
# change by when every sine of the time, at most 977, is off by `sinusoid`. Measured as the sum over
# the 32 sines: 1.24e-5 and 6.7e-5; `tests/test_goldens.py` measures the first again.
NETWORK_OF_TIME = NETWORK + 1.3e-5
GRADIENT_OF_TIME = NETWORK + 7e-5

# A product of 1,000 factors has one rounding a factor: noise schedules, learning rates.
THOUSAND_FACTORS = 1000 * DOUBLE
SINGLE_FACTORS = math.sqrt(1000) * SINGLE  # those of float32 add like the root of their number

# Box and Muller's draw sqrt(-2 ln u) cos(2 pi v): the largest radius times a rounding of the angle.
NORMAL_DRAW = math.sqrt(2 * 24 * math.log(2)) * 2 * math.pi * SINGLE


def sinusoid(t: Tensor) -> Tensor:
    """Error of sines of t x frequency, where the frequency has one float32 rounding: (T, 1).

    The rounding depends on the processor's exponential; the phase has t times as much, and the sine
    hands on at most that.
    """
    return (1 + t)[:, None] * SINGLE


def table_of_sines(places: int) -> float:
    """Error of float64 sines of place x frequency: four roundings of the largest phase."""
    return 4 * places * DOUBLE


def sampled(steps: int) -> float:
    """Error of latents after some steps of a float32 sampler, relative to the largest.

    The schedule has `SINGLE_FACTORS`, and each step five roundings that add like the root of the
    number of steps.
    """
    return SINGLE_FACTORS + 5 * math.sqrt(steps) * SINGLE


def adam_steps(rates: float, error: float | Tensor, gradient: Tensor) -> Tensor:
    """Error of weights after steps of Adam, which divides each gradient by its own size.

    Args:
        rates: Sum of the steps' learning rates.
        error: Error of a gradient.
        gradient: Least absolute gradient of each weight: where it is round-off, the step is free.
    """
    return 2 * rates * (error / gradient.abs().clamp(min=1e-30)).clamp(max=1)
