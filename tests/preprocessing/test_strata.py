"""`prepare strata`: pictures that other data sets show too."""

import json

import numpy as np
import pandas as pd
import pytest

from mindvis.data.schema import StimulusData
from mindvis.data.store import VoxelStore, write_store
from mindvis.errors import ConfigError, SourceError
from mindvis.files import sha256
from preprocessing.__main__ import main as command
from preprocessing.strata import prepare_strata
from tests.data.test_leaks import brain
from tests.data.test_similarity import natural

#: BOLD5000 and GOD in one, which a test may do
NAMES = [
    "COCO_train2014_000000000036",
    "COCO_train2014_000000000049",
    "n01440764_10026",
    "n01440764_10027",
    "n03626115_19498",
    "rep_concert5",
]
SPLITS = ["train", "test", "train", "test", "test", "train"]


@pytest.fixture
def store(tmp_path, rng):
    images = natural(rng, 6)
    images[3] = images[2]
    stimuli = StimulusData(images, NAMES, NAMES, NAMES)
    write_store(tmp_path / "s.h5", [("a", brain(SPLITS, NAMES))], stimuli, {"dataset": "both"})
    return tmp_path / "s.h5"


@pytest.fixture
def info(tmp_path):
    coco = np.arange(73000) * 3 + 1000
    coco[72999] = 49
    table = pd.DataFrame({"cocoId": coco, "nsdId": np.arange(73000), "BOLD5000": False})
    table.to_csv(tmp_path / "nsd_stim_info_merged.csv")
    return tmp_path / "nsd_stim_info_merged.csv"


def inside(path):
    with VoxelStore(path) as opened:
        ids = np.array(opened.stimuli.ids)
        return {name: ids[rows].tolist() for name, rows in opened.stimuli.strata.items()}


def test_overlaps_by_coco_number_and_by_synset(store, info, tmp_path, capsys):
    listing = tmp_path / "train.txt"
    listing.write_text("n01440764/n01440764_10026.JPEG 0\nn02999999/n02999999_1.JPEG 4\n")
    before = VoxelStore(store)["a"].responses()
    prepare_strata(str(store), nsd=str(info), ilsvrc=str(listing))
    assert inside(store) == {
        "in_nsd": ["COCO_train2014_000000000049"],
        "ilsvrc_class": ["n01440764_10026", "n01440764_10027"],
        "ilsvrc_train": ["n01440764_10026"],
        "look_alike": ["n01440764_10026", "n01440764_10027"],
    }
    assert "in_nsd: 0 of 3 train pictures, 1 of 3 test pictures" in capsys.readouterr().out
    with VoxelStore(store) as opened:
        np.testing.assert_array_equal(opened["a"].responses(), before)
        assert opened.attrs["dataset"] == "both"


def test_another_file_leaves_the_store_alone(store, info, tmp_path):
    before = sha256(store)
    prepare_strata(str(store), str(tmp_path / "marked.h5"), nsd=str(info))
    assert sha256(store) == before
    assert inside(tmp_path / "marked.h5")["in_nsd"] == ["COCO_train2014_000000000049"]
    with VoxelStore(tmp_path / "marked.h5") as opened:
        assert opened["a"].num_trials == 6


def test_classes_of_an_index_and_of_a_folder(store, tmp_path):
    index = tmp_path / "imagenet_class_index.json"
    index.write_text(json.dumps({"0": ["n03626115", "lampshade"], "1": ["n01443537", "goldfish"]}))
    prepare_strata(str(store), ilsvrc=str(index))
    assert inside(store)["ilsvrc_class"] == ["n03626115_19498"]
    assert "ilsvrc_train" not in inside(store)
    (tmp_path / "train" / "n03626115").mkdir(parents=True)
    (tmp_path / "train" / "n03626115" / "n03626115_19498.JPEG").write_bytes(b"")
    prepare_strata(str(store), ilsvrc=str(tmp_path / "train"))
    assert inside(store)["ilsvrc_train"] == ["n03626115_19498"]


def test_what_cannot_be_compared_is_said(store, info, tmp_path, rng, capsys):
    listing = tmp_path / "list.txt"
    listing.write_text("cat\ndog\n")
    with pytest.raises(SourceError, match=r"list.txt names no synsets; expected names such as n01"):
        prepare_strata(str(store), ilsvrc=str(listing))
    pd.read_csv(info)[:70].to_csv(info)
    with pytest.raises(
        SourceError, match=r"nsdId in .* has 70 values; expected each number from 0"
    ):
        prepare_strata(str(store), nsd=str(info))
    names = ["x", "y"]
    stimuli = StimulusData(natural(rng, 2), names, names, names)
    write_store(tmp_path / "t.h5", [("a", brain(["train", "test"], names))], stimuli, {})
    listing.write_text("n01440764\n")
    with pytest.raises(ConfigError, match=r"none of the 2 pictures is named after ImageNet, 'x'"):
        prepare_strata(str(tmp_path / "t.h5"), ilsvrc=str(listing))
    assert command(["strata", "--source", str(tmp_path / "none.h5")]) == 2
    assert "there is no store" in capsys.readouterr().err
