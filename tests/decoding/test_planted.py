"""Planted decoders: one that sees nothing, one that memorises, one that paints the prior."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from scipy.ndimage import gaussian_filter

from mindvis.data.store import VoxelStore
from mindvis.decoding.evaluate import evaluate
from mindvis.metrics.pairing import Truths, own_scores, score_pairs
from mindvis.metrics.statistics import pairing_p
from tests.decoding.test_evaluate import save, write_decoded

SETTINGS = {"bootstrap": 300, "permutations": 199}
CROSSED = ("mean-brain", "gaussian-brain", "phase-brain", "prior")


def training_pictures(store):
    with VoxelStore(store) as opened:
        known = opened.stimuli
        rows = [i for i, name in enumerate(known.ids) if name.startswith("train")]
        return known.images(rows)


def noisy(rng, amount):
    """A decoder that sees: the true picture and noise."""

    def paint(truth):
        noise = rng.integers(0, 256, truth.shape)
        return ((1 - amount) * truth + amount * noise).astype(np.uint8)

    return paint


def plant(folder, store, paint, prior):
    """A decoded folder with every control drawn from `prior`."""
    write_decoded(folder, store, paint, mean_brain=False)
    for kind in CROSSED:
        for number in ("", "1", "2", "3") if kind != "mean-brain" else ("",):
            for subject in ("sub-01", "sub-02"):
                for draw in (0, 1):
                    file = folder / "controls" / kind / number / f"{subject}_draw{draw}.png"
                    save(file, prior())
    return folder


def test_a_decoder_that_sees_is_better_than_all_controls(store, tmp_path, rng):
    pool = training_pictures(store)
    folder = plant(tmp_path, store, noisy(rng, 0.05), lambda: pool[rng.integers(len(pool))])
    found = evaluate(str(folder), ridge=False, **SETTINGS)
    assert found["controls_failed"] == {}
    assert set(found["control_checks"]) == {
        "shuffled-brain", "nearest-train-brain", "nearest-train-picture", *CROSSED,
    }  # fmt: skip
    assert all(check["difference"] > 0 for check in found["control_checks"].values())
    assert found["controls"]["prior"]["pixel_correlation"]["n"] == 12


def test_a_decoder_that_sees_through_noise_is_no_copy(store, tmp_path, rng):
    """Training pictures near to it are cleaner and score better: that alone is no failure."""
    folder = write_decoded(tmp_path, store, noisy(rng, 0.3))
    found = evaluate(str(folder), ridge=False, **SETTINGS)
    check = found["control_checks"]["nearest-train-picture"]
    assert check["difference"] < 0
    assert check["passed"] is True
    assert check["sentence"].endswith(", but tells more of what was seen than it")


def test_memorised_training_pictures_are_caught_by_the_nearest_one(store, tmp_path, rng):
    pool = training_pictures(store)
    folder = write_decoded(tmp_path, store, lambda truth: pool[rng.integers(len(pool))])
    found = evaluate(str(folder), ridge=False, **SETTINGS)
    check = found["control_checks"]["nearest-train-picture"]
    assert check["passed"] is False
    assert check["difference"] == pytest.approx(0, abs=1e-9)
    assert found["controls_failed"]["nearest-train-picture"].startswith(
        "not better than nearest train picture by Pixel correlation (+0.000"
    )


def test_memorising_the_most_alike_training_picture_is_caught_too(store, tmp_path):
    """Far above chance in every score, and still a copy."""
    pool = training_pictures(store)

    def copy(truth):
        return pool[((pool.astype(float) - truth) ** 2).mean((1, 2, 3)).argmin()]

    found = evaluate(str(write_decoded(tmp_path, store, copy)), ridge=False, **SETTINGS)
    assert found["metrics"]["two_way_pixel_correlation"]["value"] > 0.8
    assert list(found["controls_failed"]) == ["nearest-train-picture"]


def blurred(picture):
    return gaussian_filter(picture, (1, 1, 0))


def through_a_codec(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return np.asarray(Image.open(buffer))


def faded(picture):
    return (60 + 0.4 * picture).astype(np.uint8)


@pytest.mark.parametrize("change", [blurred, through_a_codec, faded])
def test_a_copy_is_one_whatever_became_of_it(store, tmp_path, change):
    """Blurred, a neighbour's picture is nearer to the truth than the neighbour: still a copy."""
    pool = training_pictures(store)

    def copy(truth):
        return change(pool[((pool.astype(float) - truth) ** 2).mean((1, 2, 3)).argmin()])

    found = evaluate(str(write_decoded(tmp_path, store, copy)), ridge=False, **SETTINGS)
    sentence = found["controls_failed"]["nearest-train-picture"]
    assert sentence.endswith(
        ", tells no more of what was seen, and closer to it than true pictures are to theirs"
    )


