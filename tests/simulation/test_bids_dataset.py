import json
import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindvis.errors import ConfigError
from mindvis.files import sha256
from mindvis.simulation.anatomy import AREAS, GRID
from mindvis.simulation.bids import simulate
from mindvis.simulation.stimuli import CLASS_NAMES, SHAPES, split_class, unseen_classes

SMALL = {"subjects": 2, "trials": 11, "test_repeats": 2, "pictures": 70, "image_size": 32}
BOLD = re.compile(r"sub-\d\d_ses-\d\d_task-(pictures|rest)_run-\d+_bold\.nii\.gz")
MASK = re.compile(r"sub-\d\d_(label-[A-Za-z0-9]+|desc-brain)_mask\.nii\.gz")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    simulate(str(folder), **SMALL, n_jobs=1)
    return folder


def digests(folder):
    return {
        str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()
    }


def bold_files(folder, task="*"):
    return sorted(folder.glob(f"sub-*/ses-*/func/*_task-{task}_run-*_bold.nii.gz"))


def test_every_run_has_a_valid_name_a_sidecar_and_its_time_step(dataset):
    files = bold_files(dataset)
    assert len(files) == len(list(dataset.glob("sub-*/**/*.nii.gz"))) == 2 * (3 + 2)
    for path in files:
        assert BOLD.fullmatch(path.name)
        subject, session, *_ = path.name.split("_")
        assert path.parent == dataset / subject / session / "func"
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["TaskName"] in path.name
        image = nib.load(path)
        assert image.header.get_zooms()[3] == sidecar["RepetitionTime"] == 2
        assert image.header.get_xyzt_units() == ("mm", "sec")
        assert image.shape[:3] == GRID
        assert len(sidecar["SliceTiming"]) == GRID[2]


def test_images_are_scaled_integers_with_a_brain(dataset):
    path = bold_files(dataset)[0]
    image = nib.load(path)
    assert image.get_data_dtype() == np.int16
    assert image.dataobj.slope == 0.25
    brain = dataset / "derivatives/rois/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    inside = nib.load(brain).get_fdata() > 0
    data = image.get_fdata()
    np.testing.assert_array_equal(nib.load(brain).affine, image.affine)
    assert 700 < data[inside].mean() < 1000
    assert 5 < np.median(data[inside].std(1)) < 30
    assert (data[0, 0, 0] == 0).all()


def test_events_name_the_pictures_and_their_classes(dataset):
    described = json.loads((dataset / "task-pictures_events.json").read_text())
    trained, tested = set(), []
    for path in bold_files(dataset, "pictures"):
        events = pd.read_csv(
            path.with_name(path.name.replace("_bold.nii.gz", "_events.tsv")), sep="\t"
        )
        assert list(events)[:3] == ["onset", "duration", "trial_type"]
        assert set(events) == set(described)
        length = nib.load(path).shape[3] * 2
        assert (events.onset + events.duration).max() < length
        for event in events.itertuples():
            assert (dataset / "stimuli" / event.stim_file).is_file()
            assert event.trial_type == event.label
            assert event.category == split_class(event.label)[0]
            assert event.stim_file.startswith(f"{event.split}/")
        trained |= set(events.label[events.split == "train"])
        tested += list(events.label[events.split == "test"])
    assert not trained & set(unseen_classes())
    assert set(tested) == set(CLASS_NAMES)
    assert len(tested) == 64 * 2 * 2
    assert not list(dataset.rglob("*task-rest*_events.tsv"))


def test_stimuli_are_listed_and_have_the_size_asked_for(dataset):
    table = pd.read_csv(dataset / "stimuli/stimuli.tsv", sep="\t")
    assert len(table) == 11 + 64
    assert set(table.category) <= set(SHAPES)
    for file in table.stim_file:
        with Image.open(dataset / "stimuli" / file) as picture:
            assert picture.size == (32, 32)
            assert picture.mode == "RGB"
    assert set(table) == set(json.loads((dataset / "stimuli/stimuli.json").read_text()))


def test_further_pictures_cover_all_classes_and_repeat_no_stimulus(dataset):
    folders = {
        path.name: len(list(path.glob("*.png")))
        for path in (dataset / "sourcedata/pictures").iterdir()
    }
    assert set(folders) == {name.replace(" ", "_") for name in CLASS_NAMES}
    assert sum(folders.values()) == 70
    assert max(folders.values()) - min(folders.values()) == 1
    shown = {sha256(path) for path in (dataset / "stimuli").rglob("*.png")}
    assert not shown & {sha256(path) for path in (dataset / "sourcedata").rglob("*.png")}


