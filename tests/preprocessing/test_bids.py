"""`prepare bids` on small data sets whose every value is planted."""

import json
import os

import numpy as np
import pytest

from mindvis.data.store import VoxelStore
from preprocessing.__main__ import main
from preprocessing.bids import prepare_bids
from tests.preprocessing.bids_tree import (
    AFFINE,
    SHAPE,
    Run,
    Tree,
    box_mask,
    build,
    events,
    func_folder,
    values,
    write_image,
    write_table,
)

MASK = box_mask()
V1, V2 = box_mask(2, 0.2), box_mask(3, 0.3)
UNTOUCHED = {"detrend": False, "high_pass": None, "standardise": False}
PICTURES = {f"stimuli/{name}.png": (n * 20, 7, 200) for n, name in enumerate("abcd", start=1)}
SPLITS = {"split": ["train", "train", "test"]}
RUNS = [
    Run(
        "ses-1_task-look_run-1",
        24,
        events(["a.png", "b.png", "c.png"], [2, 12, 20], **SPLITS),
        seed=1,
    ),
    Run(
        "ses-1_task-look_run-2",
        25,
        events(["d.png", "a.png", "c.png"], [4, 14, 24], **SPLITS),
        seed=2,
    ),
    Run("ses-1_task-rest_run-1", 23, seed=3),
    Run(
        "ses-2_task-look_run-1",
        26,
        events(["b.png", "d.png", "c.png"], [6, 16, 30], **SPLITS),
        seed=4,
    ),
]
MASKS = {
    "derivatives/rois/sub-01/anat/sub-01_desc-brain_mask.nii.gz": MASK,
    "derivatives/rois/sub-01/anat/sub-01_label-V1_mask.nii.gz": V1,
    "derivatives/rois/sub-01/anat/sub-01_hemi-L_label-V2_mask.nii.gz": V2
    & (np.arange(5) < 3)[:, None, None],
    "derivatives/rois/sub-01/anat/sub-01_hemi-R_label-V2_mask.nii.gz": V2
    & (np.arange(5) >= 3)[:, None, None],
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return build(
        tmp_path_factory.mktemp("planted") / "data", Tree({"sub-01": RUNS}, MASKS, PICTURES)
    )


@pytest.fixture(scope="module")
def prepared(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "store.h5"
    prepare_bids(str(planted), str(path), lag_start=4.0, lag_end=8.0, **UNTOUCHED)
    with VoxelStore(path) as store:
        yield store


def prepare(source, store, **options):
    """Prepare, and return the opened store."""
    prepare_bids(str(source), str(store), **{**UNTOUCHED, **options})
    return VoxelStore(store)


def test_responses_are_means_of_the_planted_volumes(prepared):
    subject = prepared["sub-01"]
    series = [values(run)[MASK].T.astype(float) for run in RUNS]
    starts = [(0, 3), (0, 8), (0, 12), (1, 4), (1, 9), (1, 14), (3, 5), (3, 10), (3, 17)]
    task = np.stack([series[run][first : first + 2].mean(axis=0) for run, first in starts])
    rest = series[2][:20].reshape(5, 4, -1).mean(axis=1)
    expected = np.concatenate([task[:6], rest, task[6:]])
    np.testing.assert_allclose(subject.responses(), expected, rtol=1e-6)


def test_trials_say_when_and_what(prepared):
    trials = prepared["sub-01"].trials
    assert trials["stimulus"].tolist() == [*"abcdac", *[""] * 5, *"bdc"]
    assert trials["condition"].tolist() == [*"abcdac", *["rest"] * 5, *"bdc"]
    assert trials["repeat"].tolist() == [0, 0, 0, 0, 1, 1, *[0] * 5, 1, 1, 2]
    assert trials["session"].tolist() == [1] * 11 + [2] * 3
    assert trials["run"].tolist() == [1] * 3 + [2] * 3 + [1] * 8
    assert trials["split"].tolist() == [
        *["train", "train", "test"] * 2,
        *[""] * 5,
        "train",
        "train",
        "test",
    ]
    assert trials["kind"].tolist() == ["task"] * 6 + ["rest"] * 5 + ["task"] * 3
    assert trials["onset"].tolist() == [2, 12, 20, 4, 14, 24, 0, 8, 16, 24, 32, 6, 16, 30]


def test_voxels_lie_where_the_mask_is(prepared):
    subject = prepared["sub-01"]
    np.testing.assert_array_equal(subject.ijk, np.argwhere(MASK))
    np.testing.assert_array_equal(subject.affine, AFFINE)
    assert tuple(subject.shape) == SHAPE
    assert sorted(subject.rois) == ["V1", "V2"]
    np.testing.assert_array_equal(subject.roi_mask(["V1"]), V1[MASK])
    np.testing.assert_array_equal(subject.roi_mask(["V2"]), V2[MASK])
    assert (subject.units, subject.space, subject.tr) == ("scanner units", "native", 2.0)


def test_pictures_are_those_of_the_files(prepared):
    stimuli = prepared.stimuli
    assert list(stimuli.ids) == ["a", "b", "c", "d"]
    assert list(stimuli.labels) == ["a", "b", "c", "d"]  # trial_type, as there is no column label
    images = stimuli.images()
    assert images.shape == (4, 8, 9, 3)
    assert images[:, 3, 4].tolist() == [[20 * n, 7, 200] for n in (1, 2, 3, 4)]


def test_attributes_name_data_set_and_options_but_no_place(prepared, planted):
    attrs = prepared.attrs
    assert attrs["dataset"] == "Planted"
    assert attrs["licence"] == "CC0"
    options = json.loads(attrs["command"])
    assert options["lag_end"] == 8.0
    assert options["source"] == "data"
    assert str(planted.parent) not in attrs["command"]
    assert "nilearn" in attrs["software"]


def test_creation_time_is_that_of_the_newest_input(tmp_path):
    root = build(tmp_path / "data", Tree({"sub-01": RUNS[:1]}, MASKS, PICTURES))
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    os.utime(root / "stimuli/b.png", (1.2e9, 1.2e9))
    with prepare(root, tmp_path / "s.h5") as store:
        assert store.attrs["created"] == "2008-01-10T21:20:00Z"


def test_rois_alone_can_be_kept(planted, tmp_path):
    with prepare(planted, tmp_path / "s.h5", voxels="rois") as store:
        np.testing.assert_array_equal(store["sub-01"].ijk, np.argwhere(MASK & (V1 | V2)))


def test_rois_can_be_left_out_or_chosen(planted, tmp_path):
    with prepare(planted, tmp_path / "s.h5", rois="none") as store:
        assert not store["sub-01"].rois
    pattern = "derivatives/rois/{subject}/anat/*_label-V1_mask.nii.gz"
    with prepare(planted, tmp_path / "s.h5", rois=pattern) as store:
        assert list(store["sub-01"].rois) == ["V1"]
    with prepare(planted, tmp_path / "s.h5", rois="derivatives/rois/sub-01/anat") as store:
        assert {"V1", "V2"} <= set(store["sub-01"].rois)


def test_mask_can_be_any_file(planted, tmp_path):
    write_image(tmp_path / "other.nii.gz", V2.astype(np.float32) * 0.3)
    with prepare(planted, tmp_path / "s.h5", mask=str(tmp_path / "other.nii.gz")) as store:
        np.testing.assert_array_equal(store["sub-01"].ijk, np.argwhere(V2))
        assert json.loads(store.attrs["command"])["mask"] == "other.nii.gz"


def test_standardised_runs_have_no_mean_and_unit_deviation(planted, tmp_path):
    options = {"tasks": ["rest"], "rest_window": 2.0, "standardise": True}
    with prepare(planted, tmp_path / "s.h5", **options) as store:
        responses = store["sub-01"].responses()
        assert store.stimuli is None
        assert store["sub-01"].units == "z"
    series = values(RUNS[2])[MASK].T.astype(float)
    expected = (series - series.mean(axis=0)) / series.std(axis=0, ddof=1)
    np.testing.assert_allclose(responses, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["lsa", "lss"])
def test_betas_are_stored_in_the_order_of_trials(planted, tmp_path, method):
    with prepare(planted, tmp_path / "s.h5", response=method) as store:
        subject = store["sub-01"]
        assert subject.units == "beta of scanner units"
        assert subject.responses().shape == (14, int(MASK.sum()))
        assert np.isfinite(subject.responses()).all()


def test_planted_activity_comes_back_as_betas_of_its_trials(tmp_path):
    data = np.zeros((*SHAPE, 60))
    data[..., 6:9] = 5.0  # after the trial at 8 s only
    run = Run("task-look", 60, events(["a.png", "b.png"], [8, 60]), data=data)
    root = build(tmp_path / "data", Tree({"sub-01": [run]}, MASKS, PICTURES))
    with prepare(root, tmp_path / "s.h5", response="lsa") as store:
        first, second = store["sub-01"].responses().mean(axis=1)
    assert first > 1.0
    assert abs(second) < 0.2 * first


def test_several_processes_write_the_same_bytes(planted, tmp_path):
    for name, jobs in (("one.h5", 1), ("two.h5", 2)):
        prepare_bids(str(planted), str(tmp_path / name), n_jobs=jobs)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert not (tmp_path / "two.h5.parts").exists()


def test_subjects_are_added_to_a_store(tmp_path):
    masks = {
        name.replace("sub-01", sub): m for name, m in MASKS.items() for sub in ("sub-01", "sub-x2")
    }
    root = build(tmp_path / "data", Tree({"sub-01": RUNS[:2], "sub-x2": RUNS[3:]}, masks, PICTURES))
    for subject in ("sub-x2", "01"):
        prepare(root, tmp_path / "steps.h5", subjects=subject).close()
    with VoxelStore(tmp_path / "steps.h5") as store:
        assert store.subjects == ("sub-01", "sub-x2")
    with prepare(root, tmp_path / "both.h5", subjects="sub-01,sub-x2") as store:
        assert [len(store[name].trials) for name in store.subjects] == [6, 3]


def derived_tree(root):
    """Raw events beside preprocessed images in two spaces, with a mask for each run."""
    raw = [Run(f"task-look_run-{n}", 24, events(["a.png"], [4 * n]), seed=n) for n in (1, 2)]
    build(root, Tree({"sub-01": raw}, {}, PICTURES))
    runs, masks = [], {}
    for run in raw:
        for space, seed in (("T1w", 10), ("MNI", 20)):
            name = f"{run.name}_space-{space}"
            runs.append(Run(f"{name}_desc-preproc", 24, seed=seed + run.seed))
            masks[f"sub-01/func/sub-01_{name}_desc-brain_mask.nii.gz"] = box_mask(
                seed + run.seed, 0.6
            )
    for space in ("T1w", "MNI"):  # of the anatomy, on a finer grid
        masks[f"sub-01/anat/sub-01_space-{space}_desc-brain_mask.nii.gz"] = np.ones((9, 10, 11))
    build(root / "derivatives/fmriprep", Tree({"sub-01": runs}, masks))
    return runs


def test_derivatives_of_a_space_with_masks_of_their_runs(tmp_path):
    runs = derived_tree(tmp_path / "data")
    options = {"derivatives": "derivatives/fmriprep", "space": "MNI", "lag_end": 6.0}
    with prepare(tmp_path / "data", tmp_path / "s.h5", **options) as store:
        subject = store["sub-01"]
        both = box_mask(21, 0.6) & box_mask(22, 0.6)
        np.testing.assert_array_equal(subject.ijk, np.argwhere(both))
        assert subject.space == "MNI"
        expected = [values(runs[1])[both][:, 4], values(runs[3])[both][:, 6]]
        np.testing.assert_allclose(subject.responses(), expected)


def test_slice_time_reference_shifts_the_volumes(planted, tmp_path):
    root = build(tmp_path / "data", Tree({"sub-01": RUNS[:1]}, MASKS, PICTURES))
    sidecar = func_folder(root, "sub-01", RUNS[0]) / "sub-01_ses-1_task-look_run-1_bold.json"
    sidecar.write_text(json.dumps({"RepetitionTime": 2.0, "StartTime": 1.0}))
    with prepare(root, tmp_path / "s.h5", lag_start=3.0, lag_end=5.0) as store:
        # volumes lie at 1, 3, 5, 7 s: that at 5 s is in 2 + [3, 5) s
        np.testing.assert_allclose(store["sub-01"].responses()[0], values(RUNS[0])[MASK][:, 2])


def test_confounds_are_removed_when_they_are_there(tmp_path):
    rng = np.random.default_rng(5)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    motion = {name: rng.normal(size=40).round(6) for name in names}
    brain = rng.normal(size=SHAPE)
    data = brain[..., None] * motion["rot_y"] + rng.normal(size=(*SHAPE, 40)) * 1e-3
    root = build(tmp_path / "data", Tree({"sub-01": [Run("task-rest", 40, data=data)]}, MASKS))
    table = root / "derivatives/fmriprep/sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
    write_table(table, {**motion, "csf": ["n/a", *range(39)]})
    found = {}
    for choice in ("motion", "none", ["rot_*"], "trans_*,csf"):
        options = {"rest_window": 2.0, "confounds": choice}
        with prepare(root, tmp_path / "s.h5", **options) as store:
            found[str(choice)] = store["sub-01"].responses().std(axis=0).mean()
    assert found["motion"] < 0.01
    assert found["['rot_*']"] < 0.01
    assert found["none"] > 0.5
    assert found["trans_*,csf"] > 0.5


def test_without_picture_column_conditions_remain(planted, tmp_path):
    with prepare(planted, tmp_path / "s.h5", stimulus_column=None, conditions=["a", "d"]) as store:
        trials = store["sub-01"].trials.query("kind == 'task'")
        assert store.stimuli is None
        assert set(trials["stimulus"]) == {""}
        assert trials["condition"].tolist() == ["a", "d", "a", "d"]
        assert trials["repeat"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"test": "repeated", "test_repeats": 3}, {"c"}),
        ({"test": "repeated"}, set("abcd")),
        ({"test": "runs", "test_runs": [2]}, set("dac")),
    ],
)
def test_rules_for_the_test_split(planted, tmp_path, options, expected, recwarn):
    with prepare(planted, tmp_path / "s.h5", split_column=None, **options) as store:
        trials = store["sub-01"].trials
    assert set(trials.loc[trials["split"] == "test", "stimulus"]) == expected
    leaks = [str(w.message) for w in recwarn if "train split" in str(w.message)]
    assert len(leaks) == (options.get("test") == "runs")


