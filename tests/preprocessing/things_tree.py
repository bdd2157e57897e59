"""A small THINGS-fMRI in both of its forms, with the same planted betas."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.preprocessing.bids_tree import SHAPE, write_image, write_table

CONCEPTS = ("aardvark", "air_conditioner", "wheat", "zebra1")
#: shown in every session, and once
TESTS = ("air_conditioner_13s.jpg", "wheat_14s.jpg")
SESSIONS, RUNS = 3, 2
AREAS = ["V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1", "LO2", "TO1", "TO2", "V3a", "V3b"]


def shown(session: int, run: int) -> list[str]:
    """The pictures of a run, sorted as the GLM sorts them, a catch trial among them."""
    own = [f"{concept}_{session:02d}{'sb'[run - 1]}.jpg" for concept in CONCEPTS]
    own = own[: 3 + (session + run) % 2]
    return sorted([*own, TESTS[run - 1], f"catch{session}{run}_a.jpg"])


def planted(session: int, run: int) -> np.ndarray:
    """Betas of a run, float32 (X, Y, Z, trials)."""
    rng = np.random.default_rng([session, run])
    return rng.normal(size=(*SHAPE, len(shown(session, run)))).astype(np.float32)


def mask() -> np.ndarray:
    """The brain, bool (X, Y, Z)."""
    return np.random.default_rng(1).random(SHAPE) < 0.5


def region(seed: int) -> np.ndarray:
    """A region, bool (X, Y, Z)."""
    return np.random.default_rng(seed).random(SHAPE) < 0.2


def ceiling(repeats: int) -> np.ndarray:
    """A noise ceiling in percent, float32 (X, Y, Z)."""
    return (100 * np.random.default_rng(repeats).random(SHAPE)).astype(np.float32)


def areas() -> np.ndarray:
    """Labels of retinotopic areas, float32 (X, Y, Z), a little off whole numbers."""
    labels = np.random.default_rng(9).integers(0, 13, SHAPE)
    return (labels + 1e-4).astype(np.float32)


def volumes(root: Path, name: str = "sub-01", deeper: str = "") -> Path:
    """Write a subject as volumes; `deeper` is a folder between betas_vol and the subject."""
    write_image(root / "brainmasks" / f"{name}_space-T1w_brainmask.nii.gz", mask().astype(np.uint8))
    write_image(root / "rois" / "prf" / name / "resampled_varea.nii.gz", areas())
    parcels = root / "rois" / "category_localizer" / name
    for seed, (folder, roi) in enumerate(
        [("face_parcels", "lFFA"), ("face_parcels", "rFFA"), ("object_parcels", "rLOC")]
    ):
        path = parcels / folder / f"{name}_{roi}.nii.gz"
        write_image(path, region(30 + seed).astype(np.uint8))
    for repeats in (1, 12):
        write_image(root / "noise_ceilings" / f"{name}_nc_n-{repeats}.nii.gz", ceiling(repeats))
    for session in range(1, SESSIONS + 1):
        folder = root / "betas_vol" / deeper / name / f"ses-things{session:02d}"
        for run in range(1, RUNS + 1):
            stem = f"{name}_ses-things{session:02d}_run-{run:02d}"
            write_image(folder / f"{stem}_betas.nii.gz", planted(session, run))
            names = shown(session, run)
            rows = {"": list(range(len(names))), "image_filename": names}
            write_table(folder / f"{stem}_conditions.tsv", rows)
    return root


def tables(root: Path, name: str = "sub-01") -> Path:
    """Write a subject as tables, through pandas and PyTables as the authors did."""
    folder = root / "betas_csv"
    folder.mkdir(parents=True)
    blocks, trials = [], []
    for session in range(1, SESSIONS + 1):
        for run in range(1, RUNS + 1):
            blocks.append(planted(session, run)[mask()].astype(np.float64))
            trials += [(session, run, picture) for picture in shown(session, run)]
    responses = pd.DataFrame(np.concatenate(blocks, axis=1))
    responses.insert(0, "voxel_id", np.arange(len(responses)))
    with warnings.catch_warnings():  # PyTables pickles the names of the columns
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        responses.to_hdf(folder / f"{name}_ResponseData.h5", key="ResponseData", mode="w")
    metadata = pd.DataFrame(trials, columns=["session", "run", "stimulus"])
    kinds = {True: "test", False: "train"}
    metadata["trial_type"] = [
        "catch" if name.startswith("catch") else kinds[name in TESTS] for _, _, name in trials
    ]
    metadata["concept"] = [picture.rsplit("_", 1)[0] for _, _, picture in trials]
    metadata.to_csv(folder / f"{name}_StimulusMetadata.csv")
    _voxel_table().to_csv(folder / f"{name}_VoxelMetadata.csv", index=False)
    return root


def _voxel_table() -> pd.DataFrame:
    inside = mask()
    x, y, z = np.argwhere(inside).T
    columns = {
        "voxel_id": np.arange(len(x)),
        "subject_id": 1,
        "voxel_x": x,
        "voxel_y": y,
        "voxel_z": z,
        "nc_singletrial": ceiling(1)[inside],
        "nc_testset": ceiling(12)[inside],
        "splithalf_corrected": -0.5,
        "prf-eccentricity": 1.25,
    }
    labels = np.rint(areas())[inside]
    columns |= {area: (labels == mark).astype(int) for mark, area in enumerate(AREAS, start=1)}
    columns |= {
        roi: region(seed)[inside].astype(int)
        for seed, roi in ((30, "lFFA"), (31, "rFFA"), (32, "rLOC"))
    }
    columns["glasser-V1"] = (x > 2).astype(int)
    return pd.DataFrame(columns)


def pictures(root: Path) -> Path:
    """Write the pictures, one folder a concept, of different sizes."""
    names = {n for s in range(1, SESSIONS + 1) for r in (1, 2) for n in shown(s, r)}
    for number, name in enumerate(sorted(names)):
        if not name.startswith("catch"):
            path = root / "object_images" / name.rsplit("_", 1)[0] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9 + number, 12), (number * 9, 50, 200)).save(path, quality=100)
    return root
