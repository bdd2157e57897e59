"""Conditioning on the words of class names, and the distance to it."""

import numpy as np
import torch

from mindvis.models.autoencoder import CONDITIONERS
from mindvis.models.conditioning import Conditioning, WordConditioner, conditioning_distance

NAMES = ["red_circle", "blue circle", "red star", "cross"]


def conditioner() -> WordConditioner:
    torch.manual_seed(0)
    return WordConditioner(NAMES, context_dim=6, pooled_dim=5)


def test_classes_share_the_tokens_of_the_words_they_share():
    red_circle, blue_circle, red_star, _ = conditioner()(torch.arange(4)).context
    torch.testing.assert_close(red_circle[0], red_star[0])
    torch.testing.assert_close(red_circle[1], blue_circle[1])
    assert (red_circle[0] - blue_circle[0]).abs().max() > 0.1


def test_pooled_vector_is_the_sum_over_words():
    words = conditioner()
    red_circle, blue_circle, red_star, _ = words(torch.arange(4)).pooled
    blue_star = blue_circle + red_star - red_circle
    table = dict(
        zip(("blue", "circle", "cross", "red", "star"), words.pooled_table.weight, strict=False)
    )
    torch.testing.assert_close(blue_star, table["blue"] + table["star"])


def test_shorter_names_are_filled_with_a_blank_of_their_own():
    words = conditioner()
    assert words.words.shape == (4, 2)
    assert words.words[3, 1] == 5
    assert 5 not in words.words[:3]


def test_saved_and_loaded_by_name(tmp_path):
    words = conditioner()
    words.save_pretrained(tmp_path)
    again = CONDITIONERS["WordConditioner"].from_pretrained(tmp_path)
    assert again.config.class_names == NAMES
    for one, other in zip(words(torch.arange(4)), again(torch.arange(4)), strict=True):
        torch.testing.assert_close(one, other)


def test_distance_is_that_of_the_first_tokens_and_of_the_pooled_vectors():
    rng = np.random.default_rng(0)
    context, target = rng.normal(size=(3, 7, 6)), rng.normal(size=(3, 2, 6))
    pooled, aim = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    expected = ((context[:, :2] - target) ** 2).mean() + ((pooled - aim) ** 2).mean()
    found = conditioning_distance(
        Conditioning(torch.tensor(context), torch.tensor(pooled)),
        Conditioning(torch.tensor(target), torch.tensor(aim)),
    )
    assert abs(found.item() - expected) < 1e-12
