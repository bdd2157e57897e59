"""`mindvis prepare things`: THINGS-fMRI, single-trial responses as volumes or as tables."""

from pathlib import Path
from typing import Literal

import pandas as pd

from preprocessing.facts import (
    NOT_CONTENT,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
    numbered,
)
from preprocessing.pictures import gather_stimuli
from preprocessing.things_tables import table_files, table_work
from preprocessing.things_trials import TR
from preprocessing.things_volumes import volume_files, volume_work
from preprocessing.workers import Backend, Workers
from preprocessing.write import parts_folder, prepare_store

_TRIALS = SubjectFacts(12, 120, {"train": 8640, "test": 1200})
FACTS = Facts(
    dataset="THINGS-fMRI",
    subjects={
        "sub-01": SubjectFacts(12, 120, _TRIALS.trials, {"all": 211339}),
        "sub-02": _TRIALS,
        "sub-03": _TRIALS,
    },
    splits="100 pictures shown once in each session are the test",
    licence="CC0 (OpenNeuro ds004192)",
    citation="Hebart et al., 2023, eLife 12:e82580",
    where="https://doi.org/10.25452/figshare.plus.c.6161151",
    tr=TR,
)


def prepare_things(
    source: str,
    store: str = "things.h5",
    subjects: str | list[str] | None = None,
    form: Literal["auto", "volumes", "tables"] = "auto",
    voxels: Literal["mask", "rois"] = "mask",
    standardise: Literal["session", "none"] = "none",
    images: str | None = None,
    image_size: int | None = 256,
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare THINGS-fMRI: one response for each trial; catch trials are left out.

    Args:
        source: Folder of betas_vol, brainmasks and rois, or of betas_csv.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as 1,2 or sub-01; all three by default.
        form: Volumes (betas_vol) or tables (betas_csv); by default those that are there, tables
            where both are.
        voxels: Keep the voxels of the brain mask, or those of them that lie in a region.
        standardise: Bring each voxel to mean 0 and deviation 1 within each session, fitted to the
            training trials; none leaves the betas.
        images: Folder of the THINGS pictures, <concept>/<name>.jpg, relative to source; null
            prepares without pictures.
        image_size: Side in pixels of the stored pictures (centre square); null keeps them.
        n_jobs: Sessions to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing else.

    Raises:
        SourceError: If files are missing, damaged or contradict each other.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    options["source"] = Path(source).resolve().name
    workers, root, target = Workers(n_jobs, backend, scheduler), Path(source), Path(store)
    names = chosen_subjects(FACTS, numbered(subjects))
    as_tables = form == "tables" or (form == "auto" and (root / "betas_csv").is_dir())
    expected = [f for n in names for f in (table_files if as_tables else volume_files)(root, n)]
    if not files_are_there(expected, FACTS, check):
        return
    zscore, parts = standardise == "session", parts_folder(target)
    works, tables = [], []
    for name in names:
        make = table_work if as_tables else volume_work
        work, trials = make(root, name, voxels, zscore, parts)
        works.append(work)
        tables.append(trials)
    stimuli, pictures = None, list[Path]()
    if images is not None:
        remedy = "check --images, or leave it out to prepare without pictures"
        folders = [root / images]
        stimuli, pictures = gather_stimuli(pd.concat(tables), folders, image_size, remedy)
    prepare_store(target, works, stimuli, FACTS, options, workers, pictures)
