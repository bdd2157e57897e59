"""THINGS-fMRI as volumes: betas of each run, brain mask, regions and noise ceilings."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.betas import standardised
from preprocessing.damage import BROKEN
from preprocessing.facts import ExpectedFile
from preprocessing.quality import response_quality
from preprocessing.reader import Grid, grid_of, num_volumes, read_labels, read_voxels, refuse_nan
from preprocessing.things_trials import TR, named, read_trials, within
from preprocessing.trials import stored_columns
from preprocessing.write import Job, StackedRows, SubjectWork, digest

#: labels of the retinotopic areas in resampled_varea.nii.gz
AREAS = ["V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1", "LO2", "TO1", "TO2", "V3a", "V3b"]


def session_folders(source: Path, name: str) -> list[Path]:
    """Folders of a subject's sessions, in betas_vol or one level deeper."""
    found = source.glob(f"betas_vol/**/{name}/ses-things*")
    return sorted(path for path in found if path.is_dir())


def volume_files(source: Path, name: str) -> list[ExpectedFile]:
    """All files of a subject in the form of volumes."""
    files = [
        ExpectedFile(
            source / "brainmasks" / f"{name}_space-T1w_brainmask.nii.gz", "the brain mask"
        ),
        ExpectedFile(source / "rois" / "prf" / name / "resampled_varea.nii.gz", "areas", False),
        ExpectedFile(_parcels(source, name) / "*" / f"{name}_*.nii.gz", "regions", False),
    ]
    files += [
        ExpectedFile(_ceiling(source, name, count), f"noise ceiling, {count} repeats", False)
        for count in (1, 12)
    ]
    folders = session_folders(source, name)
    if not folders:
        folders = [source / "betas_vol" / name / "ses-things*"]
    for folder in folders:
        files.append(ExpectedFile(folder / "*_betas.nii.gz", f"betas of {name}"))
        files += [
            ExpectedFile(_conditions(path), f"pictures of {path.name}")
            for path in sorted(folder.glob("*_betas.nii.gz"))
        ]
    return files


def _parcels(source: Path, name: str) -> Path:
    return source / "rois" / "category_localizer" / name


def _ceiling(source: Path, name: str, repeats: int) -> Path:
    return source / "noise_ceilings" / f"{name}_nc_n-{repeats}.nii.gz"


def _conditions(betas: Path) -> Path:
    return betas.with_name(betas.name.replace("_betas.nii.gz", "_conditions.tsv"))


def read_conditions(path: Path) -> list[str]:
    """Picture files of the volumes of a run: the last column of `*_conditions.tsv`.

    Raises:
        SourceError: If the table cannot be read or is empty.
    """
    try:
        table = pd.read_csv(path, sep="\t", index_col=0, dtype=str, keep_default_na=False)
        names = table[table.columns[-1]].tolist()
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "a column of picture files") from None
    if not names or not all(names):
        raise SourceError(f"{path} has rows without a picture", "a file name in every row")
    return [name.replace("\\", "/").split("/")[-1] for name in names]


def volume_trials(source: Path, name: str) -> tuple[pd.DataFrame, dict[Path, NDArray[np.bool_]]]:
    """The trials of a subject, and which volumes of each file they are.

    Raises:
        SourceError: If a table does not fit its image, or nothing says which pictures are the test.
    """
    tables, kept = [], {}
    for folder in session_folders(source, name):
        for path in sorted(folder.glob("*_betas.nii.gz")):
            pictures = read_conditions(_conditions(path))
            if num_volumes(path) != len(pictures):
                raise SourceError(
                    f"{_conditions(path)} has {len(pictures)} rows",
                    f"{num_volumes(path)}, the volumes of {path.name}",
                )
            kept[path] = np.array([not picture.startswith("catch") for picture in pictures])
            shown = [picture for picture in pictures if not picture.startswith("catch")]
            session, run = _number(folder.name, "ses-things"), _number(path.name, "_run-")
            tables.append(pd.DataFrame({"file": shown, "session": session, "run": run}))
    trials = pd.concat(tables, ignore_index=True)
    tests = _test_pictures(source, name, trials)
    return named(trials, np.where(trials["file"].isin(tests), "test", "train")), kept


def _number(text: str, before: str) -> int:
    found = re.search(rf"{before}(\d+)", text)
    if found is None:
        raise SourceError(f"{text} has no number after {before!r}", "such as 01")
    return int(found[1])


def _test_pictures(source: Path, name: str, trials: pd.DataFrame) -> set[str]:
    """Those that the metadata call so, or that come back in another session."""
    metadata = source / "betas_csv" / f"{name}_StimulusMetadata.csv"
    if metadata.is_file():
        known = read_trials(metadata)
        return set(known.loc[known["trial_type"] == "test", "stimulus"])
    if trials["session"].nunique() < 2:
        raise SourceError(
            f"{name} has one session, which does not say which pictures are the test",
            "a second session, or betas_csv/" + metadata.name,
        )
    sessions = trials.groupby("file")["session"].nunique()
    return set(sessions.index[sessions > 1])


