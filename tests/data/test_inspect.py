"""`mindvis inspect` says what is there and what is wrong."""

import json

import numpy as np
import pytest

from mindvis.data.datamodule import ResponseData
from mindvis.data.inspect import describe_folder, describe_store, inspect
from mindvis.data.reliability import explainable_variance
from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.errors import DataError, StoreError


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
def test_planted_share_of_signal_is_recovered_without_bias(rng, share):
    stimuli = np.repeat(np.arange(40), rng.integers(2, 5, 40))  # unequal repeats
    signal = rng.normal(size=(40, 4000)) * share**0.5
    noise = rng.normal(size=(len(stimuli), 4000)) * (1 - share) ** 0.5
    scores = explainable_variance(50 + signal[stimuli] + noise, [str(s) for s in stimuli])
    assert np.median(scores) == pytest.approx(share, abs=0.03)
    if share == 0:
        assert 0.4 < (scores < 0).mean() < 0.65


def test_by_hand_two_stimuli_two_repeats():
    """Within: (1 + 1 + 1 + 1) / 2 = 2 for deviations of one; between: 2 (4 + 4) / 1 = 16."""
    scores = explainable_variance([[1.0], [3.0], [5.0], [7.0]], ["a", "a", "b", "b"])
    assert scores == pytest.approx([7 / 9])  # signal (16 - 2) / 2 = 7


def test_constant_voxels_have_no_score(rng):
    rows = rng.normal(size=(6, 2))
    rows[:, 1] = 4
    assert np.isnan(explainable_variance(rows, list("aabbcc"))).tolist() == [False, True]


@pytest.mark.parametrize("stimuli", ["abcd", "aaaa"])
def test_no_repeats(rng, stimuli):
    with pytest.raises(DataError, match="repeats of at least two stimuli"):
        explainable_variance(rng.normal(size=(4, 2)), list(stimuli))


def test_a_store_is_described(store, capsys):
    inspect(str(store))
    text = capsys.readouterr().out
    for part in (
        "subject sub-01: 92 responses of 70 voxels, in z, TR 2 s",
        "train: 40 trials of 40 stimuli, 1 of each",
        "test: 36 trials of 12 stimuli, 3 of each",
        "rest: 16 windows",
        "LOC 28, V1 28, V4 28, VC 84",
        "52 pictures of 16 x 16 pixels",
        "6 classes in 2 categories",
        "dataset: synthetic",
        "problems: none",
    ):
        assert part in text


def test_more_noise_leaves_less_to_explain(tmp_path):
    def share(noise):
        make_store(tmp_path / f"{noise}.h5", noise=noise, subjects=1)
        lines = "\n".join(describe_store(tmp_path / f"{noise}.h5"))
        return float(lines.split("single trial: ")[1].split()[0])

    assert share(0.3) > 0.75
    assert share(3.0) < 0.3


def test_problems_are_listed(store, tmp_path):
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        responses, trials = read.responses(), read.trials.copy()
        responses[5, [1, 2]] = np.nan
        responses[:, 9] = 3
        trials.loc[0, "stimulus"] = "test-001"
        trials.loc[1, "stimulus"] = ""
        ijk = read.ijk.copy()
        ijk[4] = ijk[3]
        rois = {"none": np.zeros(70, bool), "V1": read.rois["V1"]}
        data = SubjectData(responses, trials, ijk, read.affine, read.shape, rois)
        write_store(tmp_path / "s.h5", [("sub-01", data)], None, {})
    text = "\n".join(describe_store(tmp_path / "s.h5"))
    for part in (
        "problems: 6",
        "sub-01: 1 stimuli are in train and in test, 'test-001' the first",
        "1 task trials have no stimulus",
        "1 voxels share their place",
        "ROI none is empty",
        "2 voxels are NaN or infinite",
        "1 voxels never change",
        "TR unknown",
    ):
        assert part in text


def test_a_store_without_tests_or_regions(store, tmp_path):
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        rest = (read.trials["kind"] == "rest").to_numpy()
        data = SubjectData(
            read.responses(rest), read.trials[rest], read.ijk, read.affine, read.shape
        )
        write_store(tmp_path / "s.h5", [("sub-01", data)], None, {})
    text = "\n".join(describe_store(tmp_path / "s.h5"))
    assert "unknown, no test stimulus is repeated" in text
    assert "ROIs (voxels): none" in text
    assert "test: 0 trials of 0 stimuli, 0 of each" in text


def test_a_run_is_described(store, tmp_path, capsys):
    ResponseData(str(store), rows="test").preprocessing.save(tmp_path / "model")
    (tmp_path / "model" / "mae").mkdir()
    (tmp_path / "model" / "mae" / "config.json").write_text('{"_class_name": "BrainMAE"}')
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"0" * 2_000_000)
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n1,0.5,\n2,0.4,\n2,,0.6\n")
    files = [{"path": str(store), "bytes": 7}, {"path": str(tmp_path / "gone"), "bytes": 1}]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    inspect(str(tmp_path))
    text = capsys.readouterr().out
    for part in (
        "model/mae: BrainMAE",
        "last.ckpt: 2.0 MB",
        "96 voxels in patches of 16; roi all, order stored, standardise voxel",
        "subject sub-02: 93 of 93 stored voxels",
        "transductive",
        "last values: step 2, train/loss 0.4, val/loss 0.6",
        "made from 2 files",
        f"problem: input {store} is gone or has changed",
        "problem: input " + str(tmp_path / "gone"),
    ):
        assert part in text


def test_decoded_pictures_are_counted(tmp_path):
    (tmp_path / "index.csv").write_text("sample_id,file\na,b\nc,d\n")
    assert "  index.csv: 2 pictures" in list(describe_folder(tmp_path))


def test_nothing_to_inspect(tmp_path):
    with pytest.raises(StoreError, match="holds nothing that mindvis wrote"):
        inspect(str(tmp_path))
    with pytest.raises(StoreError, match="there is no store"):
        inspect(str(tmp_path / "x.h5"))
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        inspect(str(tmp_path))
