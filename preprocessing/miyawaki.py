"""`mindvis prepare miyawaki`: contrast patterns of 10 x 10 patches (Miyawaki et al., 2008)."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from mindvis.data.schema import StimulusData, SubjectData
from mindvis.errors import ConfigError, SourceError
from preprocessing.damage import BROKEN
from preprocessing.facts import NOT_CONTENT, ExpectedFile, Facts, SubjectFacts, files_are_there
from preprocessing.nilearn_cache import cached_folder
from preprocessing.quality import response_quality
from preprocessing.reader import (
    Grid,
    by_columns,
    grid_of,
    num_volumes,
    read_labels,
    read_voxels,
    refuse_nan,
)
from preprocessing.signal import CleaningOptions, Floats, clean_run
from preprocessing.trials import count_repeats, stored_columns, warn_of_leaks
from preprocessing.workers import Backend, Workers
from preprocessing.write import Job, StackedRows, SubjectWork, digest, parts_folder, prepare_store

SUBJECT, TR, SIDE = "sub-01", 2.0, 10
#: kind of run -> how many there are
RUNS = {"random": 20, "figure": 12}
#: region -> files of both hemispheres, without "LH" or "RH"
REGIONS = {
    "V1": ("V1d", "V1v"),
    "V2": ("V2d", "V2v"),
    "V3": ("V3", "VP"),
    "V3A": ("V3A",),
    "V4v": ("V4v",),
    **{f"lag{n}to{n + 1}": (f"lag{n}to{n + 1}",) for n in range(11)},
}

FACTS = Facts(
    dataset="Miyawaki et al. 2008",
    subjects={SUBJECT: SubjectFacts(2, sum(RUNS.values()), {"train": 440})},
    splits="runs of random patterns are for training, those of figures and letters are the test",
    licence="unknown",
    citation="Miyawaki et al., 2008, Neuron 60:915",
    where="nilearn.datasets.fetch_miyawaki2008",
    tr=TR,
)


def prepare_miyawaki(
    source: str | None = None,
    store: str = "miyawaki.h5",
    trials: Literal["blocks", "volumes"] = "blocks",
    shift: int = 2,
    detrend: bool = True,
    high_pass: float | None = None,
    standardise: bool = True,
    image_size: int | None = None,
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare Miyawaki's data: a response and a picture of 10 x 10 patches for each block.

    Args:
        source: nilearn's cache, or its folder miyawaki2008; nilearn downloads the data by default.
        store: File to write.
        trials: Average the volumes of a block, or keep each volume as a trial.
        shift: Volumes of 2 s by which a response lags behind its picture.
        detrend: Remove a straight line from each voxel of each run.
        high_pass: Remove slower drifts, in hertz; null keeps them.
        standardise: Bring each voxel of each run to mean 0 and standard deviation 1.
        image_size: Side in pixels of the stored pictures, without smoothing; 10 by default.
        n_jobs: Runs to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing else.

    Raises:
        SourceError: If files are missing, damaged or contradict each other.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    options["source"] = "miyawaki2008"
    if shift < 0:
        raise ConfigError(f"shift is {shift}", "0 or more volumes")
    workers = Workers(n_jobs, backend, scheduler)
    folder = cached_folder(source, "miyawaki2008", _fetch)
    if not files_are_there(expected_files(folder), FACTS, check):
        return
    cleaning = CleaningOptions(detrend, high_pass, standardise)
    work, stimuli = plan(folder, parts_folder(Path(store)), cleaning, trials, shift, image_size)
    prepare_store(Path(store), [work], stimuli, FACTS, options, workers)


def _fetch() -> None:
    from nilearn.datasets import fetch_miyawaki2008

    fetch_miyawaki2008()


def run_files(folder: Path) -> list[tuple[str, int, Path, Path]]:
    """Kind, number, volumes and labels of each run, in order."""
    names = [(kind, run, f"data_{kind}_run{run:02d}") for kind in RUNS for run in _numbers(kind)]
    return [
        (kind, run, folder / "func" / f"{name}.nii.gz", folder / "label" / f"{name}_label.csv")
        for kind, run, name in names
    ]


def _numbers(kind: str) -> range:
    return range(1, RUNS[kind] + 1)


def expected_files(folder: Path) -> list[ExpectedFile]:
    """All files of the data set."""
    files = [ExpectedFile(folder / "mask" / "mask.nii.gz", "voxels of visual cortex")]
    for kind, run, volumes, labels in run_files(folder):
        files.append(ExpectedFile(volumes, f"volumes of {kind} run {run}"))
        files.append(ExpectedFile(labels, f"patterns of {kind} run {run}"))
    files += [
        ExpectedFile(path, f"part of region {region}", required=False)
        for region in REGIONS
        for path in region_files(folder, region)
    ]
    return files


def region_files(folder: Path, region: str) -> list[Path]:
    """The masks that make up a region."""
    return [
        folder / "mask" / f"{side}{part}.nii.gz"
        for part in REGIONS[region]
        for side in ("LH", "RH")
    ]


def read_patterns(path: Path, volumes: int) -> NDArray[np.int64]:
    """Pattern of each volume, (volumes, 100): patches column by column, 0 and 1, or -1 for rest.

    Raises:
        SourceError: If the table has another size or other values.
    """
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2)
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", f"{SIDE * SIDE} numbers a line, with commas"
        ) from None
    if rows.shape != (volumes, SIDE * SIDE):
        raise SourceError(
            f"{path} has the shape {rows.shape}",
            f"{(volumes, SIDE * SIDE)}, the volumes of the run by {SIDE} x {SIDE} patches",
        )
    rest = (rows == -1).all(axis=1)
    if not np.isin(rows[~rest], (0, 1)).all():
        raise SourceError(f"{path} has values besides 0 and 1, and -1 for rest", "patterns")
    return rows.astype(np.int64)


def find_trials(
    patterns: NDArray[np.int64], how: Literal["blocks", "volumes"]
) -> list[tuple[int, int]]:
    """First volume and end (exclusive) of each trial: equal patterns in a row are a block."""
    shown = (patterns != -1).all(axis=1)
    if how == "volumes":
        return [(int(row), int(row) + 1) for row in np.flatnonzero(shown)]
    changes = np.r_[True, (patterns[1:] != patterns[:-1]).any(axis=1)]
    starts = np.flatnonzero(changes)
    ends = np.r_[starts[1:], len(patterns)]
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if shown[a]]


def picture(pattern: NDArray[np.int64], size: int | None) -> NDArray[np.uint8]:
    """A pattern as uint8 (side, side, 3); patch n lies in row n % 10 of column n // 10."""
    grey = (pattern.reshape(SIDE, SIDE, order="F") * 255).astype(np.uint8)
    if size is not None and size != SIDE:
        resized = Image.fromarray(grey).resize((size, size), Image.Resampling.NEAREST)
        grey = np.asarray(resized)
    return np.repeat(grey[..., None], 3, axis=2)


