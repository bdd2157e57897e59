"""Splits are disjoint, by stimulus, and the same for all subjects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindvis.data.splits import digest, groups, held_out, split_rows
from mindvis.data.store import VoxelStore
from mindvis.errors import ConfigError


@pytest.fixture
def trials(store):
    with VoxelStore(store) as opened:
        return opened["sub-01"].trials


@pytest.mark.parametrize("kinds", [("task",), ("rest",), ("task", "rest")])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_splits_cover_the_rows_and_are_disjoint(trials, kinds, fraction):
    rows = {
        split: set(split_rows(trials, split, fraction, kinds=kinds))
        for split in ("train", "val", "test")
    }
    wanted = set(np.flatnonzero(trials["kind"].isin(kinds)))
    assert rows["train"] | rows["val"] | rows["test"] == wanted
    assert sum(map(len, rows.values())) == len(wanted)
    assert (trials["split"].iloc[sorted(rows["test"])] == "test").all()
    names = np.array(groups(trials), dtype=object)
    assert not {*names[sorted(rows["train"])]} & {*names[sorted(rows["val"])]}
    assert bool(rows["val"]) == (fraction > 0)


def test_validation_keeps_all_repeats_of_a_stimulus():
    trials = pd.DataFrame(
        {
            "stimulus": list("abcdefgh") * 3,
            "session": 1,
            "run": 1,
            "split": "train",
            "kind": "task",
        }
    )
    rows = split_rows(trials, "val", 0.25)
    assert len(rows) == 6
    assert sorted(trials["stimulus"].iloc[rows].value_counts()) == [3, 3]


@given(
    st.sets(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=30),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_held_out_is_a_proper_part_that_depends_on_names_alone(names, fraction, seed):
    kept = held_out(names, fraction, seed)
    assert kept == held_out(sorted(names, reverse=True) * 2, fraction, seed)
    assert 0 < len(kept) < len(names)
    assert kept < names


def test_more_held_out_contains_less():
    names = [str(number) for number in range(50)]
    assert held_out(names, 0.1, 3) < held_out(names, 0.4, 3)
    assert held_out(names, 0.4, 3) != held_out(names, 0.4, 4)


def test_a_subject_with_fewer_stimuli_holds_out_the_same(trials):
    everything = groups(trials)
    some = trials.iloc[::2].reset_index(drop=True)
    kept = held_out(everything, 0.3, 0)
    rows = split_rows(some, "train", 0.3, 0, universe=everything)
    assert not set(some["stimulus"].iloc[rows]) & kept


def test_rest_is_held_out_by_run(trials):
    rest = trials[trials["kind"] == "rest"].reset_index(drop=True)
    val = split_rows(rest, "val", 0.5, kinds=("rest",))
    train = split_rows(rest, "train", 0.5, kinds=("rest",))
    assert not set(rest["run"].iloc[val]) & set(rest["run"].iloc[train])
    assert min(len(val), len(train)) > 0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2])
def test_fraction_out_of_range(trials, fraction):
    with pytest.raises(ConfigError, match=r"val_fraction is .*from 0 up to"):
        split_rows(trials, "train", fraction)


def test_digest_tells_splits_apart():
    assert digest(["a", "b"]) == digest(["b", "a", "b"])
    assert digest(["a", "b"]) != digest(["ab"])
