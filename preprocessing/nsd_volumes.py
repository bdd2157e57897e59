"""Volumes of NSD: betas of a session as integers, masks and labelled regions of a subject."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError, one_of
from preprocessing.betas import dataset_of, opened_hdf5, standardised
from preprocessing.nifti import open_image
from preprocessing.reader import Grid, read_labels, read_voxels

#: stored betas are 300 times the percent signal change
SCALE = 300.0
_BLOCK = 16  # trials held unmasked at a time

#: regions of the labelled images: file -> region -> its labels
REGIONS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "prf-visualrois": {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6), "hV4": (7,)},
    "streams": {
        "early": (1,),
        "midventral": (2,),
        "midlateral": (3,),
        "midparietal": (4,),
        "ventral": (5,),
        "lateral": (6,),
        "parietal": (7,),
    },
    "floc-faces": {"OFA": (1,), "FFA": (2, 3), "mTL-faces": (4,), "aTL-faces": (5,)},
    "floc-places": {"OPA": (1,), "PPA": (2,), "RSC": (3,)},
    "floc-bodies": {"EBA": (1,), "FBA": (2, 3), "mTL-bodies": (4,)},
    "floc-words": {"OWFA": (1,), "VWFA": (2, 3), "mfs-words": (4,), "mTL-words": (5,)},
}


def roi_folder(source: Path, subject: str, grid: str) -> Path:
    """Where the regions of a subject lie; `grid` is "func1pt8mm" or "func1mm"."""
    return source / "nsddata" / "ppdata" / subject / grid / "roi"


def betas_folder(source: Path, subject: str, grid: str, version: str) -> Path:
    """Where the betas of a subject lie."""
    return source / "nsddata_betas" / "ppdata" / subject / grid / version


def betas_file(folder: Path, session: int) -> Path:
    """The betas of a session: the NIfTI image, or the HDF5 file where that alone is there."""
    stem = folder / f"betas_session{session:02d}"
    image, hdf5 = (stem.with_name(stem.name + end) for end in (".nii.gz", ".hdf5"))
    return hdf5 if hdf5.is_file() and not image.is_file() else image


def subject_regions(
    folder: Path, names: Sequence[str] | None, grid: Grid
) -> tuple[dict[str, NDArray[np.bool_]], list[Path]]:
    """Regions of a subject by name, (X, Y, Z), and the files they were read from.

    Args:
        folder: Of the labelled images.
        names: Images without suffix, such as "streams"; None takes those of `REGIONS` that exist.
        grid: What their voxels must be.

    Raises:
        SourceError: If an image is missing or on another grid.
    """
    chosen = names or [name for name in REGIONS if (folder / f"{name}.nii.gz").is_file()]
    regions: dict[str, NDArray[np.bool_]] = {}
    for name in chosen:
        path = folder / f"{name}.nii.gz"
        if not path.is_file():
            present = [p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz")]
            raise SourceError(f"there is no {path}", one_of("the regions", name, present))
        labels = read_labels(path, grid)
        known = REGIONS.get(name)
        if known is None:
            regions[name] = labels > 0
        else:
            regions |= {region: np.isin(labels, marks) for region, marks in known.items()}
    return regions, [folder / f"{name}.nii.gz" for name in chosen]


def session_betas(
    path: Path, mask: NDArray[np.bool_], fit: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Betas of a session in percent signal change, or standardised by some of its trials.

    Args:
        path: `betas_sessionNN.nii.gz` or `.hdf5`.
        mask: Voxels to keep, (X, Y, Z).
        fit: Trials to standardise by, those not for the test; None leaves the units.

    Returns:
        (trials, voxels).

    Raises:
        SourceError: If the file is damaged, on another grid, holds another number of trials, or
            no integers.
    """
    raw = _from_hdf5(path, mask) if path.suffix == ".hdf5" else _from_nifti(path, mask)
    rows = raw / np.float32(SCALE)
    return rows if fit is None else standardised(rows, fit, path.name)


def check_session(path: Path, shape: tuple[int, int, int], trials: int) -> None:
    """Refuse a file of betas by its header alone.

    Raises:
        SourceError: If grid, number of trials or type are not those of NSD.
    """
    if path.suffix == ".hdf5":
        with opened_hdf5(path) as file:
            dataset = dataset_of(file, "betas", path, 4)
            found, dtype = dataset.shape[:0:-1] + dataset.shape[:1], dataset.dtype
    else:
        image = open_image(path)
        found, dtype = tuple(image.shape), image.get_data_dtype()
    if found != (*shape, trials):
        raise SourceError(
            f"{path} has the shape {found}",
            f"{(*shape, trials)}, the grid of the regions and {trials} trials",
        )
    if dtype.kind not in "iu":
        raise SourceError(
            f"{path} holds {dtype}",
            f"integers, {SCALE:g} times the percent signal change",
            "use the betas as NSD distributes them",
        )


def _from_nifti(path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return read_voxels(path, mask)


def _from_hdf5(path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """MATLAB wrote (X, Y, Z, trials), which HDF5 shows as (trials, Z, Y, X)."""
    with opened_hdf5(path) as file:
        dataset = dataset_of(file, "betas", path, 4)
        rows = np.empty((dataset.shape[0], int(mask.sum())), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = dataset[start : start + _BLOCK]
            rows[start : start + _BLOCK] = block.transpose(0, 3, 2, 1)[:, mask]
    return rows
