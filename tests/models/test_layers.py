"""The transformer parts against explicit softmax and loops."""

import numpy as np
import pytest
import torch

from mindvis.errors import ConfigError, DataError
from mindvis.models.layers import (
    Attention,
    Block,
    Blocks,
    Trunk,
    initialise,
    patchify,
    sincos_positions,
)
from tests.models.upstream import close


def explicit_attention(attention, tokens):
    """The formula with the matrix of probabilities written out."""
    batch, length, dim = tokens.shape
    heads = attention.num_heads
    query, key, value = (
        part.reshape(batch, length, heads, dim // heads).transpose(1, 2)
        for part in attention.qkv(tokens).chunk(3, dim=-1)
    )
    scores = query @ key.transpose(-1, -2) / (dim / heads) ** 0.5
    mixed = scores.softmax(dim=-1) @ value
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, dim))


def explicit_block(block, tokens):
    tokens = tokens + explicit_attention(block.attn, block.norm1(tokens))
    hidden = block.mlp.fc1(block.norm2(tokens))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return tokens + block.mlp.fc2(hidden)


def test_positions_follow_the_formula():
    table = sincos_positions(num_patches=7, dim=6, class_token=False)
    for place in range(7):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert table[place, i].item() == pytest.approx(np.sin(angle), abs=1e-14)
            assert table[place, 3 + i].item() == pytest.approx(np.cos(angle), abs=1e-14)


def test_attention_equals_the_formula_with_gradients():
    torch.manual_seed(0)
    attention = Attention(dim=12, num_heads=3).double()
    fused = torch.randn(2, 7, 12, dtype=torch.float64, requires_grad=True)
    plain = fused.detach().clone().requires_grad_()
    ours, theirs = (
        attention(fused.flatten(0, 1), 2).view_as(fused),
        explicit_attention(attention, plain),
    )
    assert close(ours, theirs.detach(), 1e-12)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    assert close(fused.grad, plain.grad, 1e-12)


def test_block_reuses_memory_without_changing_a_gradient():
    torch.manual_seed(1)
    block = Block(dim=10, num_heads=5, mlp_ratio=1.5).double()
    fused = torch.randn(3, 4, 10, dtype=torch.float64, requires_grad=True)
    plain = fused.detach().clone().requires_grad_()
    ours = torch.autograd.grad(block(fused).square().sum(), [fused, *block.parameters()])
    theirs = torch.autograd.grad(
        explicit_block(block, plain).square().sum(), [plain, *block.parameters()]
    )
    for our, their in zip(ours, theirs, strict=True):
        # the key's third of the qkv bias has a gradient of zero up to round-off
        assert (our - their).abs().max() <= 1e-11 * max(1.0, their.abs().max().item())


def test_a_block_leaves_its_input_alone():
    block = Block(dim=4, num_heads=2, mlp_ratio=1.0)
    tokens = torch.randn(2, 3, 4)
    before = tokens.clone()
    block(tokens)
    assert torch.equal(tokens, before)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="width 10 has 4 heads; expected an even width"):
        Blocks(10, 1, 4, 1.0)
    with pytest.raises(ConfigError, match="70 voxels cuts them into patches of 16"):
        Trunk(70, 16, 8, 1, 2, 1.0)


def test_other_voxel_counts_are_refused():
    trunk = Trunk(24, 8, 6, 1, 3, 1.0)
    with pytest.raises(DataError, match="have 16 voxels; expected 24"):
        trunk.check(torch.zeros(2, 16))


def test_embedding_places_each_patch_where_it_belongs():
    trunk = Trunk(num_voxels=20, patch_size=4, embed_dim=6, depth=0, num_heads=2, mlp_ratio=1.0)
    patches = patchify(torch.randn(2, 20), 4)
    index = torch.tensor([[3, 0], [1, 4]])
    some = trunk.embed(patches, index)
    every = trunk.embed(patches)
    assert torch.allclose(some[0], every[0, [3, 0]])
    assert torch.allclose(some[1], every[1, [1, 4]])


@pytest.mark.parametrize("weights", ["shared", "own"])
def test_maps_start_within_xaviers_bounds(weights):
    torch.manual_seed(0)
    trunk = Trunk(96, 8, 24, 1, 3, 1.0, weights)
    initialise(trunk)
    bound = (6 / (8 + 24)) ** 0.5
    largest = trunk.patch_embed.weight.abs().max().item()
    assert 0.95 * bound < largest <= bound
    assert trunk.class_token.std().item() == pytest.approx(0.02, rel=0.4)
    assert trunk.patch_embed.bias.abs().max() == 0
