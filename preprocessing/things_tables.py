"""THINGS-fMRI as tables: one file of responses, one of voxels and one of trials a subject.

`ResponseData.h5` was written by pandas through PyTables. Reading it so would unpickle what the file
holds, so its blocks of numbers are read with h5py, which needs neither.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.betas import opened_hdf5, standardised
from preprocessing.damage import BROKEN
from preprocessing.facts import ExpectedFile
from preprocessing.quality import response_quality
from preprocessing.reader import grid_of
from preprocessing.things_trials import TR, named, read_trials, within
from preprocessing.trials import stored_columns
from preprocessing.write import Job, StackedRows, SubjectWork, digest

_BLOCK = 4096  # voxels held at a time
_PLACES = ("voxel_x", "voxel_y", "voxel_z")
_NO_REGION = ("voxel_id", "subject_id", *_PLACES)
_CEILINGS = {"nc_singletrial": "noise_ceiling_single", "nc_testset": "noise_ceiling"}


def _file(source: Path, name: str, kind: str) -> Path:
    return source / "betas_csv" / f"{name}_{kind}"


def table_files(source: Path, name: str) -> list[ExpectedFile]:
    """All files of a subject in the form of tables."""
    mask = source / "brainmasks" / f"{name}_space-T1w_brainmask.nii.gz"
    return [
        ExpectedFile(_file(source, name, "ResponseData.h5"), f"betas of {name}"),
        ExpectedFile(_file(source, name, "VoxelMetadata.csv"), f"voxels of {name}"),
        ExpectedFile(_file(source, name, "StimulusMetadata.csv"), f"trials of {name}"),
        ExpectedFile(mask, f"grid of {name}", required=False),
    ]


def response_blocks(file: h5py.File, path: Path) -> tuple[h5py.Dataset, NDArray[np.int64]]:
    """The responses (voxels, trials) of a pandas file of fixed format, and its voxel ids.

    Raises:
        SourceError: If it is no such file.
    """
    groups = [group for group in file.values() if isinstance(group, h5py.Group)]
    blocks = [
        block
        for group in groups
        for name, block in group.items()
        if name.startswith("block") and name.endswith("_values") and isinstance(block, h5py.Dataset)
    ]
    numbers = [block for block in blocks if block.dtype.kind == "f" and block.ndim == 2]
    ids = [block for block in blocks if block.dtype.kind in "iu" and block.ndim == 2]
    if len(numbers) != 1 or len(ids) != 1 or ids[0].shape != (numbers[0].shape[0], 1):
        found = ", ".join(f"{block.dtype} {block.shape}" for block in blocks) or "none"
        raise SourceError(
            f"{path} has the blocks {found}",
            "a pandas table of fixed format: responses (voxels, trials) and one column voxel_id",
        )
    return numbers[0], ids[0][:, 0].astype(np.int64)


def transposed(
    path: Path,
    voxels: NDArray[np.intp],
    trials: NDArray[np.intp],
    sessions: NDArray[np.int64],
    fit: NDArray[np.bool_] | None,
    folder: Path,
) -> NDArray[np.float32]:
    """Some responses as (trials, voxels), on disk: the file is many times larger than memory.

    Args:
        path: `*_ResponseData.h5`.
        voxels: Rows to keep, increasing.
        trials: Columns to keep, increasing.
        sessions: Of each kept trial.
        fit: Kept trials by which each session is standardised; None leaves the betas.
        folder: Where a nameless temporary file may grow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as space, opened_hdf5(path) as file:
        rows = np.memmap(space, np.float32, "w+", shape=(len(trials), len(voxels)))
        numbers, _ = response_blocks(file, path)
        for start in range(0, len(voxels), _BLOCK):
            some = voxels[start : start + _BLOCK]
            block = numbers[some[0] : some[-1] + 1][some - some[0]]
            part = block[:, trials].T.astype(np.float32)
            if not np.isfinite(part).all():
                raise SourceError(f"{path} has NaN or infinite values", "finite responses")
            rows[:, start : start + _BLOCK] = part if fit is None else scaled(part, sessions, fit)
        return rows


