"""Learning-rate schedule, weight-decay groups and moving averages, as plain functions."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Schedule = Literal["cosine", "cosine_from_zero", "constant"]
Decayed = Literal["matrices", "tokens", "all"]
NO_DECAY = ("bias", "token", "null", "query", "queries", "pos_embed", "position")


def warmup_cosine(
    step: int, *, total: int, warmup: int, floor: float = 0.0, schedule: Schedule = "cosine"
) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to `floor`.

    Args:
        step: Optimiser steps taken.
        total: Steps of the whole run.
        warmup: Steps of the warm-up; the factor is 1 at its end.
        floor: The factor at the end of the run.
        schedule: "cosine_from_zero" has a factor of 0 at the first step, as MinD-Vis' stage A, and
            so wastes it; "constant" does not fall after the warm-up, as its stage B.

    Returns:
        A factor between 0 and 1.
    """
    if step < warmup:
        return (step + (schedule != "cosine_from_zero")) / warmup
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def decays(name: str, parameter: nn.Parameter, decayed: Decayed = "matrices") -> bool:
    """Whether weight decay applies.

    Args:
        name: Of the parameter.
        parameter: To be decayed or not.
        decayed: "matrices" are matrices and kernels; "tokens" adds learned tokens, as MinD-Vis'
            stage A; "all" adds biases and norms, as its stage B.
    """
    if decayed == "all" or parameter.ndim < 2:
        return decayed == "all"
    leaf = name.rsplit(".", 1)[-1]
    is_token = ".empty." in name or any(word in leaf for word in NO_DECAY)
    return decayed == "tokens" or not is_token


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    decayed: Decayed = "matrices",
) -> list[dict[str, Any]]:
    """Two optimiser groups, with and without weight decay, of the parameters that train.

    Args:
        parameters: Names and parameters; those without `requires_grad` are left out.
        lr: Learning rate of both groups.
        weight_decay: Decay of the first group.
        decayed: What the first group holds; see `decays`.

    Returns:
        Groups for an optimiser; an empty group is left out.
    """
    trained = [(name, p) for name, p in parameters if p.requires_grad]
    split = {True: weight_decay, False: 0.0}
    groups = [
        {
            "params": [p for n, p in trained if decays(n, p, decayed) is on],
            "lr": lr,
            "weight_decay": decay,
        }
        for on, decay in split.items()
    ]
    return [group for group in groups if group["params"]]


def ema_decay(updates: int, decay: float) -> float:
    """Decay of an exponential moving average that starts short: min(decay, (1 + n) / (10 + n))."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(averages: list[Tensor], values: list[Tensor], decay: float) -> None:
    """Move the averages towards the values in place: a <- decay a + (1 - decay) v."""
    torch._foreach_lerp_(averages, values, 1 - decay)
