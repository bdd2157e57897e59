"""Frozen layers whose weights lie in memory at half precision.

A frozen layer has no gradient and no optimiser state; what is left of its cost is its weight. Here
it is held in 16 bits and widened when it is used, in the forward and again in the backward pass, so
that no wide copy waits in between. Nothing but the rounding of the weights is lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _FrozenLinear(torch.autograd.Function):
    """x W' + b with a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = x.dtype
        return F.linear(x, weight.to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,), (gradient,) = ctx.saved_tensors, gradients
        return (gradient @ weight.to(gradient.dtype)).to(ctx.dtype), None, None


class _FrozenConv2d(torch.autograd.Function):
    """A convolution with a gradient for its input alone."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.dtype, ctx.geometry = x.shape, x.dtype, geometry
        return F.conv2d(x, weight.to(x.dtype), bias, *geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,), (gradient,) = ctx.saved_tensors, gradients
        wide = weight.to(gradient.dtype)
        for_input = _convolution_backward(gradient, ctx.shape, wide, *ctx.geometry)
        return for_input.to(ctx.dtype), None, None, None


def _convolution_backward(
    gradient: Tensor,
    shape: torch.Size,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """Gradient of a convolution with respect to its input, which has this shape."""
    like = gradient.new_empty(1).expand(shape)
    none = [0] * len(stride)
    wanted = (True, False, False)
    arguments = (None, stride, padding, dilation, False, none, groups, wanted)
    found: Tensor = torch.ops.aten.convolution_backward(gradient, like, weight, *arguments)[0]
    return found


class FrozenLinear(nn.Linear):
    """A linear map whose weight is frozen, at any precision."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that nn.Linear has
        """Map (..., in) to (..., out) in the precision of the input."""
        mapped: Tensor = _FrozenLinear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return mapped


class FrozenConv2d(nn.Conv2d):
    """A convolution whose kernels are frozen, at any precision."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that nn.Conv2d has
        """Map (B, C, H, W) in the precision of the input."""
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        mapped: Tensor = _FrozenConv2d.apply(input, self.weight, self.bias, geometry)  # type: ignore[no-untyped-call]
        return mapped


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: FrozenLinear,
    nn.Conv2d: FrozenConv2d,
    FrozenLinear: FrozenLinear,
    FrozenConv2d: FrozenConv2d,
}


def store_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    """Hold the frozen matrices and kernels of a network in another precision.

    Weights that train, biases, norms and embeddings stay as they are. Names, and what is computed
    with, stay too.

    Args:
        module: After its parts were frozen.
        dtype: Of the weights in memory, such as `torch.bfloat16`.
    """
    for layer in module.modules():
        kind = _frozen_kind(layer)
        if kind is not None:
            layer.__class__ = kind
            weight = layer.get_parameter("weight")
            weight.data = weight.data.to(dtype)


@contextmanager
def widened(module: nn.Module) -> Iterator[None]:
    """Hold frozen weights in float32 for a while, such as to save them."""
    narrow = {
        m.weight.dtype for m in module.modules() if isinstance(m, FrozenLinear | FrozenConv2d)
    }
    for _ in narrow:
        store_frozen(module, torch.float32)
    yield
    for dtype in narrow:
        store_frozen(module, dtype)


def _frozen_kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class that a frozen layer gets; None where it trains or is of another kind."""
    kind = KINDS.get(type(layer))
    if kind is None or any(p.requires_grad for p in layer.parameters()):
        return None
    zeros = getattr(layer, "padding_mode", "zeros") == "zeros"
    return kind if zeros and not isinstance(getattr(layer, "padding", 0), str) else None
