"""What MinD-Vis does with responses and we do not by default: rows that standardise, what an item
is.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from mindvis.data.datamodule import PairData, ResponseData
from mindvis.data.items import repeat_items
from mindvis.data.store import VoxelStore
from mindvis.decoding.decode import Encodings
from mindvis.decoding.listing import Item
from mindvis.errors import ConfigError

LEGACY = {"subjects": ["sub-02"], "standardise": "global", "padding": "legacy", "val_fraction": 0}


def whole(dataset):
    return dataset.__getitems__(range(len(dataset)))


@pytest.fixture
def responses(store):
    """Task rows of sub-02 as stored: training and test."""
    with VoxelStore(store) as opened:
        read = opened["sub-02"]
        task = (read.trials["kind"] == "task").to_numpy()
        test = (read.trials["split"] == "test").to_numpy()
        return read.responses()[task & ~test], read.responses()[task & test]


def padded(rows):
    """93 voxels and the first three again, to six patches."""
    return np.concatenate([rows, rows[:, :3]], axis=1)


@pytest.mark.parametrize("statistics", ["train", "train_only", "all"])
def test_rows_that_standardise(store, responses, statistics):
    train, test = map(padded, responses)
    measured = np.concatenate([train, test]) if statistics == "all" else train
    mean, std = measured.mean(), measured.std()
    for data in (
        PairData(str(store), **LEGACY, statistics=statistics),
        ResponseData(str(store), **LEGACY, statistics=statistics, kinds=["task"]),
    ):
        read = {split: whole(data.dataset(split))["voxels"] for split in ("train", "test")}
        np.testing.assert_allclose(read["train"], (train - mean) / std, atol=1e-4)
        expected = test if statistics == "train_only" else (test - mean) / std
        np.testing.assert_allclose(read["test"], expected, atol=1e-4)
        assert data.sees_test == (statistics == "all")
        assert data.preprocessing.transductive == (statistics == "all")
        assert data.preprocessing.settings["statistics"] == statistics


def test_decoding_leaves_test_responses_as_stored_where_training_did(store, responses):
    train, test = map(padded, responses)
    preprocessing = PairData(str(store), **LEGACY, statistics="train_only").preprocessing
    with VoxelStore(store) as opened:
        trials = opened["sub-02"].trials
        task = trials["kind"] == "task"
        rows = {
            split: tuple(np.flatnonzero(task & ((trials["split"] == "test") == (split == "test"))))
            for split in ("train", "test")
        }
        encodings = Encodings(None, preprocessing, opened, [Item("sub-02", "x", ())], "test")
        shown = encodings._voxels(Item("sub-02", "x", rows["test"][:3]))
        control = encodings._voxels(Item("sub-02", "mean-brain", rows["train"], control=True))
    np.testing.assert_allclose(shown, test[:3].mean(0), atol=1e-4)
    np.testing.assert_allclose(control, (train.mean(0) - train.mean()) / train.std(), atol=1e-4)


def test_test_rows_for_adaptation_are_left_as_stored_too(store, responses):
    data = ResponseData(str(store), **LEGACY, statistics="train_only", rows="test", kinds=["task"])
    np.testing.assert_allclose(whole(data.dataset("train"))["voxels"], padded(responses[1]))
    assert data.sees_test


def test_a_new_subject_is_standardised_as_its_own_options_say(store, tmp_path):
    first = {**LEGACY, "subjects": ["sub-01"], "statistics": "train_only", "length": 112}
    ResponseData(str(store), **first).preprocessing.save(tmp_path)
    both = {**LEGACY, "subjects": None, "statistics": "all", "preprocessing": str(tmp_path)}
    preprocessing = PairData(str(store), **both).preprocessing
    assert (preprocessing["sub-01"].raw_test, preprocessing["sub-02"].raw_test) == (True, False)
    assert preprocessing.transductive
    known = PairData(str(store), **{**both, "subjects": ["sub-01"]}).preprocessing
    assert not known.transductive


def test_items_are_rows_means_or_both():
    stimuli = ["b", "", "a", "b", "", "a", "c"]
    trials, rows = pd.DataFrame({"stimulus": stimuli}), np.array([0, 1, 3, 4, 5, 6])

    def items(repeats):
        return [item.tolist() for item in repeat_items(trials, rows, repeats)]

    assert items("single") == [[0], [1], [3], [4], [5], [6]]
    assert items("average") == [[0, 3], [5], [6], [1], [4]]
    assert items("both") == [[0, 3], [5], [6], *items("single")]


def test_test_trials_and_their_averages_make_the_items_of_adaptation(store, responses):
    options = {**LEGACY, "statistics": "train_only", "rows": "test", "kinds": ["task"]}
    voxels = whole(ResponseData(str(store), **options, repeats="both").dataset("train"))["voxels"]
    test = torch.from_numpy(padded(responses[1]))
    assert len(voxels) == 12 + 36  # 12 pictures, 3 trials each
    torch.testing.assert_close(voxels[12:], test)
    torch.testing.assert_close(voxels[:12].mean(0), test.mean(0))


def test_pairs_of_one_subject_are_added_to_training(store):
    plain = ResponseData(str(store), kinds=["task"])
    more = ResponseData(str(store), kinds=["task"], interpolation=1.5)
    before, after = whole(plain.dataset("train")), whole(more.dataset("train"))
    for subject in (0, 1):
        measured = before["voxels"][before["subject"] == subject]
        found = after["voxels"][after["subject"] == subject]
        count = len(measured)
        assert len(found) == count + count // 2
        assert torch.equal(found[:count], measured)
        for pair in found[count:]:
            means = (measured[:, None] + measured[None]) / 2
            distance = (means - pair).abs().amax(-1)
            first, second = divmod(int(distance.argmin()), count)
            assert distance.min() < 1e-5
            assert first != second
    again = whole(ResponseData(str(store), kinds=["task"], interpolation=1.5).dataset("train"))
    assert torch.equal(again["voxels"], after["voxels"])
    assert len(more.dataset("val")) == len(plain.dataset("val"))


def test_fewer_items_than_responses_are_refused(store):
    with pytest.raises(ConfigError, match=r"interpolation is 0\.5; expected 1 or more"):
        ResponseData(str(store), interpolation=0.5)
