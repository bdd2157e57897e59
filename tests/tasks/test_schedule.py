"""Schedules, decay groups and moving averages against slow arithmetic."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mindvis.models.conditioning import LabelConditioner
from mindvis.models.encoder import BrainEncoder
from mindvis.tasks.schedule import decay_groups, ema_decay, update_average, warmup_cosine


def test_warmup_is_a_line_and_the_rest_half_a_cosine():
    found = [warmup_cosine(step, total=30, warmup=10, floor=0.1) for step in range(31)]
    line = [(step + 1) / 10 for step in range(10)]
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(21)]
    np.testing.assert_allclose(found, line + cosine)
    assert found[-1] == pytest.approx(0.1)


def test_mindvis_schedule_wastes_its_first_step_and_is_then_the_same():
    options = {"total": 30, "warmup": 10, "floor": 0.1}
    ours = [warmup_cosine(step, **options) for step in range(31)]
    theirs = [warmup_cosine(step, **options, schedule="cosine_from_zero") for step in range(31)]
    assert theirs[0] == 0.0
    assert theirs[1:10] == ours[:9]
    assert theirs[10:] == ours[10:]


def test_constant_rate_stays_after_the_warmup():
    found = [warmup_cosine(step, total=9, warmup=3, schedule="constant") for step in range(9)]
    assert found == pytest.approx([1 / 3, 2 / 3] + [1.0] * 7)


def test_schedule_stays_at_its_floor_after_the_end():
    assert warmup_cosine(99, total=30, warmup=0) == pytest.approx(0.0)


def test_decay_spares_biases_norms_and_tokens():
    encoder = BrainEncoder(num_voxels=24, patch_size=8, embed_dim=8, depth=1, num_heads=2)
    named = dict(encoder.named_parameters())
    decayed, spared = decay_groups(named.items(), lr=0.3, weight_decay=0.7)
    names = {id(p): name for name, p in named.items()}
    spared_names = {names[id(p)] for p in spared["params"]}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.7, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert "trunk.class_token" in spared_names
    assert {n for n in named if n.endswith("bias") or "norm" in n} <= spared_names
    assert len(decayed["params"]) + len(spared["params"]) == len(named)


def test_decay_spares_the_empty_condition():
    conditioner = LabelConditioner(5, 8, 6, num_context_tokens=3)
    named = dict(conditioner.named_parameters(prefix="conditioner"))
    (decayed, spared) = decay_groups(named.items(), lr=1.0, weight_decay=0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(5, 24), (5, 6)]
    assert [tuple(p.shape) for p in spared["params"]] == [(3, 8), (6,)]


@pytest.mark.parametrize(("decayed", "spared"), [("tokens", "bias norm"), ("all", "")])
def test_decay_of_mindvis_reaches_tokens_and_in_stage_b_everything(decayed, spared):
    encoder = BrainEncoder(num_voxels=24, patch_size=8, embed_dim=8, depth=1, num_heads=2)
    named = dict(encoder.named_parameters())
    groups = decay_groups(named.items(), lr=1.0, weight_decay=0.7, decayed=decayed)
    names = {id(p): name for name, p in named.items()}
    free = {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}
    assert free == {n for n in named if any(word in n for word in spared.split())}


def test_frozen_parameters_are_in_no_group():
    layer = nn.Linear(3, 4)
    layer.weight.requires_grad_(False)
    (group,) = decay_groups(layer.named_parameters(), lr=1.0, weight_decay=0.1)
    assert group["params"] == [layer.bias]


def test_average_follows_its_formula(rng):
    values = [rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 7))]
    averages = [torch.tensor(v[0]) for v in values]
    expected = [v[0] for v in values]
    for step in range(1, 5):
        decay = ema_decay(step, 0.9)
        update_average(averages, [torch.tensor(v[step]) for v in values], decay)
        expected = [
            decay * e + (1 - decay) * v[step] for e, v in zip(expected, values, strict=True)
        ]
    for found, wanted in zip(averages, expected, strict=True):
        np.testing.assert_allclose(found, wanted)


def test_average_starts_short():
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999
