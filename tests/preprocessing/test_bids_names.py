"""Entities, confounds and times in the forms in which people have them."""

import json

import h5py
import nibabel as nib
import numpy as np
import pytest

from mindvis import VoxelStore
from mindvis.errors import MindVisError
from preprocessing.bids import prepare_bids
from tests.preprocessing.bids_tree import Run, Tree, box_mask, build, events, write_table

MASKS = {"derivatives/masks/sub-01/func/sub-01_desc-brain_mask.nii.gz": box_mask()}
PICTURES = {"stimuli/a.png": (1, 2, 3), "stimuli/b.png": (4, 5, 6)}
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
RAW = {"high_pass": None, "standardise": False, "detrend": False}


def tree(tmp_path, *names, **options):
    """Runs of two trials each, and their folder."""
    shown = events(["a.png", "b.png"], [2, 30])
    runs = [Run(name, 24, shown, seed=n, **options) for n, name in enumerate(names)]
    return build(tmp_path / "data", Tree({"sub-01": runs}, MASKS, PICTURES))


def prepared(root, **options):
    store = root.parent / "s.h5"
    prepare_bids(str(root), str(store), **{**RAW, **options})
    with VoxelStore(store) as opened:
        brain = opened["sub-01"]
        return brain.trials, brain.responses()


def refused(root, match, **options):
    with pytest.raises(MindVisError, match=match):
        prepared(root, **options)


def move(root, old, new):
    """Rename the files of a run."""
    for path in list(root.rglob(f"*{old}*")):
        path.rename(path.with_name(path.name.replace(old, new)))


def test_run_01_is_run_1(tmp_path, capsys):
    root = tree(tmp_path, "task-look_run-1", "task-look_run-2")
    _, wanted = prepared(root)
    for path in root.rglob("*_events.tsv"):
        path.rename(path.with_name(path.name.replace("run-", "run-0")))
    np.testing.assert_array_equal(prepared(root)[1], wanted)
    assert "run-1_bold.nii.gz: events sub-01_task-look_run-01_events.tsv" in capsys.readouterr().out


@pytest.mark.parametrize("entity", ["echo", "rec"])
def test_images_of_one_acquisition_must_be_chosen(tmp_path, entity):
    root = tree(tmp_path, f"task-look_{entity}-1_run-1", f"task-look_{entity}-2_run-1")
    refused(root, rf"two images, .*--entities \({entity}-1 or {entity}-2\)")
    trials, _ = prepared(root, entities=f"{entity}-2")
    assert len(trials) == 2


def test_directions_that_share_an_event_table_must_be_chosen(tmp_path):
    root = tree(tmp_path, "task-look_dir-AP_run-1", "task-look_dir-PA_run-1")
    assert len(prepared(root)[0]) == 4
    move(root, "dir-AP_run-1_events", "run-1_events")
    next(root.rglob("*dir-PA_run-1_events.tsv")).unlink()
    refused(root, r"have one event table, .*--entities \(dir-AP or dir-PA\)")
    assert len(prepared(root, entities="dir-PA")[0]) == 2


@pytest.mark.parametrize(
    ("entity", "option"), [("space-T1w", {"space": "none"}), ("res-2", {"resolution": "none"})]
)
def test_the_image_without_an_entity_can_be_chosen(tmp_path, entity, option):
    root = tree(tmp_path, "task-look_run-1", f"task-look_run-1_{entity}")
    refused(root, "two images, .*none")
    wanted = nib.load(root / "sub-01/func/sub-01_task-look_run-1_bold.nii.gz").get_fdata()
    responses = prepared(root, **option)[1]
    volumes = wanted[MASKS[next(iter(MASKS))]][:, [3, 4, 5]]  # 4 to 9 s after 2 s
    np.testing.assert_allclose(responses[0], volumes.mean(1), rtol=1e-5)


def test_test_runs_are_those_of_every_task(tmp_path):
    names = [f"task-{task}_run-{run}" for task in ("faces", "tools") for run in (1, 2, 3)]
    root = tree(tmp_path, *names)
    trials, _ = prepared(root, test="runs", test_runs=[3])
    assert trials.groupby("run")["split"].first().tolist() == ["train", "train", "test"] * 2
    refused(
        root, "--test_runs names run 7; expected some among 1, 2, 3", test="runs", test_runs=[7]
    )