def run_responses(
    path: Path, mask: NDArray[np.bool_], spans: list[tuple[int, int]], cleaning: CleaningOptions
) -> NDArray[np.float32]:
    """Mean of the volumes of each span, (spans, voxels), the run cleaned as a whole."""

    def respond(block: Floats) -> Floats:
        cleaned = clean_run(block, TR, cleaning)
        return np.stack([cleaned[first:last].mean(axis=0) for first, last in spans])

    with threadpool_limits(1):
        series = read_voxels(path, mask)
        refuse_nan(series, path, "refuse")
        return by_columns(respond, series)


def read_run(
    volumes: Path, labels: Path, how: Literal["blocks", "volumes"], shift: int
) -> tuple[NDArray[np.int64], list[int], list[tuple[int, int]]]:
    """Pattern (trials, 100), first volume, and span of volumes that answer, of each trial of a run.

    Raises:
        SourceError: If patterns and volumes do not fit, or a trial has no volume after the shift.
    """
    count = num_volumes(volumes)
    patterns = read_patterns(labels, count)
    trials = find_trials(patterns, how)
    late = [first for first, _ in trials if first + shift >= count]
    if late or not trials:
        raise SourceError(
            f"{labels} has {len(trials)} trials, {len(late)} of them without a volume {shift} "
            f"volumes later",
            "one trial or more, and a volume for each",
            "check --shift",
        )
    firsts = [first for first, _ in trials]
    spans = [(first + shift, min(last + shift, count)) for first, last in trials]
    return patterns[firsts], firsts, spans