@pytest.mark.parametrize("change", [blurred, through_a_codec, faded])
def test_what_was_seen_is_no_copy_whatever_became_of_it(store, tmp_path, change):
    found = evaluate(str(write_decoded(tmp_path, store, change)), ridge=False, **SETTINGS)
    assert found["control_checks"]["nearest-train-picture"]["passed"] is True


def test_the_class_prior_is_caught_by_the_prior_control(store, tmp_path, rng):
    """Bright squares, whatever was seen: better than chance where squares are frequent."""

    def prior():
        picture = np.full((16, 16, 3), 20, dtype=np.uint8)
        picture[3:13, 3:13] = rng.integers(150, 256, 3)
        return picture

    folder = plant(tmp_path, store, lambda truth: prior(), prior)
    failed = evaluate(str(folder), ridge=False, **SETTINGS)["controls_failed"]
    assert "not better than prior by" in failed["prior"]
    assert "shuffled-brain" in failed


def test_a_decoder_that_sees_nothing_is_at_chance_with_uniform_p(rng):
    """Many such decoders, each with its own random pictures and opinions of a judge."""
    truths = Truths(rng.integers(0, 256, (16, 9, 10, 3), dtype=np.uint8), pseudo=torch.arange(16))
    scores, p = {}, {}
    for _ in range(150):
        pictures = rng.integers(0, 256, (16, 1, 9, 10, 3), dtype=np.uint8)
        opinion = torch.from_numpy(rng.dirichlet(np.ones(20), (16, 1)))
        for name, table in score_pairs(pictures, truths, opinion, n_way=5).items():
            sign = -1 if name == "mse" else 1
            pairs = sign * table.mean(-1)
            scores.setdefault(name, []).append(own_scores(table).mean())
            p.setdefault(name, []).append(pairing_p([pairs], [np.full(16, 1 / 16)], rng, 199))
    for name, chance in {"n_way": 0.2, "two_way_ssim": 0.5, "two_way_mse": 0.5}.items():
        error = np.std(scores[name]) / np.sqrt(150)
        assert np.mean(scores[name]) == pytest.approx(chance, abs=4 * error), name
    for name, values in p.items():
        assert stats.kstest(values, "uniform").pvalue > 1e-3, name


def test_near_duplicates_and_the_generators_pictures_are_strata(store, tmp_path, rng):
    pool = training_pictures(store)
    folder = write_decoded(tmp_path, store, noisy(rng, 0.3))
    with VoxelStore(store) as opened:
        (known,) = opened.stimuli.images(opened.stimuli.index(["test-004"]))
    np.savez(
        tmp_path / "generator.npz",
        images=np.stack([known, *pool[:5]]),
        labels=np.array(["a"] * 6),
    )
    found = evaluate(
        str(folder), ridge=False, generator=str(tmp_path / "generator.npz"), **SETTINGS
    )
    inside = found["strata"]["in-generator"]["metrics"]["mse"]["n"]
    outside = found["strata"]["not-in-generator"]["metrics"]["mse"]["n"]
    assert inside >= 1
    assert inside + outside == 12
    duplicated = [n for n in found["strata"] if "duplicate" in n]
    total = sum(found["strata"][name]["metrics"]["mse"]["n"] for name in duplicated)
    assert total == 12
