"""Every way in which a data set can be wrong is one sentence that says where and what to do."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mindvis.errors import MindVisError, SourceError
from preprocessing.__main__ import main
from preprocessing.bids import prepare_bids
from tests.preprocessing.bids_tree import (
    SHAPE,
    TR,
    Run,
    Tree,
    box_mask,
    build,
    events,
    values,
    write_image,
    write_table,
)

FUNC = "sub-01/func/sub-01_task-look_run-1"
MASK_FILE = "derivatives/masks/sub-01/func/sub-01_desc-brain_mask.nii.gz"
ROI_FILE = "derivatives/rois/sub-01/sub-01_label-V1_mask.nii.gz"
GOOD = Run("task-look_run-1", 24, events(["a.png", "b.png"], [2, 30]), seed=1)
MASKS = {MASK_FILE: box_mask(), ROI_FILE: box_mask(2)}
PICTURES = {"stimuli/a.png": (1, 2, 3), "stimuli/b.png": (4, 5, 6)}


@pytest.fixture
def source(tmp_path):
    return build(tmp_path / "data", Tree({"sub-01": [GOOD]}, MASKS, PICTURES))


def refused(source, match, **options):
    store = source.parent / "store.h5"
    with pytest.raises(MindVisError, match=match):
        prepare_bids(str(source), str(store), **options)
    assert not store.exists()


def rewrite_events(source, **columns):
    table = {**GOOD.events, **columns}
    write_table(source / f"{FUNC}_events.tsv", {k: v for k, v in table.items() if v is not None})


def test_missing_folder(source):
    refused(
        source / "nowhere",
        r"data/nowhere is not a folder; expected a BIDS data set; check --source",
    )


def test_unknown_subject(source):
    refused(
        source, r"no subject 'sub-1'; expected it to be one of sub-01 .*mean 'sub-01'", subjects="1"
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"space": "MNI"},
            r"sub-01 holds no BOLD image of space MNI; expected files named \*_bold",
        ),
        ({"tasks": ["x", "y"]}, r"holds no BOLD image of tasks x, y; expected .*check --source"),
    ],
)
def test_no_image(source, options, match):
    refused(source, match, **options)


def test_two_images_of_one_run(source):
    for space in ("A", "B"):
        name = f"sub-01/func/sub-01_task-look_run-1_space-{space}_desc-preproc_bold.nii.gz"
        write_image(source / name, values(GOOD), TR)
    refused(
        source,
        r"one run has two images, .*space-A.* and .*space-B.*choose with --space \(A, B found\)",
    )


@pytest.mark.parametrize("column", ["onset", "duration", "stim_file"])
def test_events_without_a_column(source, column):
    rewrite_events(source, **{column: None})
    others = ", ".join(name for name in GOOD.events if name != column)
    refused(source, rf"run-1_events.tsv has no column '{column}'; expected one among {others};")


def test_events_without_pictures_name_the_option(source):
    rewrite_events(source, stim_file=None)
    refused(source, r"--stimulus_column, or prepare without pictures: --stimulus_column null\.$")


def test_events_with_a_strange_onset(source):
    rewrite_events(source, onset=[2, "late"])
    refused(source, r"events.tsv has the onset 'late' in row 3; expected seconds")


def test_events_that_are_empty(source):
    (source / f"{FUNC}_events.tsv").write_text("")
    refused(source, "events.tsv is empty; expected a table with a header")


def test_no_trial_of_the_conditions(source):
    refused(source, r"events.tsv has no trial left; .*check --conditions", conditions=["z"])


def test_no_events(source):
    (source / f"{FUNC}_events.tsv").unlink()
    refused(source, r"look_run-1_bold.nii.gz has no event table; .*name the task in --rest_tasks")


def test_onset_beyond_the_end(source):
    rewrite_events(source, onset=[2, 48])
    refused(
        source, r"events.tsv has a trial at 48 s \(row 3\); expected onsets before 48 s, the end of"
    )


def test_window_beyond_the_end(source):
    rewrite_events(source, onset=[2, 44])
    refused(source, r"run-1_events.tsv has no volume between 4 and 9 s after the onset at 44 s")


def test_unknown_split(source):
    rewrite_events(source, split=["train", "validation"])
    refused(source, r"a trial of split 'validation'; expected train or test; .*--split_column null")


def test_missing_picture(source):
    (source / "stimuli/b.png").unlink()
    refused(source, r"1 of 2 pictures that the events name are not in .*stimuli, 'b.png' the first")


def test_broken_picture(source):
    (source / "stimuli/b.png").write_bytes(b"\x89PNG\r\n")
    refused(source, r"stimuli/b.png is not a readable picture \(.*\); replace it")


def test_truncated_picture_is_found_before_anything_is_stored(source):
    noise = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(source / "stimuli/b.png")
    whole = (source / "stimuli/b.png").read_bytes()
    (source / "stimuli/b.png").write_bytes(whole[:-80])
    refused(source, r"stimuli/b.png is not a readable picture \(.*truncated.*\); replace it")


def test_pictures_of_two_sizes(source):
    Image.new("RGB", (5, 4)).save(source / "stimuli/b.png")
    refused(
        source,
        r"b.png has 5 x 4 pixels and .*a.png has 9 x 8; expected one size; pass --image_size",
    )


def test_one_picture_with_two_labels(source):
    rewrite_events(source, stim_file=["a.png", "a.png"], label=["cat", "dog"], category=["x", "x"])
    refused(source, r"the picture 'a' is once a.png/cat/x and once a.png/dog/x; expected one file")


def test_mask_of_another_shape(source):
    write_image(source / MASK_FILE, np.ones((5, 6, 8), np.uint8))
    refused(
        source,
        rf"desc-brain_mask.nii.gz has the shape \(5, 6, 8\); expected the shape \({5}, 6, 7\) of",
    )


def test_roi_of_another_shape(source):
    write_image(source / ROI_FILE, np.ones((4, 6, 7), np.uint8))
    refused(
        source, r"label-V1_mask.nii.gz has the shape \(4, 6, 7\); expected the shape \(5, 6, 7\) of"
    )


def test_mask_that_lies_elsewhere(source):
    image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([2.0, 2.5, 4.0, 1.0]))
    nib.save(image, source / MASK_FILE)
    refused(
        source,
        r"the affines of .*mask.nii.gz and .*bold.nii.gz differ by 17; expected one voxel grid",
    )


def test_no_mask(source):
    (source / MASK_FILE).unlink()
    refused(source, r"no brain mask for .*bold.nii.gz; .*give --mask FILE, or --voxels rois")


def test_mask_that_is_not_there(source):
    refused(source, r"no file fits .*data/masks/\*.nii for .*check --mask", mask="masks/*.nii")


def test_no_rois(source):
    (source / ROI_FILE).unlink()
    refused(source, r"there are no ROI masks for .*expected some for --voxels rois", voxels="rois")


def test_mask_and_rois_that_do_not_meet(source):
    write_image(source / ROI_FILE, (~box_mask()).astype(np.uint8))
    refused(source, r"no voxel is left for .* inside sub-01_desc-brain_mask.nii.gz", voxels="rois")


@pytest.mark.parametrize("kept", [0.6, 0.02])
def test_truncated_image(source, kept):
    path = source / f"{FUNC}_bold.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    refused(source, r"run-1_bold.nii.gz is truncated or damaged \(.*fetch or write this file again")


def test_truncated_image_that_is_not_compressed(source):
    path = source / f"{FUNC}_bold.nii.gz"
    nib.save(nib.load(path), source / f"{FUNC}_bold.nii")
    path.unlink()
    whole = (source / f"{FUNC}_bold.nii").read_bytes()
    (source / f"{FUNC}_bold.nii").write_bytes(whole[:-100])
    refused(source, r"run-1_bold.nii is truncated or damaged \(")


def test_damaged_bytes_inside_an_image(source):
    path = source / f"{FUNC}_bold.nii.gz"
    whole = bytearray(path.read_bytes())
    whole[3000:3100] = bytes(100)
    path.write_bytes(bytes(whole))
    refused(source, r"run-1_bold.nii.gz is truncated or damaged \(")


def test_image_that_is_not_nifti(source):
    (source / f"{FUNC}_bold.nii.gz").write_text("annex/objects/SHA256")
    refused(source, r"run-1_bold.nii.gz is truncated or damaged \(")


def test_image_of_three_dimensions(source):
    write_image(source / f"{FUNC}_bold.nii.gz", np.zeros(SHAPE, np.int16))
    refused(
        source, r"bold.nii.gz has the shape \(5, 6, 7\); expected a 4-D image of several volumes"
    )


def test_nan_voxels(source):
    data = values(GOOD).astype(np.float32)
    for place in np.argwhere(box_mask())[[2, 5, 6]]:
        data[(*place, 3)] = np.nan
    write_image(source / f"{FUNC}_bold.nii.gz", data, TR)
    count = int(box_mask().sum())
    refused(
        source, rf"run-1_bold.nii.gz has NaN or infinite values in 3 of {count} voxels;.*--nan drop"
    )


def test_no_repetition_time(source):
    write_image(source / f"{FUNC}_bold.nii.gz", values(GOOD), 0.0)
    (source / f"{FUNC}_bold.json").write_text("{}")
    refused(
        source,
        r"no repetition time, neither in a JSON sidecar nor .*write it into sub-01.*_bold.json",
    )


def test_repetition_times_that_disagree(source, capsys):
    (source / f"{FUNC}_bold.json").write_text(json.dumps({"RepetitionTime": 2.5}))
    prepare_bids(str(source), str(source.parent / "s.h5"), high_pass=None)
    line = capsys.readouterr().out
    assert "repetition time 2.5 s (sidecar; the header says 2 s)" in line


def test_sidecar_that_is_not_json(source):
    (source / f"{FUNC}_bold.json").write_text("{RepetitionTime: 2}")
    refused(source, r"run-1_bold.json is not valid JSON \(.*\); correct the file")


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ("none", None),
        ("csf", r"timeseries.tsv has no column 'csf'; expected some among trans_x, rot_x; check"),
        ("trans_*", r"timeseries.tsv has 23 rows; expected 24, the volumes of"),
    ],
)
def test_confounds(source, choice, match):
    table = {"trans_x": range(23), "rot_x": range(23)}
    write_table(source / f"{FUNC}_desc-confounds_timeseries.tsv", table)
    if match:
        refused(source, match, confounds=choice)
    else:
        prepare_bids(str(source), str(source.parent / "s.h5"), confounds=choice, high_pass=None)


def test_no_confounds(source):
    refused(source, r"no \*_desc-confounds_timeseries.tsv; expected one with csf;", confounds="csf")


def test_more_regressors_than_volumes(source):
    rewrite_events(source, **{k: [*v] * 12 for k, v in GOOD.events.items()})
    refused(source, r"has 24 volumes for \d+ regressors; .*--response average", response="lsa")


def test_command_line_says_one_sentence_and_fails_with_2(source, capsys):
    shutil.rmtree(source / "sub-01/func")
    command = ["bids", "--source", str(source), "--store", str(source.parent / "s.h5")]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "holds no BOLD image" in captured.err
    assert not captured.out


def test_a_failed_run_leaves_the_old_store_and_the_finished_runs(source):
    store = source.parent / "store.h5"
    prepare_bids(str(source), str(store), high_pass=None)
    before = store.read_bytes()
    shutil.copy(source / f"{FUNC}_bold.json", source / f"{FUNC[:-1]}2_bold.json")
    shutil.copy(source / f"{FUNC}_events.tsv", source / f"{FUNC[:-1]}2_events.tsv")
    whole = (source / f"{FUNC}_bold.nii.gz").read_bytes()
    (source / f"{FUNC[:-1]}2_bold.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"run-2_bold.nii.gz is truncated"):
        prepare_bids(str(source), str(store), high_pass=None)
    assert store.read_bytes() == before
    assert len(list((source.parent / "store.h5.parts").glob("*run-1*.npy"))) == 1
