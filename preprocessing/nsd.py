"""`mindvis prepare nsd`: the Natural Scenes Dataset, as published or as MindEye2 arranged it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.facts import (
    NOT_CONTENT,
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
    numbered,
)
from preprocessing.mindeye2 import is_mindeye2, prepare_mindeye2
from preprocessing.nsd_design import (
    RUN_TRIALS,
    TRIALS,
    Design,
    Split,
    check_answers,
    read_design,
    sessions_of,
    trial_table,
)
from preprocessing.nsd_pictures import BrickRows, nsd_stimuli
from preprocessing.nsd_volumes import (
    REGIONS,
    betas_file,
    betas_folder,
    check_session,
    roi_folder,
    session_betas,
    subject_regions,
)
from preprocessing.quality import response_quality
from preprocessing.reader import Grid, grid_of, read_labels
from preprocessing.trials import stored_columns
from preprocessing.workers import Backend, Workers
from preprocessing.write import Job, StackedRows, SubjectWork, digest, parts_folder, prepare_store

DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
BRICK = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
_VOXELS = (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386)
#: trials of the shared pictures in all sessions, and in all but the last three
_TEST = {
    "1000": (3000, 3000, 2371, 2188, 3000, 2371, 3000, 2188),
    "982": (2770, 2770, 2113, 1985, 2770, 2113, 2770, 1985),
}


def declared(split: Split) -> Facts:
    """What NSD holds in a split."""
    subjects = {}
    for number, voxels in enumerate(_VOXELS, start=1):
        sessions, test = len(sessions_of(number, split, None)), _TEST[split][number - 1]
        subjects[f"sub-{number:02d}"] = SubjectFacts(
            sessions,
            sessions * len(RUN_TRIALS),
            {"train": sessions * TRIALS - test, "test": test},
            {"nsdgeneral": voxels},
        )
    return Facts(
        dataset="Natural Scenes Dataset",
        subjects=subjects,
        splits=f"{split}: trials of the shared 1,000 pictures are the test, "
        + ("of all sessions" if split == "1000" else "without each subject's last 3 sessions"),
        licence="NSD terms and conditions",
        citation="Allen et al., 2022, Nature Neuroscience 25:116",
        where="https://naturalscenesdataset.org (s3://natural-scenes-dataset)",
        tr=None,
    )


FACTS = declared("1000")


def prepare_nsd(
    source: str,
    store: str = "nsd.h5",
    subjects: str | list[str] | None = None,
    split: Split = "1000",
    sessions: list[int] | None = None,
    betas: Literal[
        "betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf"
    ] = "betas_fithrf_GLMdenoise_RR",
    grid: Literal["func1pt8mm", "func1mm"] = "func1pt8mm",
    mask: str = "nsdgeneral",
    rois: list[str] | None = None,
    standardise: Literal["session", "none"] = "session",
    pictures: bool = True,
    image_size: int | None = 256,
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare the Natural Scenes Dataset: one response for each trial, out of single-trial betas.

    The source is a copy of the bucket natural-scenes-dataset, as far as it is needed, or the folder
    of MindEye2's files (betas_all_subj01_fp32_renorm.hdf5), which are standardised already.

    Args:
        source: The folder.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as 1,2,5,7 or sub-01; all by default.
        split: 1000: all sessions; 982: without the last three of each subject, as papers before
            2023 had it. In both the trials of the shared pictures are the test.
        sessions: Numbers of sessions, from 1; all of the split by default.
        betas: Version of the betas.
        grid: Resolution of the volumes.
        mask: Image of the regions whose voxels above zero are kept.
        rois: Labelled images to take regions from; by default prf-visualrois, streams and floc-*,
            as far as they are there.
        standardise: Bring each voxel to mean 0 and deviation 1 within each session, fitted to the
            training trials; none leaves percent signal change.
        pictures: Store the pictures, out of nsd_stimuli.hdf5.
        image_size: Side in pixels of the stored pictures; null keeps 425.
        n_jobs: Sessions to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing else.

    Raises:
        SourceError: If files are missing, damaged or contradict each other.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    options["source"] = Path(source).resolve().name
    workers = Workers(n_jobs, backend, scheduler)
    root, facts = Path(source), declared(split)
    names = chosen_subjects(facts, numbered(subjects))
    if is_mindeye2(root):
        how = (split, sessions, image_size, options, workers, check)
        prepare_mindeye2(root, Path(store), names, facts, *how)
        return
    numbers = {name: int(name.removeprefix("sub-")) for name in names}
    chosen = {name: sessions_of(number, split, sessions) for name, number in numbers.items()}
    folders = {n: betas_folder(root, f"subj{numbers[n]:02d}", grid, betas) for n in names}
    regions = {n: roi_folder(root, f"subj{numbers[n]:02d}", grid) for n in names}
    expected = expected_files(root, folders, regions, chosen, mask, pictures)
    if not files_are_there(expected, facts, check):
        return
    design = read_design(root / DESIGN)
    plans = [
        plan_subject(root, name, design, chosen[name], folders[name], regions[name], mask, rois)
        for name in names
    ]
    works = [plan.work(parts_folder(Path(store)), standardise == "session") for plan in plans]
    stimuli, files = None, []
    if pictures:
        shown = np.unique(np.concatenate([plan.trials["picture"] for plan in plans]))
        files = [path for path in (root / BRICK, root / INFO) if path.is_file()]
        stimuli = nsd_stimuli(shown, BrickRows(root / BRICK, shown, image_size), root / INFO)
    prepare_store(Path(store), works, stimuli, facts, options, workers, files)


@dataclass(frozen=True)
class NsdPlan:
    """A subject of NSD: its trials, and where its voxels and betas are.

    Args:
        name: Such as "sub-01".
        trials: With the columns of a store and `picture`.
        mask: Voxels to keep, (X, Y, Z).
        regions: (X, Y, Z), by name.
        grid: That of the mask.
        sessions: Files of betas, one a session, in order.
        reliability: `ncsnr.nii.gz`, or None.
        files: All other files that were read.
    """

    name: str
    trials: pd.DataFrame
    mask: NDArray[np.bool_]
    regions: Mapping[str, NDArray[np.bool_]]
    grid: Grid
    sessions: Sequence[Path]
    reliability: Path | None
    files: Sequence[Path]

    def work(self, parts: Path, standardise: bool) -> SubjectWork:
        """A job for each session, and the record of all of them."""
        train = (self.trials["split"] == "train").to_numpy()
        jobs = []
        for number, path in enumerate(self.sessions):
            fit = train[number * TRIALS : (number + 1) * TRIALS] if standardise else None
            key = digest(path, self.mask, fit)
            part = parts / f"{self.name}-{path.name.split('.')[0]}-{key[:16]}.npy"
            jobs.append(Job(part, session_betas, (path, self.mask, fit)))
        units = "z" if standardise else "percent signal change"
        files = [*self.sessions, *self.files, *([self.reliability] if self.reliability else [])]
        return SubjectWork(self.name, partial(self.record, jobs, units), jobs, files)

    def record(self, jobs: Sequence[Job], units: str) -> SubjectData:
        """What the store keeps, its responses still on disk."""
        rows = StackedRows(job.part for job in jobs)
        quality = response_quality(rows, self.trials)
        if self.reliability is not None:
            values = read_labels(self.reliability, self.grid)[self.mask]
            quality["ncsnr"] = values.astype(np.float32)
        inside = {name: region[self.mask] for name, region in self.regions.items()}
        return SubjectData(
            responses=rows,
            trials=stored_columns(self.trials),
            ijk=np.argwhere(self.mask).astype(np.int32),
            affine=self.grid.affine,
            shape=self.grid.shape,
            rois={name: members for name, members in inside.items() if members.any()},
            quality=quality,
            units=units,
            space="func",
        )


def plan_subject(
    source: Path,
    name: str,
    design: Design,
    sessions: Sequence[int],
    betas: Path,
    regions: Path,
    mask: str,
    rois: Sequence[str] | None,
) -> NsdPlan:
    """Read the tables and headers of a subject, and check them against each other.

    Raises:
        SourceError: If the answers contradict the design, a grid or a number of trials differs, or
            the mask is empty.
    """
    number = int(name.removeprefix("sub-"))
    trials = trial_table(design, number, sessions)
    answers = source / "nsddata" / "ppdata" / f"subj{number:02d}" / "behav" / "responses.tsv"
    if answers.is_file():
        check_answers(answers, trials, number)
    mask_file = regions / f"{mask}.nii.gz"
    grid = grid_of(mask_file)
    kept = read_labels(mask_file, grid) > 0
    if not kept.any():
        raise SourceError(f"no voxel of {mask_file} is above zero", "at least one")
    files = [betas_file(betas, session) for session in sessions]
    for path in files:
        check_session(path, grid.shape, TRIALS)
    found, read = subject_regions(regions, rois, grid)
    reliability = betas / "ncsnr.nii.gz"
    return NsdPlan(
        name,
        trials,
        kept,
        {mask: kept, **found},
        grid,
        files,
        reliability if reliability.is_file() else None,
        [path for path in (answers, mask_file, *read, source / DESIGN) if path.is_file()],
    )


def expected_files(
    source: Path,
    betas: Mapping[str, Path],
    regions: Mapping[str, Path],
    sessions: Mapping[str, Sequence[int]],
    mask: str,
    pictures: bool,
) -> list[ExpectedFile]:
    """All files of some subjects.

    Args:
        source: The copy of the bucket.
        betas: Folder of the betas by subject.
        regions: Folder of the regions by subject.
        sessions: Numbers of the sessions by subject.
        mask: Image whose voxels are kept.
        pictures: Whether pictures are wanted.
    """
    files = [
        ExpectedFile(source / DESIGN, "the experimental design"),
        ExpectedFile(source / BRICK, "the pictures", required=pictures),
        ExpectedFile(source / INFO, "pictures that BOLD5000 shows too", required=False),
    ]
    for name, folder in betas.items():
        behaviour = regions[name].parents[1] / "behav" / "responses.tsv"
        files.append(ExpectedFile(regions[name] / f"{mask}.nii.gz", f"voxels of {name}"))
        files += [
            ExpectedFile(regions[name] / f"{roi}.nii.gz", f"regions of {name}", required=False)
            for roi in REGIONS
        ]
        files.append(ExpectedFile(behaviour, f"answers of {name}", required=False))
        ncsnr = folder / "ncsnr.nii.gz"
        files.append(ExpectedFile(ncsnr, f"reliability of {name}", required=False))
        files += [
            ExpectedFile(betas_file(folder, session), f"betas of {name}, session {session}")
            for session in sessions[name]
        ]
    return files
