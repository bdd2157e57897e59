"""No picture, nor one that looks like it, is on both sides of a split unnoticed."""

import numpy as np
import pandas as pd
import pytest

from mindvis.data.inspect import describe_store
from mindvis.data.leaks import find_leaks, look_alikes
from mindvis.data.schema import StimulusData
from mindvis.data.store import SubjectData, VoxelStore, write_store
from tests.data.test_similarity import brightened, natural


def brain(splits, stimuli):
    count = len(stimuli)
    columns = {"condition": "", "session": 1, "run": 1, "repeat": 0, "onset": 0.0, "kind": "task"}
    trials = pd.DataFrame({"stimulus": stimuli, "split": splits, **columns})
    responses = np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32)
    ijk = np.arange(12, dtype=np.int32).reshape(4, 3) // 3
    return SubjectData(responses, trials, ijk, np.eye(4), (4, 4, 4))


def written(path, images, people, strata=None):
    ids = [f"p{n:02d}" for n in range(len(images))]
    write_store(path, people, StimulusData(images, ids, ids, ids, strata or {}), {})
    return VoxelStore(path)


SPLITS, NAMES = ["train"] * 4 + ["test"] * 3, [f"p{n:02d}" for n in range(7)]


@pytest.fixture
def images(rng):
    return natural(rng, 7)


def test_a_clean_split(tmp_path, images):
    with written(tmp_path / "s.h5", images, [("a", brain(SPLITS, NAMES))]) as store:
        assert list(find_leaks(store)) == []


def test_a_copy_in_the_other_split(tmp_path, images):
    images[5] = brightened(images[2])
    with written(tmp_path / "s.h5", images, [("a", brain(SPLITS, NAMES))]) as store:
        assert look_alikes(store) == [("p02", "p05")]
        said = list(find_leaks(store))
    assert said == ["1 test pictures look like a training picture, 'p05' like 'p02'"]
    assert "  " + said[0] in list(describe_store(tmp_path / "s.h5"))


def test_a_copy_in_the_same_split_is_no_leak(tmp_path, images):
    images[5], images[1] = images[6], images[0]
    with written(tmp_path / "s.h5", images, [("a", brain(SPLITS, NAMES))]) as store:
        assert list(find_leaks(store)) == []


def test_a_picture_of_two_subjects(tmp_path, images):
    people = [("a", brain(SPLITS, NAMES)), ("b", brain(["train"] * 2, ["p05", "p01"]))]
    with written(tmp_path / "s.h5", images, people) as store:
        assert list(find_leaks(store)) == [
            "1 stimuli are train for one subject and test for another, 'p05' the first"
        ]


def test_strata_are_counted_by_split(tmp_path, images):
    inside = np.array([True, False, True, False, True, False, False])
    with written(tmp_path / "s.h5", images, [("a", brain(SPLITS, NAMES))], {"in_x": inside}):
        assert "  stratum in_x: 2 of 4 in train, 1 of 3 in test" in [
            *describe_store(tmp_path / "s.h5")
        ]
