"""A resting-state run as windows of averaged frames, from dense series or volumes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import Grayordinates, SubjectData
from mindvis.errors import SourceError
from preprocessing.areas import AreaChoice, columns_of_areas
from preprocessing.cifti import open_series, places, read_labels
from preprocessing.damage import readable
from preprocessing.nifti import NIFTI, open_image
from preprocessing.reader import grid_of, read_voxels, timing
from preprocessing.signal import window_means, window_width
from preprocessing.write import Job, StackedRows

Form = Literal["cifti", "volume"]


@dataclass(frozen=True)
class WindowOptions:
    """How a run becomes responses.

    Args:
        seconds: Length of the windows over which frames are averaged.
        standardise: Bring each voxel of each run to mean 0 and standard deviation 1 before.
    """

    seconds: float
    standardise: bool


def cifti_windows(
    path: Path, first: Path, choice: AreaChoice, how: WindowOptions
) -> NDArray[np.float32]:
    """Windows of one dense series, (windows, grayordinates).

    Raises:
        SourceError: If its grayordinates are not those of the subject's first run.
    """
    series, reference = open_series(path), open_series(first)
    if series.models != reference.models and series.axis != reference.axis:
        raise SourceError(
            f"{path} has other grayordinates than {first}", "the same in all runs of a subject"
        )
    columns, _ = cifti_columns(first, choice)
    return windows(series.read(columns), series.tr, how, path)


def cifti_columns(
    path: Path, choice: AreaChoice
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.bool_]]]:
    """Grayordinates of the areas, area by area, and the areas as masks over them."""
    atlas = read_labels(choice.atlas)
    return columns_of_areas(atlas.of(open_series(path).axis), choice, atlas.names)


def volume_windows(
    path: Path, first: Path, choice: AreaChoice, how: WindowOptions
) -> NDArray[np.float32]:
    """Windows of one volume series, (windows, voxels)."""
    grid_of(first).check(grid_of(path))
    labels, columns, _ = volume_columns(first, choice)
    inside = np.zeros(labels.size, dtype=np.bool_)
    inside[columns] = True
    series = read_voxels(path, inside.reshape(labels.shape))
    order = np.searchsorted(np.flatnonzero(inside), columns)
    return windows(series[:, order], timing(path, {}, 0).tr, how, path)


def volume_columns(
    path: Path, choice: AreaChoice
) -> tuple[NDArray[np.int64], NDArray[np.intp], dict[str, NDArray[np.bool_]]]:
    """Labels of the volume, voxels of the areas in the flat volume, and the areas as masks."""
    grid_of(path).check(grid_of(choice.atlas))
    with readable(choice.atlas, NIFTI):
        values = np.asarray(open_image(choice.atlas).dataobj)
    labels = np.rint(np.nan_to_num(values.reshape(grid_of(path).shape))).astype(np.int64)
    return labels, *columns_of_areas(labels.ravel(), choice, {})


def windows(
    series: NDArray[np.float32], tr: float, how: WindowOptions, path: Path
) -> NDArray[np.float32]:
    """Means of windows of frames; a last window that is not full is left out.

    Raises:
        SourceError: If values are not finite, or the run is shorter than one window.
    """
    broken = int((~np.isfinite(series)).any(axis=0).sum())
    if broken:
        raise SourceError(
            f"{path} has NaN or infinite values in {broken} of {series.shape[1]} voxels",
            "finite values in the areas",
            "choose other --areas",
        )
    if len(series) < window_width(tr, how.seconds):
        raise SourceError(
            f"{path} has {len(series)} frames of {tr:g} s", f"at least {how.seconds:g} s"
        )
    values = series.astype(np.float64)
    if how.standardise:
        values -= values.mean(axis=0)
        deviation = values.std(axis=0)
        values /= np.where(deviation > 0, deviation, 1)
    return window_means(values, tr, how.seconds).astype(np.float32)


@dataclass(frozen=True)
class Places:
    """Where the voxels of a subject are; the fields are those of `SubjectData`."""

    ijk: NDArray[np.int32]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    rois: dict[str, NDArray[np.bool_]]
    tr: float
    space: str
    grayordinates: Grayordinates | None = None


def cifti_places(path: Path, choice: AreaChoice) -> Places:
    """Vertices and voxels of the areas, from the header of a dense series."""
    series = open_series(path)
    columns, rois = cifti_columns(path, choice)
    ijk, affine, shape, surface = places(series.axis, columns)
    return Places(ijk, affine, shape, rois, series.tr, "fsLR", surface)


def volume_places(path: Path, choice: AreaChoice) -> Places:
    """Voxels of the areas, from the header of a volume series."""
    labels, columns, rois = volume_columns(path, choice)
    ijk = np.stack(np.unravel_index(columns, labels.shape), axis=1).astype(np.int32)
    grid, tr = grid_of(path), timing(path, {}, 0).tr
    return Places(ijk, grid.affine, grid.shape, rois, tr, "MNI152NLin6Asym")


def subject_data(
    runs: Sequence[str],
    first: Path,
    jobs: Sequence[Job],
    form: Form,
    choice: AreaChoice,
    how: WindowOptions,
) -> SubjectData:
    """What the store keeps of a subject, its responses still on disk."""
    rows = StackedRows([job.part for job in jobs])
    where = cifti_places(first, choice) if form == "cifti" else volume_places(first, choice)
    return SubjectData(
        responses=rows,
        trials=rest_trials(runs, rows.starts, where.tr, how),
        ijk=where.ijk,
        affine=where.affine,
        shape=where.shape,
        rois=where.rois,
        units="z" if how.standardise else "scanner units",
        space=where.space,
        tr=where.tr,
        grayordinates=where.grayordinates,
    )


def rest_trials(
    runs: Sequence[str], starts: NDArray[np.int64], tr: float, how: WindowOptions
) -> pd.DataFrame:
    """A row for each window: session 1 and 2 of REST1 and REST2, runs counted within each."""
    width = window_width(tr, how.seconds) * tr
    tables = []
    for number, (run, (start, stop)) in enumerate(
        zip(runs, pairwise(starts.tolist()), strict=True)
    ):
        session, place = _session(run, number, runs)
        tables.append(
            pd.DataFrame(
                {"session": session, "run": place, "onset": width * np.arange(stop - start)}
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return table.assign(stimulus="", condition="rest", split="", repeat=0, kind="rest")


def _session(run: str, number: int, runs: Sequence[str]) -> tuple[int, int]:
    """Session and number of a run: REST2_RL is the second of session 2; others by position."""
    found = re.search(r"REST(\d+)", run)
    if found is None:
        return 1, number + 1
    same = [other for other in runs if f"REST{found[1]}" in other]
    return int(found[1]), same.index(run) + 1
