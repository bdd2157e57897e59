"""Spellings of one picture and of one run, and windows that begin and end between volumes."""

from unicodedata import normalize

import pytest

from mindvis import VoxelStore
from preprocessing.bids import prepare_bids
from tests.preprocessing.bids_tree import Run, Tree, box_mask, build, events, write_table

MASKS = {"derivatives/masks/sub-01/func/sub-01_desc-brain_mask.nii.gz": box_mask()}


def prepare(tmp_path, table, pictures):
    tree = Tree({"sub-01": [Run("task-look", 24, table)]}, MASKS, pictures)
    root = build(tmp_path / "data", tree)
    prepare_bids(str(root), str(tmp_path / "s.h5"))
    return VoxelStore(tmp_path / "s.h5")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_picture_is_one_in_every_spelling(tmp_path, on_disk):
    """Composed and decomposed, with and without ./, in the table and on disk."""
    name = "K\u00e4se.png"
    spelled = [normalize("NFC", name), normalize("NFD", name), f"./{name}"]
    table = {**events(spelled, [2, 14, 26]), "trial_type": ["food"] * 3}
    with prepare(tmp_path, table, {f"stimuli/{normalize(on_disk, name)}": (1, 2, 3)}) as store:
        assert list(store.stimuli.ids) == ["K\u00e4se"]
        assert store["sub-01"].trials["repeat"].tolist() == [0, 1, 2]


def test_an_event_between_volumes_is_covered_by_its_window(tmp_path):
    """Two volumes of 2 s lie from 4 to 9 s after an onset at 12.5 s; the event lasts 9 s."""
    table = {**events(["a.png"], [12.5]), "duration": [9]}
    with prepare(tmp_path, table, {"stimuli/a.png": (1, 2, 3)}) as store:
        assert store["sub-01"].num_trials == 1


def test_times_of_acquisition_of_raw_images_are_those_of_what_was_made_of_them(tmp_path):
    """The raw data set's *_scans.tsv orders the repeats in fMRIPrep's images: run 2 was first."""
    table = events(["a.png"], [2])
    runs = [Run(f"task-look_run-{n}_space-T1w_desc-preproc", 24, table, seed=n) for n in (1, 2)]
    mask = {"sub-01/func/sub-01_space-T1w_desc-brain_mask.nii.gz": box_mask()}
    tree = Tree({"sub-01": runs}, mask, {"../../stimuli/a.png": (1, 2, 3)})
    root = tmp_path / "data"
    build(root / "derivatives" / "fmriprep", tree)
    names = [f"func/sub-01_task-look_run-0{n}_bold.nii.gz" for n in (1, 2)]
    times = ["2026-01-02T11:00:00", "2026-01-02T10:00:00"]
    write_table(root / "sub-01" / "sub-01_scans.tsv", {"filename": names, "acq_time": times})
    prepare_bids(str(root), str(tmp_path / "s.h5"), derivatives="derivatives/fmriprep")
    with VoxelStore(tmp_path / "s.h5") as store:
        trials = store["sub-01"].trials
    assert dict(zip(trials["run"], trials["repeat"], strict=True)) == {1: 1, 2: 0}