def test_pictures_repeated_for_one_subject_are_test_pictures_for_all(tmp_path):
    runs = {
        "sub-01": [Run("task-look", 24, events(["a.png", "a.png", "b.png"], [2, 12, 22]))],
        "sub-02": [Run("task-look", 24, events(["a.png", "b.png"], [2, 12]))],
    }
    masks = {f"derivatives/m/{s}/{s}_desc-brain_mask.nii.gz": MASK for s in runs}
    root = build(tmp_path / "data", Tree(runs, masks, PICTURES))
    with prepare(root, tmp_path / "s.h5", test="repeated") as store:
        assert store["sub-02"].trials["split"].tolist() == ["test", "train"]


def test_label_and_category_columns(tmp_path):
    table = events(
        ["x/a.png", "stimuli/b.png"], [2, 12], kind=["red dot", "red bar"], shape=["dot", "bar"]
    )
    pictures = {"stimuli/x/a.png": (1, 2, 3), "stimuli/b.png": (4, 5, 6)}
    root = build(
        tmp_path / "data", Tree({"sub-01": [Run("task-look", 24, table)]}, MASKS, pictures)
    )
    with prepare(root, tmp_path / "s.h5", label_column="kind", category_column="shape") as store:
        assert list(store.stimuli.ids) == ["stimuli/b", "x/a"]
        assert list(store.stimuli.labels) == ["red bar", "red dot"]
        assert list(store.stimuli.categories) == ["bar", "dot"]
        assert store.stimuli.images()[:, 0, 0].tolist() == [[4, 5, 6], [1, 2, 3]]


