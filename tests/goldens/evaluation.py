"""Scores: n-way accuracy exactly, pairwise metrics of pictures."""

import numpy as np
import pytest
import torch

from mindvis.metrics import functional as M
from tests.goldens.registry import Rules

EVALUATION = Rules("evaluation")
MATRICES = {"mse": M.mse_matrix, "pcc": M.pixel_correlation_matrix, "ssim": M.ssim_matrix}
SIGN = {"mse": -1, "pcc": 1, "ssim": 1}


def standard_error(share, trials):
    return np.sqrt(max(share * (1 - share), 1e-12) / trials)


@EVALUATION.shows("nway")
def n_way(golden, name):
    """The exact value to 1e-9; their estimate within five standard errors of it."""
    probabilities, classes = golden.tensor("probs"), golden.tensor("class_id")
    for image, n, trials, k, accuracy, _, exact in golden[name]:
        i = int(image)
        ours = M.n_way_accuracy(probabilities[i], classes[i], int(n), int(k)).item()
        assert ours == pytest.approx(exact, abs=1e-9)
        assert abs(ours - accuracy) < 5 * standard_error(exact, trials) + 1e-9


EVALUATION.feeds("probs|class_id", "nway")


@EVALUATION.shows("nway_all_tied_10_5way_40")
def ties_are_right(golden, name):
    ours = M.n_way_accuracy(torch.full((10,), 0.1), torch.tensor(4), n_way=5)
    assert ours.item() == golden[name][0] == 1.0


def matrix(golden, metric):
    """Each prediction with each truth, from pictures in bytes."""
    pictures = (M.unit_range(golden.tensor(name)).double() for name in ("pred", "gt"))
    scores = MATRICES[metric](*pictures)
    return scores * 255**2 if metric == "mse" else scores


@EVALUATION.equals("(mse|pcc|ssim)_float|(pcc|ssim)_uint8")
def pairs_of_pictures(golden, name):
    return matrix(golden, name.split("_")[0])


EVALUATION.feeds("gt|pred", "mse_float")


@EVALUATION.shows("mse_uint8")
def differences_that_wrap(golden, name):
    """Theirs is ours only where no difference of bytes wraps, which is nowhere here."""
    wrapped = golden.tensor(name)
    assert (matrix(golden, "mse") > wrapped + 1).any()
    a, b = (golden[picture].reshape(6, -1) for picture in ("pred", "gt"))
    slow = [[np.mean((x - y) ** 2) for y in b] for x in a]
    np.testing.assert_allclose(slow, wrapped)


@EVALUATION.equals("pairwise_(mse|pcc|ssim)_float|pairwise_(pcc|ssim)_uint8")
def share_of_pairs_won(golden, name):
    metric = name.split("_")[1]
    return M.two_way_identification(SIGN[metric] * matrix(golden, metric))


@EVALUATION.equals("pairwise_mse_uint8")
def share_of_pairs_won_by_wrapped_errors(golden, _):
    """The one array that tells rows from columns."""
    return M.two_way_identification(-golden.tensor("mse_uint8"))


@EVALUATION.shows("nwayscores_(mse|pcc|ssim)_n3_t20_uint8")
def n_way_by_pixels(golden, name):
    """Three candidates, estimated there from 20 draws of two others; exact here."""
    metric = name.split("_")[1]
    theirs = "mse_uint8" if metric == "mse" else f"{metric}_float"
    similarity = SIGN[metric] * golden.tensor(theirs)
    exact = M.n_way_accuracy(similarity, torch.arange(6), n_way=3)
    for ours, estimate in zip(exact.tolist(), golden[name].tolist(), strict=True):
        assert abs(ours - estimate) <= 4 * standard_error(ours, 20) + 1e-9