def session_responses(
    paths: Sequence[Path],
    kept: Sequence[NDArray[np.bool_]],
    mask: NDArray[np.bool_],
    fit: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """Betas of the runs of a session, (trials, voxels).

    Args:
        paths: One file a run.
        kept: Volumes that are trials, by file.
        mask: Voxels to keep, (X, Y, Z).
        fit: Trials to standardise by; None leaves the betas.
    """
    blocks = []
    for path, rows in zip(paths, kept, strict=True):
        series = read_voxels(path, mask)[rows]
        refuse_nan(series, path, "refuse")
        blocks.append(series)
    values = np.concatenate(blocks)
    return values if fit is None else standardised(values, fit, paths[0].parent.name)


def read_regions(
    source: Path, name: str, grid: Grid
) -> tuple[dict[str, NDArray[np.bool_]], list[Path]]:
    """Areas and localised regions, (X, Y, Z), hemispheres united, and their files."""
    regions: dict[str, NDArray[np.bool_]] = {}
    files = []
    areas = source / "rois" / "prf" / name / "resampled_varea.nii.gz"
    if areas.is_file():
        labels, files = np.rint(read_labels(areas, grid)), [areas]
        regions = {area: labels == mark for mark, area in enumerate(AREAS, start=1)}
    for path in sorted(_parcels(source, name).glob(f"*/{name}_[lr]*.nii.gz")):
        region = path.name.removeprefix(f"{name}_")[1:].removesuffix(".nii.gz")
        inside = read_labels(path, grid) > 0
        regions[region] = regions[region] | inside if region in regions else inside
        files.append(path)
    return {region: inside for region, inside in regions.items() if inside.any()}, files


def volume_work(
    source: Path,
    name: str,
    voxels: Literal["mask", "rois"],
    standardise: bool,
    parts: Path,
) -> tuple[SubjectWork, pd.DataFrame]:
    """The work of a subject out of volumes, and its trials.

    Raises:
        SourceError: If files contradict each other, or no voxel is left.
    """
    trials, kept = volume_trials(source, name)
    mask_file = source / "brainmasks" / f"{name}_space-T1w_brainmask.nii.gz"
    grid = grid_of(mask_file)
    mask = read_labels(mask_file, grid) > 0
    regions, files = read_regions(source, name, grid)
    mask = within(mask, regions, voxels, name)
    jobs = []
    for session, rows in trials.groupby("session"):
        paths = [path for path in kept if _number(path.parent.name, "ses-things") == session]
        for path in paths:
            if grid_of(path).shape != grid.shape:
                raise SourceError(
                    f"{path} has the shape {grid_of(path).shape}", f"{grid.shape} of {mask_file}"
                )
        fit = (rows["split"] == "train").to_numpy() if standardise else None
        arguments = (paths, [kept[path] for path in paths], mask, fit)
        key = digest(paths, *arguments[1], mask, fit)
        part = parts / f"{name}-ses-{session:02d}-{key[:16]}.npy"
        jobs.append(Job(part, session_responses, arguments))
    ceilings = {
        quality: _ceiling(source, name, repeats)
        for quality, repeats in (("noise_ceiling_single", 1), ("noise_ceiling", 12))
        if _ceiling(source, name, repeats).is_file()
    }
    made = partial(
        _record, jobs, trials, mask, regions, grid, ceilings, "z" if standardise else "beta"
    )
    read = [*kept, *map(_conditions, kept), mask_file, *files, *ceilings.values()]
    return SubjectWork(name, made, jobs, read), trials


def _record(
    jobs: Sequence[Job],
    trials: pd.DataFrame,
    mask: NDArray[np.bool_],
    regions: Mapping[str, NDArray[np.bool_]],
    grid: Grid,
    ceilings: Mapping[str, Path],
    units: str,
) -> SubjectData:
    rows = StackedRows([job.part for job in jobs])
    quality = response_quality(rows, trials)
    for key, path in ceilings.items():
        quality[key] = (read_labels(path, grid)[mask] / 100).astype(np.float32)  # given in percent
    inside = {region: members[mask] for region, members in regions.items()}
    return SubjectData(
        responses=rows,
        trials=stored_columns(trials),
        ijk=np.argwhere(mask).astype(np.int32),
        affine=grid.affine,
        shape=grid.shape,
        rois={region: members for region, members in inside.items() if members.any()},
        quality=quality,
        units=units,
        space="T1w",
        tr=TR,
    )
