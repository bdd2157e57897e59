"""Tables of every picture against every truth, and what is read off them."""

import numpy as np
import pytest
import torch

from mindvis.metrics import functional as M
from mindvis.metrics import pairing
from mindvis.metrics.pairing import Truths, fit_size, own_scores, score_pairs


@pytest.fixture
def truths(rng):
    return rng.integers(0, 256, (6, 15, 17, 3), dtype=np.uint8)


def test_every_cell_is_the_score_of_that_picture_and_that_truth(truths, rng):
    pictures = rng.integers(0, 256, (6, 2, 15, 17, 3), dtype=np.uint8)
    tables = score_pairs(pictures, Truths(truths))
    assert all(table.shape == (6, 6, 2) for table in tables.values())
    picture, truth = (M.unit_range(torch.from_numpy(x[None])) for x in (pictures[4, 1], truths[2]))
    assert tables["ssim"][2, 4, 1] == pytest.approx(M.ssim(picture, truth).item())
    assert tables["mse"][2, 4, 1] == pytest.approx(M.mse(picture, truth).item())
    assert tables["pixel_correlation"][2, 4, 1] == pytest.approx(
        M.pixel_correlation(picture, truth).item()
    )
    # picture 4 as a picture of truth 2: which of the other truths does it resemble less?
    likeness = tables["ssim"][:, 4, 1]
    assert tables["two_way_ssim"][2, 4, 1] == pytest.approx(np.sum(likeness < likeness[2]) / 5)
    error = tables["mse"][:, 4, 1]
    assert tables["two_way_mse"][2, 4, 1] == pytest.approx(np.sum(error > error[2]) / 5)


def test_perfect_pictures_score_perfectly(truths, rng):
    opinion = torch.from_numpy(rng.dirichlet(np.ones(9), 6))
    known = Truths(truths, pseudo=opinion.argmax(-1), labels=opinion.argmax(-1))
    tables = score_pairs(truths[:, None], known, opinion[:, None], n_way=5)
    for name, table in tables.items():
        expected = 0.0 if name == "mse" else 1.0
        np.testing.assert_allclose(own_scores(table), expected, atol=1e-12, err_msg=name)


def test_random_pairings_are_at_chance_exactly(truths, rng):
    pictures = rng.integers(0, 256, (6, 3, 15, 17, 3), dtype=np.uint8)
    opinion = torch.from_numpy(rng.dirichlet(np.ones(6), (6, 3)))
    known = Truths(truths, pseudo=torch.arange(6))  # every class asked for once
    tables = score_pairs(pictures, known, opinion, n_way=4)
    assert tables["n_way"].mean() == pytest.approx(1 / 4, abs=1e-12)
    for name in ("two_way_ssim", "two_way_mse", "two_way_pixel_correlation"):
        assert tables[name].mean() == pytest.approx(1 / 2, abs=1e-12)


def test_labels_the_judge_lacks_are_not_scored(truths, rng):
    opinion = torch.from_numpy(rng.dirichlet(np.ones(9), (6, 1)))
    known = Truths(truths, opinion[:, 0].argmax(-1), torch.tensor([1, -1, 2, 3, 4, 5]))
    table = score_pairs(truths[:, None], known, opinion, n_way=5)["n_way_true_label"]
    assert np.isnan(table[1]).all()
    assert np.isfinite(table[[0, 2, 3, 4, 5]]).all()


def test_very_many_pictures_are_compared_with_their_own_truth_alone(truths, monkeypatch):
    monkeypatch.setattr(pairing, "SSIM_BUDGET", 10)
    tables = score_pairs(truths[:, None], Truths(truths))
    np.testing.assert_allclose(own_scores(tables["ssim"]), 1.0)
    assert np.isnan(tables["ssim"][0, 1]).all()
    assert np.isnan(tables["two_way_ssim"]).all()
    assert np.isfinite(tables["two_way_mse"]).all()


def test_one_stimulus_has_no_identification(truths):
    tables = score_pairs(truths[:1, None], Truths(truths[:1]))
    assert sorted(tables) == ["mse", "pixel_correlation", "ssim"]


def test_pictures_are_brought_to_one_size(truths):
    mixed = [truths[0], np.full((30, 34, 3), 77, dtype=np.uint8)]
    got = fit_size(mixed, 15, 17)
    np.testing.assert_array_equal(got[0], truths[0])
    assert (got[1] == 77).all()
    assert fit_size(truths, 15, 17) is truths
