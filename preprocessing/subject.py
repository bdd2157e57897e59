"""One subject: its runs, its voxels, the work they take, and the record that a store keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.plan import RunPlan, SignalOptions, run_responses
from preprocessing.quality import response_quality
from preprocessing.roi import find_masks, find_rois, kept_voxels, load_rois
from preprocessing.series import atlas_regions, files_of, form_of, where
from preprocessing.trials import count_repeats, stored_columns
from preprocessing.write import Job, StackedRows, digest


@dataclass(frozen=True)
class SubjectPlan:
    """All runs of a subject, the voxels that are kept, and where they belong.

    Args:
        name: Such as "sub-01".
        runs: In order of session, task and run.
        trials: A row for each response, runs one after another.
        mask: Voxels that are kept, (X, Y, Z).
        rois: ROI masks, (X, Y, Z), by name.
        files: All images that mask and ROIs were read from.
        masks: Those of the brain mask.
    """

    name: str
    runs: Sequence[RunPlan]
    trials: pd.DataFrame
    mask: NDArray[np.bool_]
    rois: dict[str, NDArray[np.bool_]]
    files: Sequence[Path]
    masks: Sequence[Path] = ()


def plan_subject(
    source: Path,
    images: Path,
    runs: Sequence[RunPlan],
    mask: str | None,
    rois: str | None,
    voxels: Literal["mask", "rois"],
    atlas: Path | None = None,
) -> SubjectPlan:
    """Choose the voxels of a subject and check that all its runs have them.

    Surfaces have no brain mask: all their vertices are kept, or those of an atlas' regions.

    Raises:
        SourceError: If runs, masks and ROIs are not on one grid, or no voxel is left.
    """
    first = runs[0]
    for run in runs[1:]:
        first.grid.check(run.grid)
    if form_of(first.scan.bold) != "volume":
        return _surface_subject(runs, voxels, atlas)
    folders = list(dict.fromkeys([images, source / "derivatives"]))
    masks = find_masks(source, mask, [run.scan for run in runs], folders)
    roi_files = [] if rois == "none" else find_rois(source, rois, first.scan, folders)
    regions = load_rois(roi_files, first.grid)
    return SubjectPlan(
        name=first.scan.subject,
        runs=runs,
        trials=pd.concat([run.trials for run in runs], ignore_index=True),
        mask=kept_voxels(masks, regions, first.grid, voxels),
        rois=regions,
        files=[*masks, *roi_files],
        masks=masks,
    )


def _surface_subject(
    runs: Sequence[RunPlan], voxels: Literal["mask", "rois"], atlas: Path | None
) -> SubjectPlan:
    first = runs[0]
    regions = {} if atlas is None else atlas_regions(atlas, first.scan.bold)
    if voxels == "rois" and not regions:
        raise SourceError(
            f"there are no regions for {first.scan.bold}",
            "labels for --voxels rois",
            "give --atlas",
        )
    whole = np.ones(first.grid.shape, dtype=np.bool_)
    return SubjectPlan(
        name=first.scan.subject,
        runs=runs,
        trials=pd.concat([run.trials for run in runs], ignore_index=True),
        mask=whole if voxels == "mask" else np.logical_or.reduce(list(regions.values())),
        rois=regions,
        files=[] if atlas is None else files_of(atlas),
    )


def run_parts(plan: SubjectPlan, signal: SignalOptions, folder: Path) -> list[Job]:
    """A job for each run of a subject; its part is named by all that the responses depend on."""
    jobs = []
    for run in plan.runs:
        trials = run.trials[["onset", "duration"]].to_numpy(float)
        confounds = (run.confounds.values, run.confounds.kept)
        key = digest(run.files, run.times, trials, *confounds, plan.mask, signal)
        name = f"{run.scan.bold.name.split('.')[0]}-{key[:16]}.npy"
        jobs.append(Job(folder / name, run_responses, (run, plan.mask, signal)))
    return jobs


def subject_data(plan: SubjectPlan, jobs: Sequence[Job], signal: SignalOptions) -> SubjectData:
    """What the store keeps of a subject, its responses still on disk."""
    paths = [job.part for job in jobs]
    finite = StackedRows(paths).finite()
    if not finite.any():
        raise SourceError(f"all voxels of {plan.name} have NaN in some run", "some finite voxels")
    rows = StackedRows(paths, None if finite.all() else finite)
    count_repeats(plan.trials)
    first = plan.runs[0]
    inside = {name: roi[plan.mask][finite] for name, roi in plan.rois.items()}
    times = {run.tr for run in plan.runs}
    kept = plan.mask.copy()
    kept[plan.mask] = finite
    places = where(first.scan.bold, first.grid, kept)
    return SubjectData(
        responses=rows,
        trials=stored_columns(plan.trials),
        ijk=places.ijk,
        affine=places.affine,
        shape=places.shape,
        rois={name: member for name, member in inside.items() if member.any()},
        quality=response_quality(rows, plan.trials),
        units=units(signal),
        space=first.scan.entities.get("space", "native"),
        tr=times.pop() if len(times) == 1 else float("nan"),
        grayordinates=places.grayordinates,
    )


def units(signal: SignalOptions) -> str:
    """What the numbers are: z-scores or scanner units, averages or betas of them."""
    scale = "z" if signal.cleaning.standardise else "scanner units"
    return scale if signal.response.method == "average" else f"beta of {scale}"
