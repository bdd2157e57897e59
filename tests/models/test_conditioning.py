"""Conditioners: the contract that all share, and what starts at zero."""

import pytest
import torch
from torch.nn.functional import gelu

from mindvis.errors import ConfigError
from mindvis.models.conditioning import (
    BrainConditioner,
    Conditioning,
    LabelConditioner,
    drop_condition,
)
from tests.models.upstream import close

PROJECTIONS = ["attention", "linear", "compat"]


def brain_conditioner(projection, pooled_dim=12):
    torch.manual_seed(0)
    return BrainConditioner(
        num_tokens=7,
        embed_dim=10,
        context_dim=12,
        pooled_dim=pooled_dim,
        num_context_tokens=5,
        projection=projection,
        num_heads=3,
    )


def test_attention_projection_equals_the_formula():
    mapping = brain_conditioner("attention").mapping
    tokens = torch.randn(2, 7, 10)
    normed = mapping.norm_tokens(tokens)
    query = mapping.to_q(mapping.norm_queries(mapping.queries)).view(6, 3, 4)
    key, value = mapping.to_kv(normed).chunk(2, dim=-1)
    key, value = key.view(2, 7, 3, 4), value.view(2, 7, 3, 4)
    weights = (torch.einsum("shd,bthd->bhst", query, key) / 4**0.5).softmax(-1)
    read = torch.einsum("bhst,bthd->bshd", weights, value).reshape(2, 6, 12)
    mixed = mapping.queries + mapping.to_out(read)
    mixed = mapping.norm_out(mixed + mapping.mlp(mapping.norm_mlp(mixed)))
    assert close(mapping(tokens).context, mixed[:, :-1].detach())


def test_linear_projection_equals_the_formula():
    mapping = brain_conditioner("linear").mapping
    tokens = torch.randn(2, 7, 10)
    mixed = torch.einsum("st,btd->bsd", mapping.mix.weight, mapping.norm(tokens))
    mixed = gelu(mixed + mapping.mix.bias[:, None])
    expected = mixed[:, :5] @ mapping.to_context.weight.T + mapping.to_context.bias
    assert close(mapping(tokens).context, expected.detach())


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_every_conditioner_keeps_the_contract(projection, tmp_path):
    conditioner = brain_conditioner(projection)
    tokens = torch.randn(3, 7, 10)
    conditioning, null = conditioner(tokens), conditioner.null(3)
    assert conditioning.context.shape == null.context.shape == (3, 5, 12)
    assert conditioning.pooled.shape == null.pooled.shape == (3, 12)
    conditioner.save_pretrained(tmp_path)
    loaded = BrainConditioner.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    assert torch.equal(loaded(tokens).context, conditioning.context)
    assert torch.equal(loaded(tokens).pooled, conditioning.pooled)


def test_the_token_of_a_pooled_encoder_is_the_pooled_vector_too():
    conditioner = BrainConditioner(1, 10, 12, 12, 1, projection="compat")
    tokens = torch.randn(3, 1, 10)
    context, pooled = conditioner(tokens)
    torch.testing.assert_close(context, conditioner.mapping.width_map(tokens))
    torch.testing.assert_close(context[:, 0], pooled)


def test_labels_keep_the_contract(tmp_path):
    conditioner = LabelConditioner(num_classes=4, context_dim=6, pooled_dim=5, num_context_tokens=2)
    labels = torch.tensor([3, 0, 3])
    conditioning, null = conditioner(labels), conditioner.null(3)
    assert conditioning.context.shape == null.context.shape == (3, 2, 6)
    assert conditioning.pooled.shape == null.pooled.shape == (3, 5)
    torch.testing.assert_close(conditioning.context[0], conditioning.context[2])
    assert not torch.allclose(conditioning.pooled[0], conditioning.pooled[1])
    conditioner.save_pretrained(tmp_path)
    loaded = LabelConditioner.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    assert torch.equal(loaded(labels).context, conditioning.context)


@pytest.mark.parametrize("projection", ["attention", "linear"])
def test_pooled_head_starts_at_zero_and_trains(projection):
    conditioner = brain_conditioner(projection, pooled_dim=8)
    pooled = conditioner(torch.randn(3, 7, 10)).pooled
    assert torch.equal(pooled, torch.zeros(3, 8))
    pooled.sum().backward()
    assert conditioner.mapping.to_pooled.weight.grad.abs().max() > 0


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_every_weight_has_a_use(projection):
    conditioner = brain_conditioner(projection)
    torch.nn.init.ones_(conditioner.mapping.pooled_maps[1].weight) if projection == "compat" else (
        torch.nn.init.normal_(conditioner.mapping.to_pooled.weight)
    )
    conditioning, null = conditioner(torch.randn(3, 7, 10)), conditioner.null(3)
    dropped = drop_condition(conditioning, null, torch.tensor([True, False, True]))
    (dropped.context.square().sum() + dropped.pooled.square().sum()).backward()
    assert [n for n, p in conditioner.named_parameters() if p.grad is None] == []


def test_conditions_are_dropped_by_sample():
    conditioning = Conditioning(torch.ones(3, 2, 4), torch.ones(3, 5))
    null = Conditioning(torch.zeros(1, 2, 4), torch.zeros(1, 5))
    dropped = drop_condition(conditioning, null, torch.tensor([True, False, True]))
    assert dropped.context.sum(dim=(1, 2)).tolist() == [8, 0, 8]
    assert dropped.pooled.sum(dim=1).tolist() == [5, 0, 5]


def test_an_adopted_null_is_one_token_repeated():
    labels = LabelConditioner(num_classes=4, context_dim=12, pooled_dim=12)
    torch.nn.init.normal_(labels.empty.context)
    torch.nn.init.normal_(labels.empty.pooled)
    brain = brain_conditioner("attention")
    brain.empty.adopt(labels.empty)
    assert torch.equal(brain.null(2).context, labels.null(2).context.expand(2, 5, 12))
    assert torch.equal(brain.null(2).pooled, labels.null(2).pooled)


def test_mistakes_are_sentences():
    with pytest.raises(ConfigError, match=r"pooled vector of width 9; expected .* context, 12"):
        brain_conditioner("compat", pooled_dim=9)
    with pytest.raises(ConfigError, match="width 12 have 5 heads"):
        BrainConditioner(7, 10, 12, 12, num_heads=5)
    with pytest.raises(ConfigError, match="projection is 'mean'; expected one of attention"):
        brain_conditioner("mean")
    with pytest.raises(ConfigError, match=r"5 context tokens from 1; expected one from one"):
        BrainConditioner(1, 10, 12, 12, 5, projection="compat")
    narrow = LabelConditioner(num_classes=4, context_dim=6, pooled_dim=12)
    with pytest.raises(
        ConfigError, match=r"widths \(6, 12\) was given; expected widths \(12, 12\)"
    ):
        brain_conditioner("linear").empty.adopt(narrow.empty)
