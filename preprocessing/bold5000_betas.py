"""Betas of BOLD5000: arrays of regions over all sessions, or a volume series of each session."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.betas import standardised
from preprocessing.damage import BROKEN
from preprocessing.quality import response_quality
from preprocessing.reader import grid_of, num_volumes, read_mask, read_voxels
from preprocessing.tables import voxel_places
from preprocessing.trials import stored_columns
from preprocessing.write import Job, StackedRows

#: regions in the order in which MinD-Vis joins them, which is the voxel axis of its checkpoints
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
_METHOD = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR"


def region_file(betas: Path, name: str, side: str, region: str) -> Path:
    """CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_LHPPA.npy of "sub-CSI1"."""
    return betas / f"{name.removeprefix('sub-')}_{_METHOD}_allses_{side}{region}.npy"


def session_file(betas: Path, name: str, session: int) -> Path:
    """CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-03.nii.gz of "sub-CSI1"."""
    return betas / f"{name.removeprefix('sub-')}_{_METHOD}_ses-{session:02d}.nii.gz"


def region_data(betas: Path, name: str, trials: pd.DataFrame, standardise: bool) -> SubjectData:
    """What a store keeps of a subject's ten region files.

    Raises:
        SourceError: If a file is no table of finite numbers with a row for each trial.
    """
    blocks, owner = [], []
    for region in REGIONS:
        for side in ("LH", "RH"):
            block = _table(region_file(betas, name, side, region), len(trials))
            blocks.append(block)
            owner += [region] * block.shape[1]
    responses = np.concatenate(blocks, axis=1)
    if standardise:
        train = (trials["split"] == "train").to_numpy()
        for session, rows in trials.groupby("session").indices.items():
            what = f"session {session} of {name}"
            responses[rows] = standardised(responses[rows], train[rows], what)
    ijk, affine, shape = voxel_places(None, responses.shape[1])
    members = np.array(owner)
    table = stored_columns(trials)
    return SubjectData(
        responses=responses,
        trials=table,
        ijk=ijk,
        affine=affine,
        shape=shape,
        rois={region: members == region for region in REGIONS},
        quality=response_quality(responses, table),
        units="z" if standardise else "percent signal change",
        space="unknown",
        tr=2.0,
    )


def _table(path: Path, count: int) -> NDArray[np.float32]:
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # of objects there is no memory map
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "an array without objects") from None
    if values.ndim != 2 or values.dtype.kind not in "fiu" or len(values) != count:
        raise SourceError(
            f"{path} is {values.dtype} of shape {values.shape}",
            f"({count}, voxels), a row for each trial of the presentation lists",
        )
    broken = int((~np.isfinite(values)).any(axis=0).sum())
    if broken:
        raise SourceError(f"{path} has NaN in {broken} of {values.shape[1]} voxels", "none")
    return np.array(values, dtype=np.float32)


def kept_voxels(first: Path, mask: Path | None) -> NDArray[np.bool_]:
    """Voxels of the mask; without one, those whose betas vary in the first session, (X, Y, Z).

    Raises:
        SourceError: There are none.
    """
    grid = grid_of(first)
    kept = _varying(first, grid.shape) if mask is None else read_mask(mask, grid)
    if not kept.any():
        chosen = f"varies in {first}" if mask is None else f"of {mask} is above zero"
        raise SourceError(f"no voxel {chosen}", "at least one")
    return kept


def _varying(first: Path, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    values = read_voxels(first, np.ones(shape, dtype=np.bool_))
    with np.errstate(invalid="ignore"):
        varies = np.isfinite(values).all(axis=0) & (values.std(axis=0) > 0)
    return np.asarray(varies.reshape(shape))


def session_betas(
    path: Path, first: Path, mask: Path | None, fit: NDArray[np.bool_] | None, count: int
) -> NDArray[np.float32]:
    """Betas of one session, (trials, voxels).

    Args:
        path: (X, Y, Z, trials).
        first: The first session, whose grid and, without a mask, whose voxels are taken.
        mask: Brain mask.
        fit: bool (trials,), the rows to standardise by; None keeps percent signal change.
        count: Trials by the presentation lists.

    Raises:
        SourceError: If the image is damaged, on another grid, has NaN or another number of trials.
    """
    if num_volumes(path) != count:
        raise SourceError(
            f"{path} has {num_volumes(path)} volumes", f"{count}, one for each trial of its lists"
        )
    grid_of(first).check(grid_of(path))
    values = read_voxels(path, kept_voxels(first, mask))
    broken = int((~np.isfinite(values)).any(axis=0).sum())
    if broken:
        raise SourceError(
            f"{path} has NaN in {broken} of {values.shape[1]} voxels",
            "finite betas inside the mask",
            "give a --mask that leaves them out",
        )
    return values if fit is None else standardised(values, fit, path.name)


def volume_data(
    betas: Path,
    trials: pd.DataFrame,
    jobs: Sequence[Job],
    first: Path,
    mask: Path | None,
    rois: str | None,
    units: str,
) -> SubjectData:
    """What a store keeps of a subject's sessions, its responses still on disk."""
    grid, kept = grid_of(first), kept_voxels(first, mask)
    rows = StackedRows([job.part for job in jobs])
    table = stored_columns(trials)
    inside = {
        _region(path, rois or ""): read_mask(path, grid)[kept]
        for path in (sorted(betas.glob(rois)) if rois else [])
    }
    return SubjectData(
        responses=rows,
        trials=table,
        ijk=np.argwhere(kept).astype(np.int32),
        affine=grid.affine,
        shape=grid.shape,
        rois={name: member for name, member in inside.items() if member.any()},
        quality=response_quality(rows, table),
        units=units,
        space="native",
        tr=2.0,
    )


def _region(path: Path, pattern: str) -> str:
    """What the `*` of the pattern's last part stands for: "LHPPA" of CSI1_LHPPA.nii.gz."""
    before, _, after = Path(pattern).name.partition("*")
    return path.name.removeprefix(before).removesuffix(after) or path.name.split(".")[0]