class Catalogue:
    """Pictures by pattern: equal patterns are one picture."""

    def __init__(self) -> None:
        self.names: dict[bytes, str] = {}
        self.patterns: list[NDArray[np.int64]] = []

    def name(self, pattern: NDArray[np.int64], kind: str) -> str:
        """The id of a pattern, new or known."""
        key = pattern.tobytes()
        if key not in self.names:
            self.names[key] = f"{kind}-{len(self.names):04d}"
            self.patterns.append(pattern)
        return self.names[key]

    def stimuli(self, size: int | None) -> StimulusData:
        """What the store keeps."""
        names = list(self.names.values())
        images = np.stack([picture(pattern, size) for pattern in self.patterns])
        return StimulusData(images, names, names, [name.split("-")[0] for name in names])


def plan(
    folder: Path,
    parts: Path,
    cleaning: CleaningOptions,
    how: Literal["blocks", "volumes"],
    shift: int,
    image_size: int | None,
) -> tuple[SubjectWork, StimulusData]:
    """The work of all runs, and the pictures.

    Raises:
        SourceError: If files contradict each other.
    """
    mask_file = folder / "mask" / "mask.nii.gz"
    grid = grid_of(mask_file)
    kept = read_labels(mask_file, grid) > 0
    if not kept.any():
        raise SourceError(f"no voxel of {mask_file} is above zero", "at least one")
    catalogue, tables, jobs, files = Catalogue(), [], [], [mask_file]
    for kind, run, volumes, labels in run_files(folder):
        grid.check(grid_of(volumes))
        patterns, firsts, spans = read_run(volumes, labels, how, shift)
        names = [catalogue.name(pattern, kind) for pattern in patterns]
        tables.append(_table(names, firsts, kind, run))
        key = digest(volumes, kept, [list(span) for span in spans], cleaning)
        part = parts / f"{kind}-{run:02d}-{key[:16]}.npy"
        jobs.append(Job(part, run_responses, (volumes, kept, spans, cleaning)))
        files += [volumes, labels]
    trials = pd.concat(tables, ignore_index=True)
    count_repeats(trials)
    warn_of_leaks([trials])
    masks = [path for region in REGIONS for path in region_files(folder, region) if path.is_file()]
    rois = read_regions(folder, grid, kept)
    units = "z" if cleaning.standardise else "scanner units"
    made = partial(_record, jobs, trials, kept, rois, grid, units)
    return SubjectWork(SUBJECT, made, jobs, [*files, *masks]), catalogue.stimuli(image_size)


def read_regions(folder: Path, grid: Grid, kept: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Regions of both hemispheres, bool (voxels,), by name; those without a file are left out."""
    regions = {}
    for region in REGIONS:
        masks = [read_labels(p, grid) > 0 for p in region_files(folder, region) if p.is_file()]
        if masks and (inside := np.logical_or.reduce(masks)[kept]).any():
            regions[region] = inside
    return regions


def _table(names: list[str], firsts: list[int], kind: str, run: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stimulus": names,
            "condition": kind,
            "split": "train" if kind == "random" else "test",
            "session": 1 + list(RUNS).index(kind),
            "run": run,
            "repeat": 0,
            "onset": [first * TR for first in firsts],
            "kind": "task",
        }
    )


def _record(
    jobs: list[Job],
    trials: pd.DataFrame,
    kept: NDArray[np.bool_],
    rois: dict[str, NDArray[np.bool_]],
    grid: Grid,
    units: str,
) -> SubjectData:
    rows = StackedRows([job.part for job in jobs])
    return SubjectData(
        responses=rows,
        trials=stored_columns(trials),
        ijk=np.argwhere(kept).astype(np.int32),
        affine=grid.affine,
        shape=grid.shape,
        rois=rois,
        quality=response_quality(rows, trials),
        units=units,
        tr=TR,
    )
