"""`mindvis prepare haxby`: blocks of eight categories of objects (Haxby et al., 2001)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.facts import (
    NOT_CONTENT,
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
    numbered,
)
from preprocessing.nilearn_cache import cached_folder
from preprocessing.reader import (
    Grid,
    by_columns,
    grid_of,
    num_volumes,
    read_labels,
    read_voxels,
    refuse_nan,
)
from preprocessing.signal import (
    CleaningOptions,
    Floats,
    ResponseOptions,
    average_volumes,
    clean_run,
    window_rows,
)
from preprocessing.trials import count_repeats, stored_columns
from preprocessing.workers import Backend, Workers
from preprocessing.write import Job, StackedRows, SubjectWork, digest, parts_folder, prepare_store

TR = 2.5
#: region -> file; the names are nilearn's
MASKS = {
    "vt": "mask4_vt.nii.gz",
    "face": "mask8b_face_vt.nii.gz",
    "house": "mask8b_house_vt.nii.gz",
    "face_little": "mask8_face_vt.nii.gz",
    "house_little": "mask8_house_vt.nii.gz",
}
TEST_RUNS = (11, 12)
_WHOLE = SubjectFacts(1, 12, {"train": 80, "test": 16})

FACTS = Facts(
    dataset="Haxby et al. 2001",
    subjects={
        "sub-01": SubjectFacts(1, 12, _WHOLE.trials, {"vt": 577}),
        "sub-02": SubjectFacts(1, 12, _WHOLE.trials, {"vt": 464}),
        "sub-03": _WHOLE,
        "sub-04": _WHOLE,
        "sub-05": SubjectFacts(1, 11, {"train": 72, "test": 16}),  # run 8 has no labels
        "sub-06": _WHOLE,
    },
    splits="runs 11 and 12 are the test, unless --test_runs says otherwise",
    licence="CC BY-SA 3.0",
    citation="Haxby et al., 2001, Science 293:2425",
    where="nilearn.datasets.fetch_haxby, or data.pymvpa.org/datasets/haxby2001",
    tr=TR,
)


def prepare_haxby(
    source: str | None = None,
    store: str = "haxby.h5",
    subjects: str | list[str] | None = None,
    voxels: Literal["mask", "vt"] = "mask",
    lag_start: float = 5.0,
    lag_end: float = 27.5,
    detrend: bool = True,
    high_pass: float | None = None,
    standardise: bool = True,
    test_runs: list[int] | None = None,
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare Haxby's data: one response for each block of a category, the mean of its volumes.

    Which pictures were shown is not known, only their category, so that the store has none.

    Args:
        source: nilearn's cache, or its folder haxby2001; nilearn downloads the data by default.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as 1,2 or sub-01; all six by default.
        voxels: Keep the voxels of the brain mask, or of ventral temporal cortex.
        lag_start: First moment of the average, in seconds after a block's onset.
        lag_end: End of the average, exclusive, in seconds after a block's onset.
        detrend: Remove a straight line from each voxel of each run.
        high_pass: Remove slower drifts, in hertz; null keeps them.
        standardise: Bring each voxel of each run to mean 0 and standard deviation 1.
        test_runs: Runs that are the test, from 1; [11, 12] by default.
        n_jobs: Subjects to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing else.

    Raises:
        SourceError: If files are missing, damaged or contradict each other.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    options["source"] = "haxby2001"
    workers = Workers(n_jobs, backend, scheduler)
    names = chosen_subjects(FACTS, numbered(subjects))
    folder = cached_folder(source, "haxby2001", partial(_fetch, names))
    if not files_are_there(expected_files(folder, names), FACTS, check):
        return
    cleaning = CleaningOptions(detrend, high_pass, standardise)
    response = ResponseOptions("average", lag_start, lag_end)
    tests = TEST_RUNS if test_runs is None else test_runs
    works = [
        subject_work(folder, name, voxels, cleaning, response, tests, parts_folder(Path(store)))
        for name in names
    ]
    prepare_store(Path(store), works, None, FACTS, options, workers)


def _fetch(names: Sequence[str]) -> None:
    from nilearn.datasets import fetch_haxby

    fetch_haxby(subjects=[int(name.removeprefix("sub-")) for name in names])


def subject_folder(folder: Path, name: str) -> Path:
    """Where the files of a subject lie."""
    return folder / f"subj{int(name.removeprefix('sub-'))}"


def expected_files(folder: Path, names: Sequence[str]) -> list[ExpectedFile]:
    """All files of some subjects; the anatomy, which subject 6 lacks, is not needed."""
    files = [ExpectedFile(folder / "mask.nii.gz", "voxels of the brain")]
    for name in names:
        own = subject_folder(folder, name)
        files.append(ExpectedFile(own / "bold.nii.gz", f"volumes of {name}"))
        files.append(ExpectedFile(own / "labels.txt", f"categories of {name}"))
        files.append(ExpectedFile(own / MASKS["vt"], f"ventral temporal cortex of {name}"))
        files += [
            ExpectedFile(own / file, f"region {region} of {name}", required=False)
            for region, file in MASKS.items()
            if region != "vt"
        ]
    return files


def read_blocks(path: Path, volumes: int) -> pd.DataFrame:
    """Blocks of one category: run (from 1), condition, onset (s), first and last volume of the run.

    Args:
        path: `labels.txt`: a line "labels chunks", then category and run (from 0) of each volume.
        volumes: Of the image.

    Raises:
        SourceError: If the file has other columns, another length, or runs that are torn apart.
    """
    try:
        table = pd.read_csv(path, sep=r"\s+", dtype={"labels": str, "chunks": np.int64})
        labels, runs = table["labels"].to_numpy(str), table["chunks"].to_numpy()
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "columns labels and chunks") from None
    if len(table) != volumes:
        raise SourceError(f"{path} has {len(table)} lines", f"{volumes}, one for each volume")
    if (np.diff(runs) < 0).any():
        raise SourceError(f"the chunks of {path} do not increase", "run after run")
    starts = np.flatnonzero(
        np.r_[True, (labels[1:] != labels[:-1]) | (runs[1:] != runs[:-1])] & (labels != "rest")
    )
    firsts = np.searchsorted(runs, runs[starts])
    return pd.DataFrame(
        {
            "run": runs[starts] + 1,
            "condition": labels[starts],
            "onset": (starts - firsts) * TR,
            "first": firsts,
            "last": np.searchsorted(runs, runs[starts], side="right"),
        }
    )


def block_responses(
    bold: Path,
    mask: NDArray[np.bool_],
    blocks: pd.DataFrame,
    cleaning: CleaningOptions,
    response: ResponseOptions,
) -> NDArray[np.float32]:
    """Mean of the volumes of each block, (blocks, voxels), each run cleaned by itself."""
    with threadpool_limits(1):
        series = read_voxels(bold, mask)
        refuse_nan(series, bold, "refuse")
        rows = []
        for _, group in blocks.groupby("run", sort=True):
            first, last = int(group["first"].iloc[0]), int(group["last"].iloc[0])
            times, onsets = TR * np.arange(last - first, dtype=np.float64), group["onset"].tolist()

            def respond(
                part: Floats, times: Floats = times, onsets: list[float] = onsets
            ) -> Floats:
                return average_volumes(clean_run(part, TR, cleaning), times, onsets, response)

            rows.append(by_columns(respond, series[first:last]))
        return np.concatenate(rows)


def subject_work(
    folder: Path,
    name: str,
    voxels: Literal["mask", "vt"],
    cleaning: CleaningOptions,
    response: ResponseOptions,
    test_runs: Sequence[int],
    parts: Path,
) -> SubjectWork:
    """The work of a subject, its tables and headers read and checked.

    Raises:
        SourceError: If labels and volumes do not fit, no block is left, or no voxel is.
    """
    own = subject_folder(folder, name)
    bold, table = own / "bold.nii.gz", own / "labels.txt"
    grid, blocks = grid_of(bold), read_blocks(table, num_volumes(bold))
    if blocks.empty:
        raise SourceError(f"{table} names no category", "some volumes that are not rest")
    for first, last, onset in blocks[["first", "last", "onset"]].to_numpy(np.float64):
        window_rows(TR * np.arange(last - first, dtype=np.float64), onset, response, str(bold))
    masks = {region: own / file for region, file in MASKS.items() if (own / file).is_file()}
    regions = {region: read_labels(path, grid) > 0 for region, path in masks.items()}
    whole = folder / "mask.nii.gz"
    kept = regions["vt"] if voxels == "vt" else read_labels(whole, grid) > 0
    if not kept.any():
        raise SourceError(f"no voxel of {name} is inside the mask", "at least one")
    key = digest(bold, kept, blocks.to_csv(), cleaning, response)
    arguments = (bold, kept, blocks, cleaning, response)
    job = Job(parts / f"{name}-{key[:16]}.npy", block_responses, arguments)
    trials = blocks.assign(
        stimulus="",
        split=np.where(blocks["run"].isin(list(test_runs)), "test", "train"),
        session=1,
        repeat=0,
        kind="task",
    )
    count_repeats(trials)
    units = "z" if cleaning.standardise else "scanner units"
    made = partial(_record, job, trials, kept, regions, grid, units)
    return SubjectWork(name, made, [job], [bold, table, whole, *masks.values()])


def _record(
    job: Job,
    trials: pd.DataFrame,
    kept: NDArray[np.bool_],
    regions: dict[str, NDArray[np.bool_]],
    grid: Grid,
    units: str,
) -> SubjectData:
    inside = {name: region[kept] for name, region in regions.items()}
    return SubjectData(
        responses=StackedRows([job.part]),
        trials=stored_columns(trials),
        ijk=np.argwhere(kept).astype(np.int32),
        affine=grid.affine,
        shape=grid.shape,
        rois={name: members for name, members in inside.items() if members.any()},
        units=units,
        tr=TR,
    )