def scaled(
    rows: NDArray[np.float32], sessions: NDArray[np.int64], fit: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Each session standardised by its trials in `fit`; (trials, voxels)."""
    out = np.empty_like(rows)
    for session in np.unique(sessions):
        own = sessions == session
        out[own] = standardised(rows[own], fit[own], f"session {session}")
    return out


def read_voxel_table(path: Path) -> pd.DataFrame:
    """`*_VoxelMetadata.csv`.

    Raises:
        SourceError: If a column is missing, or places are no indices.
    """
    try:
        table = pd.read_csv(path)
        places = table[list(_PLACES)].to_numpy(np.float64)
        table["voxel_id"].to_numpy(np.int64)
        for column in _CEILINGS:
            if column in table:
                table[column] = table[column].astype(np.float32)
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", f"columns voxel_id, {', '.join(_PLACES)} and more"
        ) from None
    whole = np.array_equal(places, np.rint(places))  # NaN is not
    if not len(table) or not whole or (places < 0).any() or (places > 10_000).any():
        raise SourceError(f"{path} has places that are no indices", "whole numbers from 0")
    return table


def regions_of(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Columns of 0 and 1 but Glasser's parcels, bool (voxels,); hemispheres united: lFFA, rFFA."""
    regions: dict[str, NDArray[np.bool_]] = {}
    for column in table.columns:
        if column in _NO_REGION or column.startswith("glasser-"):
            continue
        values = table[column]
        if values.dtype.kind not in "iufb" or not values.isin((0, 1)).all() or not values.any():
            continue
        paired = column[0] in "lr" and {f"l{column[1:]}", f"r{column[1:]}"} & set(table.columns)
        name = column[1:] if paired else column
        regions[name] = regions.get(name, np.zeros(len(table), np.bool_)) | (values > 0).to_numpy()
    return regions


def table_work(
    source: Path,
    name: str,
    voxels: Literal["mask", "rois"],
    standardise: bool,
    parts: Path,
) -> tuple[SubjectWork, pd.DataFrame]:
    """The work of a subject out of tables, and its trials.

    Raises:
        SourceError: If files contradict each other, or no voxel is left.
    """
    path, metadata = (_file(source, name, k) for k in ("ResponseData.h5", "StimulusMetadata.csv"))
    table = read_voxel_table(_file(source, name, "VoxelMetadata.csv"))
    known = read_trials(metadata)
    _check_sizes(path, table, known)
    shown = np.flatnonzero(known["trial_type"] != "catch")
    rows = known.iloc[shown].reset_index(drop=True)
    files = rows.rename(columns={"stimulus": "file"})[["file", "session", "run"]]
    trials = named(files, rows["trial_type"].to_numpy(str))
    regions = regions_of(table)
    mask = within(np.ones(len(table), np.bool_), regions, voxels, name)
    chosen = np.flatnonzero(mask)
    sessions = trials["session"].to_numpy(np.int64)
    fit = (trials["split"] == "train").to_numpy() if standardise else None
    key = digest(path, chosen, shown, sessions, fit)
    arguments = (path, chosen, shown, sessions, fit, parts)
    job = Job(parts / f"{name}-{key[:16]}.npy", transposed, arguments)
    grid_file = source / "brainmasks" / f"{name}_space-T1w_brainmask.nii.gz"
    inside = {region: members[mask] for region, members in regions.items()}
    units = "z" if standardise else "beta"
    made = partial(_record, job, trials, table[mask], inside, grid_file, units)
    files_read = [path, metadata, _file(source, name, "VoxelMetadata.csv")]
    files_read += [grid_file] if grid_file.is_file() else []
    return SubjectWork(name, made, [job], files_read), trials


def _check_sizes(path: Path, voxels: pd.DataFrame, trials: pd.DataFrame) -> None:
    with opened_hdf5(path) as file:
        numbers, ids = response_blocks(file, path)
        expected = (len(voxels), len(trials))
        if numbers.shape != expected:
            raise SourceError(
                f"{path} has responses of shape {numbers.shape}",
                f"{expected}, the rows of VoxelMetadata.csv and of StimulusMetadata.csv",
            )
    if not np.array_equal(ids, voxels["voxel_id"]):
        raise SourceError(
            f"voxel_id in {path} and in VoxelMetadata.csv differ", "the same voxels in one order"
        )


def _record(
    job: Job,
    trials: pd.DataFrame,
    voxels: pd.DataFrame,
    regions: dict[str, NDArray[np.bool_]],
    grid_file: Path,
    units: str,
) -> SubjectData:
    rows = StackedRows([job.part])
    quality = response_quality(rows, trials)
    for column, key in _CEILINGS.items():
        if column in voxels:
            quality[key] = (voxels[column].to_numpy(np.float32) / 100).astype(np.float32)  # percent
    ijk = voxels[list(_PLACES)].to_numpy(np.int32)
    x, y, z = (int(size) for size in ijk.max(axis=0) + 1)
    shape, affine = (x, y, z), np.eye(4)
    if grid_file.is_file():
        grid = grid_of(grid_file)
        shape, affine = grid.shape, grid.affine
    return SubjectData(
        responses=rows,
        trials=stored_columns(trials),
        ijk=ijk,
        affine=affine,
        shape=shape,
        rois={region: members for region, members in regions.items() if members.any()},
        quality=quality,
        units=units,
        space="T1w",
        tr=TR,
    )