def test_names_without_suffix_find_their_pictures_and_sizes_are_made_one(tmp_path):
    table = events(["a", "b", "n/a"], [2, 12, 14])
    table["name"] = table.pop("stim_file")
    pictures = {"pics/a.png": (9, 9, 9), "pics/b.jpeg": (8, 8, 8)}
    root = build(
        tmp_path / "data", Tree({"sub-01": [Run("task-look", 24, table)]}, MASKS, pictures)
    )
    options = {"stimulus_column": "name", "stimulus_root": "pics", "image_size": 5}
    with prepare(root, tmp_path / "s.h5", **options) as store:
        assert store.stimuli.images().shape == (2, 5, 5, 3)
        assert len(store["sub-01"].trials) == 2


def test_voxels_with_nan_are_dropped_when_asked(tmp_path):
    data = values(RUNS[0]).astype(np.float32)
    places = np.argwhere(MASK)
    data[(*places[3], 7)] = np.nan
    data[(*places[11], 0)] = np.inf
    runs = [Run("task-look_run-1", 24, RUNS[0].events, data=data)]
    runs.append(Run("task-look_run-2", 25, RUNS[1].events, seed=2))
    root = build(tmp_path / "data", Tree({"sub-01": runs}, MASKS, PICTURES))
    kept = np.delete(np.arange(len(places)), [3, 11])
    with prepare(root, tmp_path / "s.h5", nan="drop", lag_end=8.0) as store:
        subject = store["sub-01"]
        np.testing.assert_array_equal(subject.ijk, places[kept])
        np.testing.assert_array_equal(subject.rois["V1"], V1[MASK][kept])
        assert np.isfinite(subject.responses()).all()
        expected = values(runs[1])[MASK][kept][:, [4, 5]].mean(axis=1)
        np.testing.assert_allclose(subject.responses()[3], expected, rtol=1e-6)


def test_noise_ceiling_is_stored_when_test_pictures_repeat(planted, tmp_path):
    with prepare(planted, tmp_path / "s.h5", split_column=None, test="repeated") as store:
        assert sorted(store["sub-01"].quality) == ["noise_ceiling", "snr"]
    with prepare(planted, tmp_path / "t.h5") as store:  # one repeated test picture says nothing
        assert not store["sub-01"].quality


def test_long_runs_are_read_in_blocks(planted, tmp_path):
    run = Run("task-rest", 67, seed=9)
    root = build(tmp_path / "data", Tree({"sub-01": [run]}, MASKS))
    with prepare(root, tmp_path / "s.h5", rest_window=2.0) as store:
        np.testing.assert_array_equal(store["sub-01"].responses(), values(run)[MASK].T)


def test_command_line(planted, tmp_path, capsys):
    command = ["bids", "--source", str(planted), "--store", str(tmp_path / "s.h5")]
    assert main([*command, "--tasks", "[look]", "--high_pass", "null", "--lag_end", "8"]) == 0
    assert "sub-01: 3 runs, responses: 3 test, 6 train, " in capsys.readouterr().out
