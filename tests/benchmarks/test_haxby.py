"""The benchmark on real volumes, at toy size; its classifier on planted categories."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import haxby


def planted(rng, signal):
    """Five runs of three blocks of each of four categories, 23 features."""
    labels = np.tile(np.repeat(["cat", "face", "house", "shoe"], 3), 5)
    runs = np.repeat(np.arange(1, 6), 12)
    centres = dict(zip(np.unique(labels), rng.normal(size=(4, 23)), strict=True))
    noise = rng.normal(size=(60, 23))
    features = noise + signal * np.array([centres[name] for name in labels])
    rows = np.zeros((60, 9), dtype=int)
    return haxby.Blocks(features.astype(np.float32), features, rows, labels, runs)


def test_rotation_changes_no_prediction(rng):
    blocks = planted(rng, 0.6)
    test = blocks.runs == 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(blocks.responses[~test], blocks.labels[~test])
    expected = model.predict(blocks.responses[test]) == blocks.labels[test]
    found = haxby.correct(blocks.responses, blocks.labels, test, [0.01, 0.1])
    assert found.shape == (2, 12)
    np.testing.assert_array_equal(found[1], expected)
    assert 0 < expected.mean() < 1


def test_planted_categories_are_found_and_absent_ones_are_not(rng):
    for signal, low, high in ((1.5, 0.9, 1.0), (0.0, 0.05, 0.45)):
        blocks = planted(rng, signal)
        result = haxby.leave_one_run_out(
            lambda run, b=blocks: b.responses, blocks, [1, 2, 3, 4, 5], [0.01, 1.0]
        )
        assert low <= result["right"].mean() <= high
        assert len(result["chosen_c"]) == 5


def test_labels_of_the_held_out_run_choose_nothing(rng):
    blocks = planted(rng, 0.6)
    changed = np.where(blocks.runs == 3, "cat", blocks.labels)
    others = haxby.Blocks(blocks.responses, blocks.volumes, blocks.rows, changed, blocks.runs)
    results = [
        haxby.leave_one_run_out(lambda run: blocks.responses, each, [3], [0.001, 0.1, 10.0])
        for each in (blocks, others)
    ]
    assert results[0]["chosen_c"] == results[1]["chosen_c"]
    assert results[0]["right"].tolist() != results[1]["right"].tolist()


@pytest.fixture(scope="module")
def report(shared, tmp_path_factory):
    source = shared("data/haxby2001-slice")
    folder = tmp_path_factory.mktemp("haxby")
    assert haxby.main(["--source", str(source), "--output", str(folder), "--fast"]) == 0
    return folder, json.loads((folder / "haxby.json").read_text())


def test_raw_voxels_reach_the_reference(report):
    _, content = report
    assert (content["blocks"], content["voxels"], content["volumes"]) == (96, 530, 12 * 121)
    assert content["raw voxels, C 0.01"]["accuracy"] == pytest.approx(0.61, abs=0.03)


def test_every_encoder_is_scored(report):
    _, content = report
    results = content["orders"]["hilbert"]
    for kind, blocks in (("transductive", 96), ("untrained", 96), ("strict", 8)):
        assert results[f"{kind}: tokens"]["blocks"] == blocks
        assert 0 <= results[f"{kind}: tokens"]["accuracy"] <= 1


def test_strict_encoder_saw_nothing_of_the_held_out_run(report):
    folder, _ = report
    with haxby.VoxelStore(folder / "without-01" / "volumes.h5") as store:
        assert store["sub-01"].trials["run"].unique().tolist() == list(range(2, 13))
    config = (folder / "hilbert-without-01" / "config.yaml").read_text()
    assert "without-01/volumes.h5" in config


def test_a_block_is_the_mean_of_its_volumes(report):
    folder, _ = report
    blocks = haxby.read_blocks(folder / "blocks.h5", folder / "volumes.h5")
    assert blocks.rows.shape == (96, 9)
    np.testing.assert_allclose(blocks.volumes[blocks.rows].mean(1), blocks.responses, atol=1e-5)
