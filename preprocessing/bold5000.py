"""`mindvis prepare bold5000`: single-trial betas of GLMsingle, by region or as volumes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mindvis.data.schema import StimulusData
from mindvis.errors import SourceError
from preprocessing.bold5000_betas import (
    REGIONS,
    region_data,
    region_file,
    session_betas,
    session_file,
    volume_data,
)
from preprocessing.bold5000_lists import LISTS, REPEATED, STIMULI, label_of, read_lists, read_names
from preprocessing.facts import (
    NOT_CONTENT,
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
)
from preprocessing.imagenet import matched_pictures
from preprocessing.pictures import PictureRows
from preprocessing.workers import Backend, Workers
from preprocessing.write import Job, SubjectWork, digest, parts_folder, prepare_store

#: 112 of the 113 repeated pictures were shown four times and one three times; CSI4 stopped early
_WHOLE = SubjectFacts(sessions=15, runs=142, trials={"train": 4803, "test": 451})
FACTS = Facts(
    dataset="BOLD5000",
    subjects={
        **{f"sub-CSI{number}": _WHOLE for number in (1, 2, 3)},
        "sub-CSI4": SubjectFacts(sessions=9, runs=84),
    },
    splits="test: 113 pictures that were shown repeatedly (fewer to CSI4)",
    licence="CC0 (responses); pictures under the terms of ImageNet, COCO and Scene Images",
    citation="Chang et al. (2019), Scientific Data 6:49",
    where="https://bold5000-dataset.github.io/website/download.html (release 2.0)",
    tr=2.0,
)
Form = Literal["regions", "volumes"]


def prepare_bold5000(
    source: str,
    store: str = "bold5000.h5",
    subjects: str | list[str] | None = None,
    form: Form = "regions",
    betas: str | None = None,
    stimuli: str = STIMULI,
    images: str = f"{STIMULI}/Scene_Stimuli/Presented_Stimuli",
    image_size: int | None = 256,
    mask: str = "{subject}_brainmask.nii.gz",
    rois: str | None = None,
    standardise: Literal["session", "none"] = "session",
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare BOLD5000 (release 2.0, type-D betas of GLMsingle): about 5,000 pictures, four people.

    Each voxel is standardised within its session, by mean and deviation of the training trials.
    The 113 repeated pictures are the test.

    Args:
        source: Folder that the files lie in.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as CSI1,CSI4; all by default.
        form: Five regions of both hemispheres as MinD-Vis reads them, or volumes of each session.
        betas: Folder of the betas, relative to source: BOLD5000_GLMsingle_ROI_betas/py for
            regions, source itself for volumes.
        stimuli: Folder of presentation lists and of the list of repeated pictures.
        images: Folder of the pictures, in any folders below it, or "none".
        image_size: Side in pixels of the stored pictures (centre square); null keeps them.
        mask: Brain mask of volumes, {subject} filled in; "none" keeps what varies in session 1.
        rois: Region masks of volumes, a pattern with {subject} filled in, such as
            masks/{subject}_*.nii.gz; a region is named by what the * stands for.
        standardise: Within each session, or not at all: then in percent signal change.
        n_jobs: Sessions of volumes to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing.

    Raises:
        SourceError: If files or pictures are missing, or lists and betas disagree.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    workers = Workers(n_jobs, backend, scheduler)
    root, names = Path(source), chosen_subjects(FACTS, subjects)
    options["source"] = root.resolve().name
    folder = root / (betas or ("." if form == "volumes" else "BOLD5000_GLMsingle_ROI_betas/py"))
    expected = expected_files(root, folder, names, form, stimuli, images, mask)
    if not files_are_there(expected, FACTS, check) and images == "none":
        return
    repeated = {*read_names(root / stimuli / REPEATED)}
    trials = {name: read_lists(root / stimuli / LISTS, name, repeated) for name in names}
    shown = sorted({name for table in trials.values() for name in table["stimulus"]})
    pictures = [] if images == "none" else matched_pictures(shown, root / images, check)
    if check:
        return
    scaled = standardise == "session"
    if form == "regions":
        works = [region_work(folder, name, table, scaled) for name, table in trials.items()]
    else:
        masks = {name: folder / filled(mask, name) for name in names if mask != "none"}
        patterns = {name: filled(rois, name) for name in names if rois}
        works = [
            volume_work(
                folder, name, table, scaled, masks.get(name), patterns.get(name), Path(store)
            )
            for name, table in trials.items()
        ]
    facts = replace(FACTS, subjects={name: FACTS.subjects[name] for name in names})
    saw = _stimuli(shown, pictures, image_size) if pictures else None
    prepare_store(Path(store), works, saw, facts, options, workers, pictures)


def expected_files(
    source: Path,
    betas: Path,
    subjects: Sequence[str],
    form: Form,
    stimuli: str,
    images: str,
    mask: str,
) -> list[ExpectedFile]:
    """Betas, presentation lists and pictures of some subjects."""
    files = [ExpectedFile(source / stimuli / REPEATED, "the repeated pictures")]
    if images != "none":
        files.append(ExpectedFile(source / images, "folder of the pictures"))
    for name in subjects:
        number = name.removeprefix("sub-")
        lists = source / stimuli / LISTS / number / "*" / "*.txt"
        files.append(ExpectedFile(lists, f"presentation lists of {name}"))
        if form == "regions":
            files += [
                ExpectedFile(region_file(betas, name, side, region), f"{side} {region} of {name}")
                for region in REGIONS
                for side in ("LH", "RH")
            ]
            continue
        sessions = FACTS.subjects[name].sessions or 0
        files += [
            ExpectedFile(session_file(betas, name, session), f"session {session} of {name}")
            for session in range(1, sessions + 1)
        ]
        if mask != "none":
            files.append(ExpectedFile(betas / filled(mask, name), f"mask of {name}"))
    return files


def filled(pattern: str, name: str) -> str:
    """A pattern with {subject} filled in, as the files are named: CSI1 of "sub-CSI1"."""
    return pattern.replace("{subject}", name.removeprefix("sub-"))


def _stimuli(names: list[str], paths: list[Path], size: int | None) -> StimulusData:
    pairs = [label_of(name) for name in names]
    labels, sources = [label for label, _ in pairs], [source for _, source in pairs]
    return StimulusData(PictureRows(paths, size), names, labels, sources)


def region_work(betas: Path, name: str, trials: pd.DataFrame, standardise: bool) -> SubjectWork:
    """A subject of ten region files; they are small enough to need no parts."""
    files = [region_file(betas, name, side, roi) for roi in REGIONS for side in ("LH", "RH")]
    return SubjectWork(name, partial(region_data, betas, name, trials, standardise), (), files)


def volume_work(
    betas: Path,
    name: str,
    trials: pd.DataFrame,
    standardise: bool,
    mask: Path | None,
    rois: str | None,
    store: Path,
) -> SubjectWork:
    """A job for each session of a subject.

    Raises:
        SourceError: If a session of the presentation lists has no betas.
    """
    first = session_file(betas, name, 1)
    jobs, files = [], [mask] if mask else []
    for session, table in trials.groupby("session"):
        path = session_file(betas, name, int(str(session)))
        if not path.is_file():
            raise SourceError(f"{path} does not exist", f"betas of session {session} of {name}")
        fit = (table["split"] == "train").to_numpy() if standardise else None
        key = digest(path, first, mask, np.zeros(0) if fit is None else fit, len(table))
        part = parts_folder(store) / f"{name}_{session}-{key[:16]}.npy"
        jobs.append(Job(part, session_betas, (path, first, mask, fit, len(table))))
        files.append(path)
    units = "z" if standardise else "percent signal change"
    record = partial(volume_data, betas, trials, jobs, first, mask, rois, units)
    return SubjectWork(name, record, jobs, files)
