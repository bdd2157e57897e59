"""Betas of GLMsingle's output folder, one for each trial of the event tables in order of time."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.betas import dataset_of, opened_hdf5, standardised
from preprocessing.layout import Scan
from preprocessing.quality import response_quality
from preprocessing.roi import filled_in
from preprocessing.subject import SubjectPlan
from preprocessing.trials import count_repeats, stored_columns, time_order
from preprocessing.write import Job, StackedRows, SubjectWork, digest

TYPES = (
    "TYPED_FITHRF_GLMDENOISE_RR",
    "TYPEC_FITHRF_GLMDENOISE",
    "TYPEB_FITHRF",
)


def betas_file(folder: Path) -> Path:
    """The betas of a folder: those of the type that does most.

    Raises:
        SourceError: If there are none, or as a pickle alone.
    """
    for name in TYPES:
        if (folder / f"{name}.hdf5").is_file():
            return folder / f"{name}.hdf5"
    pickles = [folder / f"{name}.npy" for name in TYPES if (folder / f"{name}.npy").is_file()]
    if pickles:
        raise SourceError(
            f"{pickles[0]} is a pickle, which could run any code when it is opened",
            f"{pickles[0].with_suffix('.hdf5').name}",
            "run GLMsingle with wanthdf5=1; or, if you trust the file, load it yourself and write "
            "betasmd and R2 with h5py",
        )
    raise SourceError(f"{folder} holds no betas of GLMsingle", f"{TYPES[0]}.hdf5")


def check_betas(path: Path, shape: tuple[int, int, int], voxels: int, trials: int) -> None:
    """Refuse betas of another grid or number of trials, by the header alone.

    Raises:
        SourceError: Unless `betasmd` is (X, Y, Z, trials), or (voxels, 1, 1, trials) of the mask.
    """
    with opened_hdf5(path) as file:
        found = tuple(dataset_of(file, "betasmd", path, 4).shape)
    if found[:3] not in (shape, (voxels, 1, 1)):
        raise SourceError(
            f"betasmd in {path} has the shape {found}",
            f"{(*shape, trials)}, or {(voxels, 1, 1, trials)} for the voxels of the mask",
        )
    if found[3] != trials:
        raise SourceError(
            f"betasmd in {path} has {found[3]} trials",
            f"{trials}, the trials of the event tables",
            "check --tasks and --conditions: they must be those that GLMsingle was given",
        )


def read_betas(
    path: Path,
    mask: NDArray[np.bool_],
    fit: NDArray[np.bool_] | None,
    order: NDArray[np.intp],
) -> NDArray[np.float32]:
    """The betas of a file, (trials, voxels), a slice of the volume at a time.

    Args:
        path: `TYPE*.hdf5`.
        mask: Voxels to keep, (X, Y, Z).
        fit: Trials to standardise by, in order of the file; None leaves percent signal change.
        order: For each trial of the event tables, its place in the file.
    """
    with opened_hdf5(path) as file:
        dataset = dataset_of(file, "betasmd", path, 4)
        rows = np.empty((dataset.shape[3], int(mask.sum())), dtype=np.float32)
        if dataset.shape[:3] != mask.shape:  # the voxels of the mask alone
            rows[:] = dataset[:, 0, 0, :].T
        else:
            done = 0
            for x, inside in enumerate(mask):
                count = int(inside.sum())
                if count:
                    rows[:, done : done + count] = dataset[x][inside].T
                done += count
    return (rows if fit is None else standardised(rows, fit, path.parent.name))[order]


def explained_variance(
    paths: Sequence[Path], mask: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """Mean over the files of the variance that the model explains, as a fraction; None without R2.

    GLMsingle writes percent.
    """
    maps = []
    for path in paths:
        with opened_hdf5(path) as file:
            if "R2" not in file or file["R2"].size not in {mask.size, int(mask.sum())}:
                return None
            values = np.asarray(file["R2"][()], dtype=np.float64).ravel()
        maps.append(values[mask.ravel()] if values.size == mask.size else values)
    return (np.mean(maps, axis=0) / 100).astype(np.float32)


def folders(plan: SubjectPlan, source: Path, pattern: str) -> dict[Path, list[int]]:
    """Output folders of a subject, and the rows of its trials that each holds, in order of time.

    Raises:
        SourceError: If the order of two trials or of two runs in time is not known.
    """
    rows: dict[Path, list[int]] = {}
    runs: dict[Path, list[Scan]] = {}
    first = 0
    for run in plan.runs:
        name = source / filled_in(pattern, run.scan)
        rows.setdefault(name, []).extend(range(first, first + len(run.trials)))
        runs.setdefault(name, []).append(run.scan)
        _refuse_ties(run.trials, run.scan)
        first += len(run.trials)
    for scans in runs.values():
        _check_order(scans)
    rank = {int(row): place for place, row in enumerate(time_order(plan.trials))}
    return {name: sorted(mine, key=rank.__getitem__) for name, mine in rows.items()}


def _refuse_ties(trials: pd.DataFrame, scan: Scan) -> None:
    twice = trials["onset"][trials["onset"].duplicated()]
    if len(twice):
        raise SourceError(
            f"two trials of {scan.bold.name} begin at {twice.iloc[0]:g} s",
            "one trial a moment, so that betas can be told apart by their order",
            "leave one out with --conditions",
        )


def _check_order(scans: Sequence[Scan]) -> None:
    """Refuse runs of several kinds whose order in time nothing tells.

    Raises:
        SourceError: If they differ in more than session and run, and *_scans.tsv is silent.
    """
    kinds = {tuple(sorted(e for e in s.identity if e[0] not in {"ses", "run"})) for s in scans}
    if len(kinds) > 1 and not all(scan.acquired for scan in scans):
        raise SourceError(
            f"the betas of GLMsingle are those of several kinds of runs ({scans[0].bold.name}, "
            f"{scans[-1].bold.name}), and nothing says in which order they were acquired",
            "acq_time for every run in *_scans.tsv",
            "add it, or choose one with --tasks or --entities",
        )


def glmsingle_work(
    plan: SubjectPlan, source: Path, pattern: str, standardise: bool, parts: Path
) -> SubjectWork:
    """The work of a subject whose betas GLMsingle has estimated, a job for each output folder.

    Args:
        plan: Its trials and voxels.
        source: The BIDS folder.
        pattern: Output folder, relative to it.
        standardise: Bring each voxel to mean 0 and deviation 1 within each output folder, fitted to
            the training trials.
        parts: Where results wait.

    Raises:
        SourceError: If betas are missing, a pickle, or of other trials or another grid.
    """
    voxels = int(plan.mask.sum())
    train = (plan.trials["split"] == "train").to_numpy()
    jobs, files = [], []
    for folder, rows in folders(plan, source, pattern).items():
        path = betas_file(folder)
        check_betas(path, plan.runs[0].grid.shape, voxels, len(rows))
        fit = train[rows] if standardise else None
        order = np.argsort(rows)
        key = digest(path, plan.mask, fit, order)
        part = parts / f"{plan.name}-{folder.name}-{key[:16]}.npy"
        jobs.append(Job(part, read_betas, (path, plan.mask, fit, order)))
        files.append(path)
    tables = [file for run in plan.runs for file in run.files]
    units = "z" if standardise else "percent signal change"
    made = partial(_record, plan, jobs, files, units)
    return SubjectWork(plan.name, made, jobs, [*files, *tables, *plan.files])


def _record(
    plan: SubjectPlan, jobs: Sequence[Job], files: Sequence[Path], units: str
) -> SubjectData:
    stacked = StackedRows([job.part for job in jobs])
    finite = stacked.finite()
    if not finite.any():
        raise SourceError(f"all voxels of {plan.name} have NaN in some trial", "finite betas")
    rows = StackedRows([job.part for job in jobs], None if finite.all() else finite)
    count_repeats(plan.trials)
    first = plan.runs[0]
    quality = response_quality(rows, plan.trials)
    explained = explained_variance(files, plan.mask)
    if explained is not None:
        quality["glmsingle_r2"] = explained[finite]
    inside = {name: roi[plan.mask][finite] for name, roi in plan.rois.items()}
    return SubjectData(
        responses=rows,
        trials=stored_columns(plan.trials),
        ijk=np.argwhere(plan.mask)[finite].astype(np.int32),
        affine=first.grid.affine,
        shape=first.grid.shape,
        rois={name: members for name, members in inside.items() if members.any()},
        quality=quality,
        units=units,
        space=first.scan.entities.get("space", "native"),
        tr=first.tr,
    )
