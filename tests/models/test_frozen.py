"""Frozen layers in half precision: what they compute, what they keep, what they send back."""

import copy

import pytest
import torch
from torch import nn

from mindvis.models.frozen import FrozenConv2d, FrozenLinear, store_frozen, widened

LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (2, 7, 5)),
    "no bias": (lambda: nn.Linear(5, 3, bias=False), (4, 5)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_result_and_gradient_are_those_of_the_rounded_weight(name):
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer = build().requires_grad_(False)
    rounded = copy.deepcopy(layer)
    rounded.weight.data = rounded.weight.data.bfloat16().float()
    store_frozen(layer, torch.bfloat16)
    assert layer.weight.dtype == torch.bfloat16
    x = torch.randn(shape)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    after, expected = layer(ours), rounded(theirs)
    torch.testing.assert_close(after, expected)
    direction = torch.randn_like(expected)
    after.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_nothing_wide_is_kept_for_the_backward_pass():
    layer = nn.Linear(64, 64).requires_grad_(False)
    store_frozen(layer, torch.bfloat16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(2, 64, requires_grad=True))
    assert [tensor.dtype for tensor in kept] == [torch.bfloat16]


def test_what_trains_and_what_is_no_map_stays_as_it_is():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(4, 3))
    network.requires_grad_(False)[0].requires_grad_(True)
    names = list(network.state_dict())
    store_frozen(network, torch.bfloat16)
    assert [type(part) for part in network[:2]] == [nn.Linear, FrozenLinear]
    wide = [name for name, p in network.named_parameters() if p.dtype == torch.float32]
    assert wide == [name for name in names if name != "1.weight"]
    assert list(network.state_dict()) == names


def test_weights_can_be_widened_again():
    layer = nn.Conv2d(2, 3, 3).requires_grad_(False)
    rounded = layer.weight.bfloat16().float()
    store_frozen(layer, torch.bfloat16)
    store_frozen(layer, torch.float32)
    assert isinstance(layer, FrozenConv2d)
    assert torch.equal(layer.weight, rounded)


def test_widened_for_a_while():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).requires_grad_(False)
    store_frozen(network, torch.bfloat16)
    before = [p.clone() for p in network.parameters()]
    with widened(network):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    plain = nn.Linear(3, 3).requires_grad_(False)
    with widened(plain):
        assert type(plain) is nn.Linear


def test_autocast_computes_in_its_own_precision():
    layer = nn.Linear(5, 3).requires_grad_(False)
    store_frozen(layer, torch.bfloat16)
    x = torch.randn(2, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        after = layer(x)
    assert after.dtype == torch.bfloat16
    after.sum().backward()
    assert x.grad.dtype == torch.float32