def test_files_that_a_mac_leaves_are_passed_over(tmp_path):
    root = tree(tmp_path, "task-look_run-1")
    _, wanted = prepared(root)
    for path in [p for p in root.rglob("*") if p.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    np.testing.assert_array_equal(prepared(root)[1], wanted)


@pytest.mark.parametrize("ending", ["desc-confounds_regressors", "bold_confounds"])
@pytest.mark.parametrize(
    "columns", ["trans_x trans_y trans_z rot_x rot_y rot_z", "X Y Z RotX RotY RotZ"]
)
def test_confounds_under_older_names(tmp_path, ending, columns):
    root = tree(tmp_path, "task-look_run-1")
    motion = np.random.default_rng(0).standard_normal((24, 6))
    func = root / "sub-01/func"
    named = dict(zip(MOTION, motion.T, strict=True))
    write_table(func / "sub-01_task-look_run-1_desc-confounds_timeseries.tsv", named)
    _, wanted = prepared(root)
    (func / "sub-01_task-look_run-1_desc-confounds_timeseries.tsv").unlink()
    older = dict(zip(columns.split(), motion.T, strict=True))
    write_table(func / f"sub-01_task-look_run-1_{ending}.tsv", older)
    np.testing.assert_array_equal(prepared(root)[1], wanted)
    assert not np.array_equal(prepared(root, confounds="none")[1], wanted)


def test_confounds_under_a_name_that_is_not_known(tmp_path):
    root = tree(tmp_path, "task-look_run-1")
    write_table(root / "sub-01/func/sub-01_task-look_run-1_confounds.tsv", {"trans_x": range(24)})
    refused(root, r"run-1_confounds.tsv may hold the confounds of .*; expected a name that ends in")


def sidecar(root, **facts):
    path = root / "sub-01/func/sub-01_task-look_run-1_bold.json"
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"RepetitionTime": "2.0"}, "RepetitionTime of .* is '2.0'; expected a number of seconds"),
        ({"RepetitionTime": 2000}, "is 2000; expected seconds.*2000 ms are 2 s"),
        ({"VolumeTiming": [0, 2, 4]}, "VolumeTiming of .* holds 3 times; expected 24 numbers"),
        (
            {"VolumeTiming": [*range(0, 46, 2), 60]},
            "has steps of 2 to 16 s; expected volumes at eq",
        ),
    ],
)
def test_repetition_times_that_are_not_understood(tmp_path, facts, said):
    root = tree(tmp_path, "task-look_run-1")
    sidecar(root, **facts)
    refused(root, said)


def test_volume_timing_says_when_volumes_were_acquired(tmp_path, capsys):
    root = tree(tmp_path, "task-look_run-1")
    sidecar(root, VolumeTiming=[2.0 * n + 2 for n in range(24)])
    later = prepared(root)[1]
    assert "repetition time 2 s (VolumeTiming)" in capsys.readouterr().out
    sidecar(root, RepetitionTime=2.0, StartTime=2.0)
    np.testing.assert_array_equal(prepared(root)[1], later)


def test_labels_that_are_missing_are_no_class(tmp_path):
    root = tree(tmp_path, "task-look_run-1")
    table = events(["a.png", "n/a", "b.png"], [2, "n/a", 30], label=["n/a", "", "dog"])
    write_table(root / "sub-01/func/sub-01_task-look_run-1_events.tsv", table)
    prepared(root)
    with VoxelStore(root.parent / "s.h5") as store:
        assert list(store.stimuli.labels) == ["", "dog"]


def betas_of(root, values):
    """GLMsingle's betas, each the number of its trial in time."""
    folder = root / "derivatives/glm"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "TYPED_FITHRF_GLMDENOISE_RR.hdf5", "w") as file:
        count = int(MASKS[next(iter(MASKS))].sum())
        file["betasmd"] = np.tile(np.asarray(values, float), (count, 1))[:, None, None, :]


def test_betas_belong_to_the_trial_that_was_shown_then(tmp_path):
    root = tree(tmp_path, "task-look_run-1", "task-look_run-2")
    late_first = events(["a.png", "b.png"], [30, 2])
    write_table(root / "sub-01/func/sub-01_task-look_run-1_events.tsv", late_first)
    betas_of(root, [10, 20, 30, 40])
    trials, responses = prepared(root, glmsingle="derivatives/glm")
    assert responses[:, 0].tolist() == [20, 10, 30, 40]
    assert trials["stimulus"].tolist() == ["a", "b", "a", "b"]


def test_betas_of_two_tasks_follow_the_times_of_acquisition(tmp_path):
    root = tree(tmp_path, "task-faces_run-1", "task-tools_run-1")
    betas_of(root, [10, 20, 30, 40])
    refused(
        root,
        "nothing says in which order they were acquired; .*scans.tsv",
        glmsingle="derivatives/glm",
    )
    write_table(
        root / "sub-01/sub-01_scans.tsv",
        {
            "filename": [f"func/sub-01_task-{t}_run-1_bold.nii.gz" for t in ("faces", "tools")],
            "acq_time": ["2020-01-01T12:30:00", "2020-01-01T12:00:00"],
        },
    )
    trials, responses = prepared(root, glmsingle="derivatives/glm")
    assert responses[:, 0].tolist() == [30, 40, 10, 20]
    assert trials["repeat"].tolist() == [1, 1, 0, 0]
