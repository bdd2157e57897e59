"""The benchmark on digit69: no picture leaks, known numbers come out again, the commands run."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from benchmarks import digit69
from preprocessing.arrays import prepare_arrays

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(shared):
    """The folder of the data sets."""
    shared("data/mnist/mnist_subset.npz")
    return shared("data/digit69/digit69_28x28.mat").parents[1]


@pytest.fixture(scope="module")
def inputs(data, tmp_path_factory):
    """Inputs of two folds, and the official split as a store."""
    folder = tmp_path_factory.mktemp("digit69")
    digit69.write_inputs(data, folder, 2)
    (folder / "official").mkdir()
    prepare_arrays(
        str(data / "digit69" / "digit69_28x28.mat"),
        str(folder / "official" / "measured.h5"),
        train_responses="fmriTrn",
        train_images="stimTrn",
        test_responses="fmriTest",
        test_images="stimTest",
        image_layout="flat-columns",
    )
    return folder


@pytest.fixture(scope="module")
def official(inputs):
    prior = digit69.read_arrays(inputs / "pictures.npz")[0]
    return digit69.read_division(inputs / "official" / "measured.h5", prior)


def test_folds_are_a_partition():
    rows = digit69.test_rows(100)
    assert [len(test) for test in rows] == [10] * 10
    assert np.unique(np.concatenate(rows)).tolist() == list(range(100))


def test_no_picture_that_was_shown_is_in_the_prior(inputs, official):
    shown = np.concatenate([official.pictures, official.truths])
    shown = {np.rint(picture * 255).astype(np.uint8).tobytes() for picture in shown}
    prior = {picture[..., 0].tobytes() for picture in official.prior}
    assert len(shown) == 100
    assert len(official.prior) == 11_857 - 90
    assert not shown & prior


def test_a_fold_holds_the_same_hundred_trials(inputs, official):
    fold = np.load(inputs / "fold-1.npz")
    assert fold["fmriTest"].shape == (10, 3092)
    whole = np.concatenate([fold["fmriTrn"], fold["fmriTest"]]).sum(1)
    ours = np.concatenate([official.responses, official.test_responses]).sum(1)
    np.testing.assert_allclose(np.sort(whole), np.sort(ours), atol=1e-3)


@pytest.mark.parametrize(
    ("method", "pcc", "squares", "structure"),
    [
        ("mean of the training pictures", 0.655, 0.0547, 0.309),
        ("pixel ridge", 0.791, 0.0379, 0.507),
    ],
)
def test_known_numbers_come_out_again(official, method, pcc, squares, structure):
    """Those that the data's README gives for the official split."""
    painted = digit69.BASELINES[method](official)
    found = digit69.scores(painted, official.truths).mean(1)
    assert found[0] == pytest.approx(pcc, abs=1e-3)
    assert found[1] == pytest.approx(structure, abs=1e-3)
    assert found[2] == pytest.approx(squares, abs=1e-4)


def test_structural_similarity_is_that_of_scikit_image(official):
    painted = digit69.retrieved(official)
    pairs = zip(painted, official.truths, strict=True)
    expected = [structural_similarity(a, b, data_range=1.0) for a, b in pairs]
    np.testing.assert_allclose(digit69.scores(painted, official.truths)[1], expected, rtol=1e-6)


def test_options_are_compared_inside_the_training_trials(official):
    blind = dataclasses.replace(official, test_responses=None, truths=None)
    few = dataclasses.replace(blind, prior=official.prior[:300])
    chosen = digit69.within_training(few, digit69.CHOSEN)
    noisy = digit69.within_training(few, digit69.CHOSEN._replace(noise=1e6))
    assert chosen[0] > noisy[0] + 0.05
    assert chosen[2] < noisy[2]


def test_nearest_pictures_are_the_nearest(official):
    painted, prior = digit69.ridge(official), digit69.as_grey(official.prior)
    distance = ((prior - painted[3]) ** 2).sum((1, 2))
    expected = prior[np.argsort(distance)[:50]].mean(0)
    np.testing.assert_allclose(digit69.retrieved(official)[3], expected, atol=1e-12)


def test_draws_are_read_in_order_and_scored_at_28_pixels(tmp_path):
    lines = ["stimulus,draw,file"]
    for stimulus, draw, level in [("b", 1, 40), ("b", 0, 20), ("a", 0, 60), ("a", 1, 80)]:
        name = f"{stimulus}{draw}.png"
        Image.new("RGB", (32, 32), (level,) * 3).save(tmp_path / name)
        lines.append(f"{stimulus},{draw},{name}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    draws = digit69.read_draws(tmp_path, ["a", "b"])
    assert draws.shape == (2, 2, 28, 28)
    assert (draws[:, :, 5, 5] * 255).tolist() == [[60, 80], [20, 40]]
    assert digit69.decoders(draws)["mean of draws"][1, 0, 0] * 255 == pytest.approx(30)


def test_commands_run_from_arrays_to_table(data, tmp_path):
    """The script at toy size: every stage on the official split."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "FAST": "1", "DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = ["bash", str(ROOT / "benchmarks" / "digit69.sh"), str(tmp_path), "0", "2"]
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "digit69.json").read_text())
    assert report["official"]["mindvis, mean of draws (2)"]["pictures"] == 10
    assert report["folds"]["number"] == 0
    assert "| pixel ridge | 0.791 [" in done.stdout
