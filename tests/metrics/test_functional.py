"""Scores against brute force, SciPy and scikit-image."""

import doctest
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from mindvis.errors import ConfigError
from mindvis.metrics import functional as M
from mindvis.metrics import protocols, table
from mindvis.metrics.functional import features, identification, n_way, pixels
from tests import references


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, channels=3, height=19, width=23, seed=0):
    return torch.rand(n, channels, height, width, generator=generator(seed))


@pytest.mark.parametrize("module", [features, identification, n_way, pixels, protocols, table])
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


# -- properties that hold for any scores ----------------------------------------------------


@st.composite
def questions(draw):
    """Scores of some classes, ties among them, with a target and a question."""
    classes = draw(st.integers(3, 9))
    scores = draw(st.lists(st.integers(0, 5), min_size=classes, max_size=classes))
    n = draw(st.integers(2, classes))
    return scores, draw(st.integers(0, classes - 1)), n, draw(st.integers(1, n - 1))


def ask(scores, target, n, k):
    row = torch.tensor(scores, dtype=torch.float64)
    return M.n_way_accuracy(row, torch.tensor(target), n, k).item()


@given(questions())
@settings(max_examples=80, deadline=None)
def test_n_way_of_any_scores_is_the_enumeration(question):
    scores, target, n, k = question
    assert ask(*question) == pytest.approx(enumerate_n_way(scores, target, n, k), abs=1e-12)


@given(questions(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_n_way_does_not_depend_on_the_order_of_classes_or_the_scale(question, random):
    scores, target, n, k = question
    order = list(range(len(scores)))
    random.shuffle(order)
    shuffled = [scores[c] for c in order]
    assert ask(shuffled, order.index(target), n, k) == ask(*question)
    assert ask([np.exp(score) - 3 for score in scores], target, n, k) == ask(*question)


@given(questions(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_n_way_rises_with_the_target_and_with_k_and_falls_with_n(question, gain):
    scores, target, n, k = question
    higher = [score + gain * (c == target) for c, score in enumerate(scores)]
    assert ask(higher, target, n, k) >= ask(*question)
    if k + 1 < n:
        assert ask(scores, target, n, k + 1) >= ask(*question)
    if n < len(scores):
        assert ask(scores, target, n + 1, k) <= ask(*question) + 1e-12


@given(st.permutations(range(7)), st.integers(2, 7), st.data())
@settings(max_examples=40, deadline=None)
def test_n_way_is_at_chance_over_all_classes_without_ties(scores, n, data):
    k = data.draw(st.integers(1, n - 1))
    mean = np.mean([ask(scores, target, n, k) for target in range(7)])
    assert mean == pytest.approx(k / n, abs=1e-12)


def test_n_way_lies_within_the_error_of_monte_carlo(rng):
    """The loop that everybody runs, 4,000 draws for each of a few pictures."""
    scores = rng.dirichlet(np.full(60, 0.4), size=6)
    target = rng.integers(0, 60, 6)
    exact = M.n_way_accuracy(torch.from_numpy(scores), torch.from_numpy(target), 20, 2).numpy()
    for row, t, value in zip(scores, target, exact, strict=True):
        estimate = references.monte_carlo_n_way(row, int(t), 20, 2, 4000, rng)
        assert abs(estimate - value) < 4 * np.sqrt(value * (1 - value) / 4000) + 1e-12


# -- what the decoders of NSD report --------------------------------------------------------


def test_grey_and_gaussian_ssim_equal_scikit_image():
    a = pictures(3, height=31, width=26)
    b = 0.7 * a + 0.3 * pictures(3, height=31, width=26, seed=1)
    expected = [
        structural_similarity(
            *(rgb2gray(p.double().permute(1, 2, 0).numpy()) for p in pair),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for pair in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(M.gaussian_ssim(M.grey(a), M.grey(b)), expected, atol=1e-10)
    np.testing.assert_allclose(M.gaussian_ssim(M.grey(a[:1]), M.grey(b))[0], expected[0])
    with pytest.raises(ConfigError, match="9 x 26 pixels; expected at least 11 x 11"):
        M.gaussian_ssim(M.grey(a[:, :, :9]), M.grey(b[:, :, :9]))


def test_feature_correlation_and_distance_equal_numpy_and_scipy():
    a, b = torch.randn(4, 3, 5, generator=generator()), torch.randn(6, 15, generator=generator(1))
    expected = np.corrcoef(a.flatten(1).numpy(), b.numpy())[:4, 4:]
    np.testing.assert_allclose(M.feature_correlation(a, b), expected, atol=1e-6)
    apart = distance.cdist(a.flatten(1).double(), b.double(), "correlation")
    np.testing.assert_allclose(M.correlation_distance(a, b), apart, atol=1e-6)
    angle = distance.cdist(a.flatten(1).double(), b.double(), "cosine")
    np.testing.assert_allclose(1 - M.cosine_similarity(a, b), angle, atol=1e-6)
    assert M.feature_correlation(torch.full((1, 15), 0.1), b).tolist() == [[0.0] * 6]


def test_two_way_by_correlation_is_the_count_of_the_nsd_decoders():
    truth = torch.randn(8, 40, generator=generator(8))
    prediction = truth + 2 * torch.randn(8, 40, generator=generator(9))
    got = M.two_way_identification(M.feature_correlation(prediction, truth))
    assert got.mean().item() == pytest.approx(
        references.two_way_by_correlation(truth.numpy(), prediction.numpy())
    )


def test_retrieval_equals_the_mean_over_all_sets_of_candidates():
    similarity = torch.rand(6, 6, generator=generator(10))
    got = M.retrieval_accuracy(similarity, 3)
    for i, j in ((0, 0), (4, 1), (3, 3)):
        others = [c for c in range(6) if c != j]
        wins = [
            all(similarity[i, j] >= similarity[i, c] for c in chosen)
            for chosen in combinations(others, 2)
        ]
        assert got[i, j].item() == pytest.approx(np.mean(wins), abs=1e-12)
    assert got.mean().item() == pytest.approx(1 / 3, abs=1e-12)


def test_retrieval_lies_within_the_error_of_mind_eyes_draws(rng):
    similarity = rng.normal(size=(40, 40)) + 1.5 * np.eye(40)
    exact = M.retrieval_accuracy(torch.from_numpy(similarity), 10).diagonal().mean().item()
    found = references.drawn_retrieval(similarity, 10, 3000, rng)
    assert found == pytest.approx(exact, abs=0.01)
    with pytest.raises(ConfigError, match="40 stimuli; expected at least 300"):
        M.retrieval_accuracy(torch.from_numpy(similarity))


def test_consistency_is_within_minus_between():
    similarity = torch.rand(4, 3, 4, 3, generator=generator(11)).double()
    got = M.consistency(similarity)
    for i in range(4):
        within, between = references.draws_within_and_between(similarity.numpy(), i)
        assert got[i, i].item() == pytest.approx(within - between, abs=1e-12)
    alike = torch.ones(4, 3, 4, 3)
    assert M.consistency(alike).abs().max() < 1e-12
    with pytest.raises(ConfigError, match="1 draw of each stimulus; expected at least 2"):
        M.consistency(similarity[:, :1, :, :1])
    with pytest.raises(ConfigError, match="1 stimulus"):
        M.consistency(similarity[:1, :, :1])
