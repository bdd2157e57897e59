"""Masking against loops."""

import numpy as np
import pytest
import torch

from mindvis.errors import ConfigError
from mindvis.models.masking import (
    focus_noise,
    gather_rows,
    random_masking,
    random_noise,
    scatter_rows,
)


def slow_masking(noise, mask_ratio):
    """Each sample by itself: the places of the smallest draws, in the order of the draws."""
    kept, masks = [], []
    for row in np.asarray(noise):
        order = sorted(range(len(row)), key=lambda place: row[place])
        kept.append(order[: int(len(row) * (1 - mask_ratio))])
        masks.append([0.0 if place in kept[-1] else 1.0 for place in range(len(row))])
    return np.array(kept), np.array(masks)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.75, 0.9])
def test_masking_equals_the_slow_one(ratio):
    noise = torch.rand(3, 11, generator=torch.Generator().manual_seed(4))
    masking = random_masking(noise, ratio)
    kept, mask = slow_masking(noise, ratio)
    assert np.array_equal(masking.kept, kept)
    assert np.array_equal(masking.mask, mask)
    ranks = torch.arange(masking.kept.shape[1]).expand_as(masking.kept)
    assert torch.equal(masking.restore.gather(1, masking.kept), ranks)


def test_focus_removes_the_range_more_often():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2000, 12, generator=generator)
    mask = random_masking(focus_noise(noise, 3, 6, 0.9, 0.5, generator), 0.5).mask.mean(dim=0)
    assert mask[3:6].min() > 0.75 > 0.55 > mask[:3].max()


@pytest.mark.parametrize("ratio", [0.95, 1.0, -0.2])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(ConfigError, match=f"ratio of {ratio} keeps .* of 10 patches"):
        random_masking(torch.rand(2, 10), ratio)


def test_noise_is_a_function_of_the_generator():
    first, second = (
        random_noise(2, 5, torch.Generator().manual_seed(3), torch.device("cpu")) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_rows_are_gathered_and_scattered():
    rows = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    index = torch.tensor([[4, 0], [1, 3]])
    gathered = gather_rows(rows, index)
    assert torch.equal(gathered[0], rows[0, [4, 0]])
    assert torch.equal(gathered[1], rows[1, [1, 3]])
    fill = -torch.ones(5, 3)
    filled = scatter_rows(fill, index, gathered)
    for sample in range(2):
        for place in range(5):
            seen = place in index[sample]
            expected = rows[sample, place] if seen else fill[place]
            assert torch.equal(filled[sample, place], expected)
    assert torch.equal(fill, -torch.ones(5, 3))
