"""`mindvis prepare bids --check`: what is missing, run by run, before any work."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from preprocessing.__main__ import main
from tests.preprocessing.fmriprep_tree import DERIVED, RUNS, betas, build, write_betas

FIRST, SECOND, THIRD = (f"sub-01_{run}" for run in RUNS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build(tmp_path_factory.mktemp("check") / "data")


@pytest.fixture
def source(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


def check(source, capsys, *options, code=2, space=("--space", "T1w")):
    """What a check says: the lines of missing files, the last line, and the sentence."""
    command = ["bids", "--source", str(source), "--store", str(source.parent / "s.h5"), "--check"]
    shape = ["--derivatives", DERIVED, "--lag_end", "8", "--high_pass", "null", *space]
    before = sorted(source.parent.rglob("*"))
    assert main([*command, *shape, *options]) == code
    assert sorted(source.parent.rglob("*")) == before
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    return [line for line in lines if line.startswith("missing")], lines[-1], captured.err


def test_nothing_is_missing(source, capsys):
    missing, last, said = check(source, capsys, code=0)
    # an image, events and confounds of three runs, the mask, and four pictures
    assert (missing, last, said) == ([], "14 of 14 files of forms are there", "")
    assert check(source, capsys, "--form", "gifti", code=0, space=())[1].startswith("16 of 16")
    assert check(source, capsys, "--form", "cifti", code=0, space=())[1].startswith("13 of 13")


def test_every_kind_of_file_that_can_be_missing(source, capsys):
    func = source / DERIVED / "sub-01/ses-a/func"
    next(func.glob(f"{FIRST}_space-T1w_*_bold.nii.gz")).unlink()
    events = source / f"sub-01/ses-a/func/{SECOND}_events.tsv"
    events.unlink()
    (func / f"{SECOND}_desc-confounds_timeseries.tsv").unlink()
    next((source / DERIVED).rglob("*_desc-brain_mask.nii.gz")).unlink()
    (source / "stimuli/b.png").unlink()
    missing, last, said = check(source, capsys, "--confounds", "simple")
    name = f"{SECOND}_space-T1w_desc-preproc_bold.nii.gz"
    assert missing == [
        f"missing: {events} (events of {name})",
        f"missing: {func}/{SECOND}_desc-confounds_timeseries.tsv (confounds of {name})",
        f"missing: {source}/{DERIVED}/**/sub-01/**/*_desc-brain_mask.nii* (brain mask of sub-01)",
        f"missing, optional: {func}/{FIRST}*_bold.nii* (image of {FIRST}_events.tsv)",
        f"missing: {source}/stimuli/b.png (a picture of {THIRD}_events.tsv)",
    ]
    assert last == "9 of 14 files of forms are there"
    assert "4 of 13 required files of forms are missing" in said
    assert "the first; expected every file that --check lists" in said


def test_subjects_images_and_hemispheres(source, capsys):
    missing, _, _ = check(source, capsys, "--subjects", "sub-01,sub-02")
    folder = source / DERIVED / "sub-02"
    assert missing == [f"missing: {folder}/**/*_bold.nii* (images of sub-02 that fit the options)"]
    right = next((source / DERIVED).rglob(f"{FIRST}_hemi-R*"))
    right.unlink()
    missing, _, _ = check(source, capsys, "--form", "gifti", space=())
    assert missing == [f"missing: {right} (right hemisphere of {FIRST})"]
    missing, _, _ = check(source, capsys, space=("--space", "T2w"))
    assert missing[0].endswith("(images of sub-01 that fit the options)")
    assert [line.split(": ")[0] for line in missing[1:]] == ["missing, optional"] * 3


def test_files_that_options_name(source, capsys):
    options = ("--mask", "m/{subject}.nii", "--glmsingle", "g/{subject}")
    missing, _, _ = check(source, capsys, *options, "--confounds", "none")
    assert missing == [
        f"missing: {source}/g/sub-01/TYPED_FITHRF_GLMDENOISE_RR.hdf5 (betas of GLMsingle)",
        f"missing: {source}/m/sub-01.nii (mask of sub-01)",
    ]
    missing, _, _ = check(source, capsys, "--form", "cifti", "--atlas", "a.dlabel.nii", space=())
    assert missing == [f"missing: {source}/a.dlabel.nii (the atlas)"]


def test_what_is_there_has_to_fit(source, capsys):
    """When all files are there, headers and tables are read as for the work itself."""
    write_betas(source / "g", betas(9, 5))
    missing, last, said = check(source, capsys, "--glmsingle", "g")
    assert (missing, last) == ([], "15 of 15 files of forms are there")
    assert "has 9 trials; expected 10, the trials of the event tables" in said
    mask = next((source / DERIVED).rglob("*_desc-brain_mask.nii.gz"))
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.uint8), np.eye(4)), mask)
    missing, last, said = check(source, capsys)
    assert (missing, last) == ([], "14 of 14 files of forms are there")
    assert f"{mask} has the shape (2, 3, 4); expected the shape" in said


def test_a_table_that_cannot_be_read_is_said_after_the_list(source, capsys):
    events = source / f"sub-01/ses-a/func/{FIRST}_events.tsv"
    events.write_text("onset\n1\n")
    missing, last, said = check(source, capsys)
    assert (missing, last) == ([], "14 of 14 files of forms are there")
    assert f"{events} has no column 'duration'" in said
