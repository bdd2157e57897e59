"""`evaluate` on planted pictures: perfect, random and shuffled; with what is missing said."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from mindvis.data.store import VoxelStore
from mindvis.decoding.evaluate import evaluate
from mindvis.decoding.predictions import read_predictions
from mindvis.errors import CheckpointError, ConfigError, DataError, StoreError

SETTINGS = {"bootstrap": 200, "permutations": 199, "n_way": 4}
DRAWS = 2


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A classifier with random weights: it names the same picture the same way, which is enough."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    path = tmp_path_factory.mktemp("runs") / "judge"
    torch.manual_seed(0)
    names = ["red circle", "green circle", "blue circle", "red square", "green square", "moon"]
    config = ResNetConfig(
        hidden_sizes=[8],
        depths=[1],
        embedding_size=8,
        layer_type="basic",
        id2label=dict(enumerate(names)),
    )
    ResNetForImageClassification(config).save_pretrained(path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(path)
    return str(path)


def write_decoded(folder, store, paint, mean_brain=True):
    """A folder as `mindvis decode` leaves it; `paint` maps a true picture to a decoded one."""
    rows = []
    with VoxelStore(store) as opened:
        stimuli = opened.stimuli
        shown = sorted(name for name in stimuli.ids if name.startswith("test"))
        for subject in opened.subjects:
            for name in shown:
                (truth,) = stimuli.images(stimuli.index([name]))
                label = stimuli.labels[stimuli.ids.index(name)]
                save(folder / "truth" / f"{name}.png", truth)
                for draw in range(DRAWS):
                    file = f"images/{subject}/{name}_draw{draw}.png"
                    save(folder / file, paint(truth))
                    row = {"sample_id": f"{subject}_{name}_{draw}", "subject": subject}
                    row |= {"stimulus": name, "label": label, "category": label.split()[1]}
                    row |= {"seen": str(label != "blue square").lower(), "draw": draw}
                    rows.append({**row, "seed": 1, "file": file})
            if mean_brain:
                grey = np.full((16, 16, 3), 128, dtype=np.uint8)
                save(folder / "controls" / "mean-brain" / f"{subject}_draw0.png", grey)
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    config = {"model": "gone", "store": str(store), "split": "test", "transductive": True}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture(scope="module")
def perfect(store, judge, tmp_path_factory):
    """Truths passed off as decoded pictures, and what `evaluate` says of them."""
    folder = write_decoded(tmp_path_factory.mktemp("perfect"), store, lambda truth: truth)
    evaluate(str(folder), judge=judge, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def content(perfect):
    return json.loads((perfect / "metrics.json").read_text())


def test_perfect_pictures_score_perfectly(content):
    assert content["stimuli"] == 12
    for name, entry in content["metrics"].items():
        if name in ("n_way_true_label", "consistency"):  # labels are the judge's to know
            continue
        expected = 0.0 if name == "mse" else 1.0
        assert entry["value"] == pytest.approx(expected), name
        assert entry["n"] == 12
        assert entry["p"] == 1 / 200
    assert 0.5 < content["metrics"]["consistency"]["value"] < 1.5
    assert content["headline"] == "n_way"
    assert content["metrics"]["n_way"]["chance"] == 0.25


def test_controls_lie_below_and_at_chance(content):
    controls = content["controls"]
    painted = {"ridge", "nearest-train-brain", "nearest-train-picture"}
    assert set(controls) == {"shuffled-brain", "mean-brain", *painted}
    for name in ("two_way_ssim", "two_way_mse", "two_way_pixel_correlation"):
        assert controls["shuffled-brain"][name]["value"] == pytest.approx(0.5)
    assert controls["mean-brain"]["pixel_correlation"]["value"] == 0.0
    # the store's responses are a linear code of the picture, which ridge can read
    assert controls["ridge"]["pixel_correlation"]["value"] > 0.5
    assert controls["ridge"]["mse"]["value"] < controls["mean-brain"]["mse"]["value"]
    assert set(content["controls_missing"]) == {
        f"{kind} of {subject}"
        for kind in ("gaussian-brain", "phase-brain", "prior")
        for subject in ("sub-01", "sub-02")
    }
    # twelve stimuli of a noiseless brain: of four classes retrieval is right nearly as often
    assert set(content["controls_failed"]) <= {"nearest-train-brain"}
    assert content["control_checks"]["mean-brain"]["passed"] is True


def test_strata_subjects_and_judge_are_reported(content, judge):
    assert content["strata"]["unseen"]["metrics"]["mse"]["n"] == 2
    assert content["strata"]["seen"]["metrics"]["mse"]["n"] == 10
    assert set(content["subjects"]) == {"sub-01", "sub-02"}
    assert content["subjects"]["sub-02"]["notes"]["picture_size"] == [16, 16]
    assert content["judge"]["classes"] == 6
    assert len(content["judge"]["weights_sha256"]) == 64
    assert content["judge"]["accuracy_on_truth"]["n"] == 10  # "blue square" is no class of its own
    assert content["metrics"]["n_way_true_label"]["n"] == 10
    assert content["transductive"] is True


def test_every_picture_has_a_row(perfect):
    table = pd.read_csv(perfect / "per_sample.csv")
    assert len(table) == 2 * 12 * DRAWS
    assert (table["rank"] == 0).all()
    assert table.loc[table["label"] == "blue square", "n_way_true_label"].isna().all()
    np.testing.assert_allclose(table["ssim"], 1.0)
    assert table["sample_id"].is_unique


def test_evaluation_is_reproducible(perfect, judge):
    before = {name: (perfect / name).read_bytes() for name in ("metrics.json", "per_sample.csv")}
    evaluate(str(perfect), judge=judge, **SETTINGS)
    assert before == {name: (perfect / name).read_bytes() for name in before}


def test_pictures_that_say_nothing_are_at_chance(store, judge, tmp_path, rng, capsys):
    folder = write_decoded(
        tmp_path, store, lambda truth: rng.integers(0, 256, truth.shape, dtype=np.uint8)
    )
    found = evaluate(str(folder), judge=judge, **SETTINGS)
    for name in ("two_way_ssim", "two_way_pixel_correlation"):
        low, high = found["metrics"][name]["ci95"]
        assert low < 0.5 < high
        assert found["metrics"][name]["p"] > 0.01
    assert abs(found["metrics"]["pixel_correlation"]["value"]) < 0.05
    printed = capsys.readouterr().out
    assert "4-way top-1" in printed
    assert str(folder / "report.html") in printed


def test_without_judge_store_or_mean_brain_the_rest_is_computed(store, tmp_path):
    folder = write_decoded(tmp_path, store, lambda truth: truth, mean_brain=False)
    config = {"store": str(tmp_path / "gone.h5")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    found = evaluate(str(folder), bootstrap=200, permutations=199)
    assert found["metrics"]["n_way"]["value"] is None
    assert "--judge" in found["metrics"]["n_way"]["reason"]
    assert found["metrics"]["ssim"]["value"] == pytest.approx(1.0)
    assert found["judge"] is None
    assert found["transductive"] is None
    assert "there is no store" in found["controls_missing"]["ridge of sub-01"]
    assert "no picture" in found["controls_missing"]["mean-brain of sub-02"]
    json.dumps(found, allow_nan=False)
    assert "No n-way accuracy:" in (folder / "report.html").read_text()


def test_truths_of_another_size_are_brought_to_that_of_the_pictures(store, tmp_path):
    folder = write_decoded(tmp_path, store, lambda truth: truth[::2, ::2])
    found = evaluate(str(folder), ridge=False, bootstrap=200, permutations=199)
    assert found["subjects"]["sub-01"]["notes"]["truths_resized"] is True
    assert found["subjects"]["sub-01"]["notes"]["picture_size"] == [8, 8]
    assert found["metrics"]["pixel_correlation"]["value"] > 0.8


@pytest.fixture
def copy(perfect, tmp_path):
    return shutil.copytree(perfect, tmp_path / "copy")


def test_an_unfinished_folder_is_refused(copy):
    (copy / "images" / "sub-01" / "test-003_draw1.png").unlink()
    message = r"lacks 1 of its 48 pictures, images/sub-01/test-003_draw1.png among them; run"
    with pytest.raises(DataError, match=message):
        evaluate(str(copy))
    (copy / "index.csv").unlink()
    with pytest.raises(DataError, match=r"no .*index.csv; .*run `mindvis decode` first"):
        evaluate(str(copy))


def test_a_damaged_picture_is_refused_by_name(copy):
    file = copy / "images" / "sub-02" / "test-001_draw0.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match=r"test-001_draw0.png is not a readable picture"):
        evaluate(str(copy))


def test_an_index_with_missing_draws_or_columns_is_refused(copy):
    index = pd.read_csv(copy / "index.csv", dtype=str)
    index.iloc[1:].to_csv(copy / "index.csv", index=False)
    with pytest.raises(DataError, match=r"'test-000' of subject sub-01 has draws \[1\]; expected"):
        read_predictions(copy)
    index.drop(columns="seen").to_csv(copy / "index.csv", index=False)
    with pytest.raises(DataError, match="has no column seen"):
        read_predictions(copy)
    index.iloc[:0].to_csv(copy / "index.csv", index=False)
    with pytest.raises(DataError, match="lists no pictures"):
        read_predictions(copy)


def test_impossible_options_are_refused_before_any_work(perfect, judge, tmp_path):
    with pytest.raises(ConfigError, match="50-way accuracy was asked of a judge of 6 classes"):
        evaluate(str(perfect), judge=judge)
    with pytest.raises(ConfigError, match="bootstrap is 5"):
        evaluate(str(perfect), bootstrap=5)
    with pytest.raises(CheckpointError, match="no judge in"):
        evaluate(str(perfect), judge=str(tmp_path))
    with pytest.raises(StoreError, match="there is no store"):
        evaluate(str(perfect), store=str(tmp_path / "no.h5"))
