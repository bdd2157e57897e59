"""Scores against brute force, SciPy and scikit-image."""

import doctest
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity

from mindvis.errors import ConfigError
from mindvis.metrics import functional as M
from mindvis.metrics import protocols, table


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, channels=3, height=19, width=23, seed=0):
    return torch.rand(n, channels, height, width, generator=generator(seed))


@pytest.mark.parametrize("module", [M, protocols, table])
def test_docstring_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def enumerate_n_way(scores, target, n_way, top_k):
    """Every set of distractors, one after the other."""
    others = [c for c in range(len(scores)) if c != target]
    right = [
        sum(scores[c] > scores[target] for c in chosen) < top_k
        for chosen in combinations(others, n_way - 1)
    ]
    return np.mean(right)


@pytest.mark.parametrize(("n_way", "top_k"), [(2, 1), (4, 1), (4, 2), (5, 3), (7, 1), (7, 6)])
def test_n_way_equals_enumeration_of_all_distractor_sets(n_way, top_k):
    scores = torch.rand(5, 7, generator=generator(1))
    scores[0, 3] = scores[0, 5]  # a tie
    target = torch.tensor([3, 0, 6, 2, 5])
    expected = [
        enumerate_n_way(s.tolist(), t.item(), n_way, top_k)
        for s, t in zip(scores, target, strict=True)
    ]
    got = M.n_way_accuracy(scores, target, n_way, top_k)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("classes", "n_way", "top_k"), [(1000, 50, 1), (1000, 50, 5), (64, 50, 1)])
def test_n_way_table_equals_scipys_hypergeometric(classes, n_way, top_k):
    rank = np.arange(classes)
    expected = stats.hypergeom(classes - 1, rank, n_way - 1).cdf(top_k - 1)
    np.testing.assert_allclose(M.n_way_table(classes, n_way, top_k), expected, atol=1e-11)


def test_n_way_takes_leading_axes_and_ignores_class_order():
    scores = torch.rand(2, 3, 11, generator=generator(2))
    target = torch.randint(11, (2, 3), generator=generator(3))
    got = M.n_way_accuracy(scores, target, 4)
    assert got.shape == (2, 3)
    assert got.dtype == torch.float64
    order = torch.randperm(11, generator=generator(4))
    position = order.argsort()
    torch.testing.assert_close(M.n_way_accuracy(scores[..., order], position[target], 4), got)


def test_n_way_over_uniform_targets_is_exactly_chance():
    scores = torch.rand(1, 37, generator=generator(5)).expand(37, 37)
    got = M.n_way_accuracy(scores, torch.arange(37), n_way=10, top_k=3)
    assert got.mean().item() == pytest.approx(3 / 10, abs=1e-14)


def test_n_way_falls_with_the_rank():
    table = M.n_way_table(64, 50, 1)
    assert table[0] == 1.0
    assert (table.diff() <= 0).all()


@pytest.mark.parametrize(
    ("n_way", "top_k", "message"),
    [
        (8, 1, "8-way accuracy was asked of a judge of 7 classes; expected n_way from 2 to 7"),
        (1, 1, "1-way"),
        (4, 4, "top_k is 4; expected a number from 1 to n_way - 1 = 3"),
        (4, 0, "top_k is 0"),
    ],
)
def test_n_way_refuses_questions_that_cannot_be_asked(n_way, top_k, message):
    with pytest.raises(ConfigError, match=message):
        M.n_way_accuracy(torch.rand(2, 7), torch.zeros(2, dtype=torch.long), n_way, top_k)


def test_correlation_equals_numpy():
    a, b = pictures(4), pictures(4, seed=1)
    expected = [
        np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    np.testing.assert_allclose(M.pixel_correlation(a, b), expected, atol=1e-7)
    matrix = M.pixel_correlation_matrix(a[:3], b)
    assert matrix.shape == (3, 4)
    torch.testing.assert_close(matrix[2, 1], M.pixel_correlation(a[2], b[1]))


def test_correlation_with_a_constant_picture_is_zero():
    grey = torch.full((2, 3, 19, 23), 0.1)
    assert M.pixel_correlation(grey, pictures(2)).tolist() == [0.0, 0.0]


def test_mse_does_not_wrap():
    black = torch.zeros(1, 9, 8, 3, dtype=torch.uint8)
    dark = torch.full_like(black, 16)
    got = M.mse(M.unit_range(black), M.unit_range(dark))
    assert got.item() == pytest.approx((16 / 255) ** 2)
    a, b = pictures(3), pictures(5, seed=2)
    matrix = M.mse_matrix(a, b)
    assert matrix.shape == (3, 5)
    torch.testing.assert_close(matrix, M.mse(a[:, None], b[None]))


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 19, 23), (1, 28, 28), (3, 7, 9)])
def test_ssim_equals_scikit_image(channels, height, width):
    a = pictures(4, channels, height, width)
    b = 0.6 * a + 0.4 * pictures(4, channels, height, width, seed=1)
    expected = [
        structural_similarity(x, y, data_range=1, channel_axis=0)
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(M.ssim(a, b), expected, atol=1e-12)
    matrix = M.ssim_matrix(a, b[:3])
    assert matrix.shape == (4, 3)
    torch.testing.assert_close(matrix.diagonal(), M.ssim(a[:3], b[:3]))


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ConfigError, match="6 x 9 pixels; expected at least 7 x 7"):
        M.ssim(pictures(1, 3, 6, 9), pictures(1, 3, 6, 9))


def test_two_way_equals_a_loop_with_ties_at_one_half():
    similarity = torch.randint(4, (9, 9), generator=generator(6)).float()
    expected = [
        np.mean(
            [
                1.0 if row[i] > row[j] else 0.5 if row[i] == row[j] else 0.0
                for j in range(9)
                if j != i
            ]
        )
        for i, row in enumerate(similarity.tolist())
    ]
    np.testing.assert_allclose(M.two_way_identification(similarity), expected)


def test_two_way_of_one_constant_guess_is_one_half():
    assert M.two_way_identification(torch.ones(5, 5)).tolist() == [0.5] * 5


def test_two_way_over_all_pairings_is_exactly_one_half():
    wins = M.two_way_wins(torch.rand(6, 9, generator=generator(7)))
    torch.testing.assert_close(wins.mean(-1), torch.full((6,), 0.5, dtype=torch.float64))


def test_two_way_refuses_one_stimulus_and_crooked_matrices():
    with pytest.raises(ConfigError, match="1 stimulus; expected at least 2"):
        M.two_way_identification(torch.ones(1, 1))
    with pytest.raises(ConfigError, match=r"matrix of \(2, 3\)"):
        M.two_way_identification(torch.ones(2, 3))
