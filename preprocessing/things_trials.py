"""Trials of THINGS-fMRI: concepts of pictures, splits, and the voxels that are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.pictures import picture_id
from preprocessing.trials import count_repeats

TR = 1.5
METADATA = ("session", "run", "trial_type", "stimulus")


def read_trials(path: Path) -> pd.DataFrame:
    """`*_StimulusMetadata.csv`: session, run, trial_type and stimulus of each trial.

    Raises:
        SourceError: If a column is missing, or a trial is of another type or without a picture.
    """
    try:
        table = pd.read_csv(path, usecols=list(METADATA))
        table = table.astype({"session": np.int64, "run": np.int64, "stimulus": str})
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", f"columns {', '.join(METADATA)}"
        ) from None
    for kind in sorted(set(table["trial_type"].astype(str)) - {"train", "test", "catch"}):
        raise SourceError(f"{path} has a trial of type {kind!r}", "train, test or catch")
    nameless = table["stimulus"].isna() & (table["trial_type"] != "catch")
    if nameless.any():
        row = int(np.flatnonzero(nameless)[0]) + 2
        raise SourceError(f"{path} names no picture in row {row}", "one for each trial")
    return table


def concept_of(picture: str) -> str:
    """The concept of a picture: "air_conditioner" of "air_conditioner_02s.jpg"."""
    return picture_id(picture).rsplit("_", 1)[0]


def named(trials: pd.DataFrame, split: NDArray[np.str_]) -> pd.DataFrame:
    """Trials with all columns of a store, and label and category for the pictures."""
    concepts = trials["file"].map(concept_of)
    table = trials.assign(
        stimulus=trials["file"].map(picture_id),
        condition=concepts,
        label=concepts,
        category=concepts,
        split=split,
        repeat=0,
        onset=np.nan,
        kind="task",
        file=concepts + "/" + trials["file"],
    )
    count_repeats(table)
    return table


def within(
    mask: NDArray[np.bool_],
    regions: Mapping[str, NDArray[np.bool_]],
    voxels: Literal["mask", "rois"],
    name: str,
) -> NDArray[np.bool_]:
    """The voxels that are kept, of the shape of `mask`.

    Raises:
        SourceError: If there are no regions to choose by, or no voxel is left.
    """
    if voxels == "rois":
        if not regions:
            raise SourceError(f"there are no regions for {name}", "some for --voxels rois")
        mask = mask & np.logical_or.reduce(list(regions.values()))
    if not mask.any():
        raise SourceError(f"no voxel of {name} is left", "at least one")
    return mask
