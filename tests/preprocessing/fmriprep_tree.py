"""What fMRIPrep and GLMsingle write, in small: spaces, resolutions, surfaces, confounds, betas."""

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable
from PIL import Image

from tests.preprocessing.bids_tree import SHAPE, TR, events, write_image, write_table

VOLUMES = 40
VERTICES = {"L": 7, "R": 9}
RUNS = ("ses-a_task-look_run-1", "ses-a_task-look_run-2", "ses-b_task-look_run-1")
#: pictures and onsets of each run
SHOWN = {RUNS[0]: "abc", RUNS[1]: "dac", RUNS[2]: "bdac"}
ONSETS = (4.0, 18.0, 32.0, 50.0)
MASK = np.random.default_rng(3).random(SHAPE) < 0.4
DERIVED = "derivatives/fmriprep"


def volume(run: str, space: str) -> np.ndarray:
    """A run in a space, int16 (X, Y, Z, volumes)."""
    rng = np.random.default_rng([RUNS.index(run), len(space)])
    return rng.integers(500, 900, (*SHAPE, VOLUMES)).astype(np.int16)


def surface(run: str, side: str) -> np.ndarray:
    """A run on a hemisphere, float32 (volumes, vertices)."""
    rng = np.random.default_rng([RUNS.index(run), ord(side)])
    return rng.normal(500, 20, (VOLUMES, VERTICES[side])).astype(np.float32)


def grayordinates() -> BrainModelAxis:
    """Some vertices of both hemispheres, and voxels of a structure."""
    left = BrainModelAxis.from_surface(np.array([0, 2, 5]), 7, name="CortexLeft")
    right = BrainModelAxis.from_surface(np.array([1, 8]), 9, name="CortexRight")
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 2, 3:] = True
    affine = np.diag([2.0, 2, 2, 1])
    voxels = BrainModelAxis.from_mask(mask, name="thalamus_left", affine=affine)
    return left + right + voxels


def dense(run: str) -> np.ndarray:
    """A run on grayordinates, float32 (volumes, grayordinates)."""
    rng = np.random.default_rng([RUNS.index(run), 99])
    return rng.normal(700, 9, (VOLUMES, len(grayordinates()))).astype(np.float32)


def confounds(run: str) -> pd.DataFrame:
    """fMRIPrep's table: motion with derivatives and squares, tissue signals, spikes of motion."""
    rng = np.random.default_rng([RUNS.index(run), 7])
    base = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "white_matter"]
    base.append("global_signal")
    names = [n + e for n in base for e in ("", "_derivative1", "_power2", "_derivative1_power2")]
    table = pd.DataFrame(rng.normal(size=(VOLUMES, len(names))), columns=names)
    table.loc[0, [name for name in names if "derivative1" in name]] = np.nan
    table["cosine00"] = np.cos(np.pi * (np.arange(VOLUMES) + 0.5) / VOLUMES)
    table["framewise_displacement"] = 0.05
    table.loc[0, "framewise_displacement"] = np.nan
    table.loc[11, "framewise_displacement"] = 0.9  # inside the window of the first trial's answer
    table["std_dvars"] = 1.0
    table.loc[0, "std_dvars"] = np.nan
    return table


def build(root: Path) -> Path:
    """Write sub-01: raw events, and derivatives of every form."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "forms"}))
    for number, name in enumerate("abcd", start=1):
        (root / "stimuli").mkdir(exist_ok=True)
        Image.new("RGB", (6, 6), (40 * number, 3, 9)).save(root / f"stimuli/{name}.png")
    for run in RUNS:
        _write_run(root, run)
    mask = root / DERIVED / "sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz"
    write_image(mask, MASK.astype(np.uint8))
    return root


def _write_run(root: Path, run: str) -> None:
    session = run.split("_")[0]
    raw, derived = (top / "sub-01" / session / "func" for top in (root, root / DERIVED))
    shown = SHOWN[run]
    table = events([f"{name}.png" for name in shown], ONSETS[: len(shown)])
    write_table(raw / f"sub-01_{run}_events.tsv", table)
    stem = derived / f"sub-01_{run}"
    facts = json.dumps({"RepetitionTime": TR})
    for space in ("T1w", "MNI152NLin2009cAsym_res-1", "MNI152NLin2009cAsym_res-2"):
        name = f"{stem.name}_space-{space}_desc-preproc_bold"
        write_image(derived / f"{name}.nii.gz", volume(run, space), TR)
        (derived / f"{name}.json").write_text(facts)
    for side in "LR":
        name = f"{stem.name}_hemi-{side}_space-fsaverage5_bold"
        write_surface(derived / f"{name}.func.gii", surface(run, side))
        (derived / f"{name}.json").write_text(facts)
    name = f"{stem.name}_space-fsLR_den-91k_bold"
    series = SeriesAxis(0, TR, VOLUMES)
    image = Cifti2Image(dense(run), header=(series, grayordinates()))
    nib.save(image, derived / f"{name}.dtseries.nii")
    (derived / f"{name}.json").write_text(facts)
    path = derived / f"{stem.name}_desc-confounds_timeseries.tsv"
    confounds(run).to_csv(path, sep="\t", index=False, na_rep="n/a")
    path.with_suffix(".json").write_text("{}")


def write_surface(path: Path, rows: np.ndarray) -> None:
    """A GIFTI series: an array for each time point."""
    arrays = [
        GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES", datatype="NIFTI_TYPE_FLOAT32")
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(GiftiImage(darrays=arrays), path)


def write_labels(path: Path, labels: np.ndarray, names: dict[int, str]) -> None:
    """A GIFTI label file of one hemisphere."""
    table = GiftiLabelTable()
    for key, name in names.items():
        label = GiftiLabel(key=key)
        label.label = name
        table.labels.append(label)
    array = GiftiDataArray(
        labels.astype(np.int32), intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(GiftiImage(darrays=[array], labeltable=table), path)


def betas(trials: int, seed: int) -> np.ndarray:
    """Betas as GLMsingle writes them, float32 (X, Y, Z, trials)."""
    return np.random.default_rng(seed).normal(size=(*SHAPE, trials)).astype(np.float32)


def write_betas(folder: Path, values: np.ndarray) -> None:
    """An output folder of GLMsingle with wanthdf5=1."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "TYPED_FITHRF_GLMDENOISE_RR.hdf5", "w") as file:
        file["betasmd"] = values
        file["R2"] = 100 * np.abs(values[..., 0])
        file["HRFindex"] = np.zeros(values.shape[:3])
        file["FRACvalue"] = np.ones(values.shape[:3])
        file["pcnum"] = 3
    with h5py.File(folder / "TYPEB_FITHRF.hdf5", "w") as file:
        file["betasmd"] = values * 0
