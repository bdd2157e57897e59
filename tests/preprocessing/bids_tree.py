"""Small BIDS data sets from a description, every size different from every other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

SHAPE = (5, 6, 7)
AFFINE = np.array([[2.0, 0, 0, -11], [0, 2.5, 0, -13], [0, 0, 3.0, -17], [0, 0, 0, 1]])
TR = 2.0


@dataclass
class Run:
    """One run: its name after the subject, and what is in it.

    `events` maps columns to values; None writes no table.
    """

    name: str
    volumes: int = 24
    events: Mapping[str, Sequence[object]] | None = None
    tr: float | None = TR
    header_tr: float = TR
    data: np.ndarray | None = None
    seed: int = 0


@dataclass
class Tree:
    """A data set: runs by subject, masks and pictures by path."""

    runs: dict[str, list[Run]]
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    picture_size: tuple[int, int] = (9, 8)  # width, height


def values(run: Run) -> np.ndarray:
    """What is planted in a run, (X, Y, Z, volumes): whole numbers that name voxel and volume."""
    if run.data is not None:
        return run.data
    rng = np.random.default_rng(run.seed)
    return rng.integers(-1000, 1000, (*SHAPE, run.volumes)).astype(np.int16)


def box_mask(seed: int = 1, share: float = 0.4, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A random mask."""
    return np.random.default_rng(seed).random(shape) < share


def write_image(path: Path, data: np.ndarray, tr: float | None = None) -> None:
    """A NIfTI image; 4-D ones get a repetition time, unless it is 0."""
    image = nib.Nifti1Image(data, AFFINE)
    if data.ndim == 4 and tr is not None:
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = tr
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    """A tab-separated table."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def func_folder(root: Path, subject: str, run: Run) -> Path:
    """Where a run lies: sub-01[/ses-1]/func."""
    session = [part for part in run.name.split("_") if part.startswith("ses-")]
    return root.joinpath(subject, *session, "func")


def build(root: Path, tree: Tree) -> Path:
    """Write the data set and return its folder."""
    root.mkdir(parents=True, exist_ok=True)
    about = {"Name": "Planted", "BIDSVersion": "1.9.0", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    for subject, runs in tree.runs.items():
        for run in runs:
            _write_run(func_folder(root, subject, run), f"{subject}_{run.name}", run)
    for name, mask in tree.masks.items():
        write_image(root / name, mask.astype(np.uint8))
    for name, colour in tree.pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", tree.picture_size, colour).save(root / name)
    return root


def _write_run(folder: Path, stem: str, run: Run) -> None:
    write_image(folder / f"{stem}_bold.nii.gz", values(run), run.header_tr)
    facts = {} if run.tr is None else {"RepetitionTime": run.tr}
    (folder / f"{stem}_bold.json").write_text(json.dumps(facts))
    if run.events is not None:
        table = stem.split("_space-")[0].split("_desc-")[0]
        write_table(folder / f"{table}_events.tsv", run.events)


def events(files: Sequence[str], onsets: Sequence[float], **more: Sequence[object]) -> dict:
    """Columns of an event table."""
    return {
        "onset": list(onsets),
        "duration": [1.5] * len(onsets),
        "trial_type": [file.split("/")[-1].split(".")[0].split("_")[0] for file in files],
        "stim_file": list(files),
        **more,
    }