def test_masks_tile_the_visual_cortex_inside_the_brain(dataset):
    counts = pd.read_csv(dataset / "participants.tsv", sep="\t", index_col="participant_id")
    for subject in ("sub-01", "sub-02"):
        folder = dataset / "derivatives/rois" / subject / "anat"
        masks = {path.name: nib.load(path).get_fdata() for path in folder.glob("*.nii.gz")}
        assert all(MASK.fullmatch(name) for name in masks)
        areas = sum(masks[f"{subject}_label-{area}_mask.nii.gz"] for area in AREAS)
        union = masks[f"{subject}_label-VC_mask.nii.gz"]
        np.testing.assert_array_equal(areas, union)
        assert (masks[f"{subject}_desc-brain_mask.nii.gz"] >= union).all()
        assert union.sum() == counts.visual_voxels[subject]
    assert counts.visual_voxels.nunique() == 2


def test_confounds_have_a_row_for_every_volume(dataset):
    for path in bold_files(dataset):
        name = path.name.replace("_bold.nii.gz", "_desc-confounds_timeseries.tsv")
        table = pd.read_csv(
            dataset / "derivatives/motion" / path.parent.relative_to(dataset) / name, sep="\t"
        )
        assert len(table) == nib.load(path).shape[3]
        assert table.drop(columns="framewise_displacement").notna().all(axis=None)
        assert table.framewise_displacement.isna().tolist()[:2] == [True, False]


def test_descriptions_name_version_and_kind(dataset):
    for folder, kind in (
        (".", "raw"),
        ("derivatives/rois", "derivative"),
        ("derivatives/motion", "derivative"),
    ):
        content = json.loads((dataset / folder / "dataset_description.json").read_text())
        assert content["BIDSVersion"] == "1.10.0"
        assert content["DatasetType"] == kind
        assert content["GeneratedBy"][0]["Name"] == "mindvis"
    participants = pd.read_csv(dataset / "participants.tsv", sep="\t")
    assert list(participants.participant_id) == ["sub-01", "sub-02"]


def test_the_number_of_processes_changes_no_byte(tmp_path):
    few = {"subjects": 1, "trials": 3, "test_repeats": 1, "pictures": 5}
    simulate(str(tmp_path / "one"), **few, n_jobs=1)
    simulate(str(tmp_path / "two"), **few, n_jobs=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_an_interrupted_simulation_finishes_with_the_same_bytes(dataset, tmp_path):
    copy = tmp_path / "interrupted"
    shutil.copytree(dataset, copy)
    lost = [bold_files(copy)[1], *sorted(copy.rglob("*.png"))[::7], copy / "participants.tsv"]
    for path in lost:
        path.unlink()
    # what a killed process leaves of the file that it was writing
    half = lost[0].with_name(f".{lost[0].name}.partial.nii.gz")
    half.write_bytes(b"half")
    kept = bold_files(copy)[0]
    before = kept.stat().st_mtime_ns
    simulate(str(copy), **SMALL, n_jobs=1)
    assert digests(copy) == digests(dataset)
    assert kept.stat().st_mtime_ns == before


def test_other_parameters_in_the_same_folder_are_refused(dataset):
    with pytest.raises(
        ConfigError, match=r"simulated with seed 0; expected seed 4; choose another"
    ):
        simulate(str(dataset), **SMALL, seed=4)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex and no sourcedata/simulation\.json"):
        simulate(str(tmp_path), **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_as_output_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file is a file; expected a folder"):
        simulate(str(tmp_path / "file"), **SMALL)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("subjects", 0, r"subjects is 0; expected 1 to 99; change --subjects"),
        ("trials", 0, r"trials is 0; expected at least 1"),
        ("test_repeats", 0, r"test_repeats is 0; expected at least 1"),
        ("snr", float("nan"), r"snr is nan; expected a finite number, 0 or more"),
        ("image_size", 8, r"image_size is 8; expected at least 16 pixels"),
        ("pictures", -1, r"pictures is -1; expected 0 or more"),
        ("n_jobs", 0, r"n_jobs is 0; expected -1 or at least 1"),
    ],
)
def test_impossible_parameters_are_refused_by_name(tmp_path, name, value, message):
    with pytest.raises(ConfigError, match=message):
        simulate(str(tmp_path / "out"), **{**SMALL, name: value})
    assert not (tmp_path / "out").exists()


def test_the_bids_validator_finds_no_error(dataset):
    """`npm install -g bids-validator` (1.x) or `pip install bids-validator-deno` (2 and later)."""
    names = ("bids-validator", "bids-validator-deno")
    validator = next((found for name in names if (found := shutil.which(name))), None)
    if validator is None:
        pytest.skip("needs bids-validator or bids-validator-deno on the PATH")
    for folder in (dataset, dataset / "derivatives/rois", dataset / "derivatives/motion"):
        if folder != dataset and not validator.endswith("deno"):
            continue  # 1.x knows no derivatives
        result = subprocess.run(
            [validator, str(folder), "--json"], capture_output=True, text=True, check=False
        )
        report = json.loads(result.stdout)["issues"]
        found = report.get("errors") or [
            issue for issue in report.get("issues", []) if issue["severity"] == "error"
        ]
        assert not found
        assert result.returncode == 0
