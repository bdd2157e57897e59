"""Pictures of NSD: read by row out of one large file, and which other data sets show them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.hdf5 import Rows
from mindvis.data.schema import StimulusData
from mindvis.errors import SourceError
from preprocessing.betas import Hdf5Rows
from preprocessing.damage import BROKEN
from preprocessing.nsd_design import PICTURES, stimulus_id
from preprocessing.orientation import resize

LARGEST = 8192  # pixels


class BrickRows:
    """Some pictures of `nsd_stimuli.hdf5`, read and resized when a slice is asked for.

    Args:
        path: The file; its array `imgBrick` is uint8 (73000, 425, 425, 3).
        pictures: Which, counted from 0.
        size: Side in pixels; None keeps them as they are.

    Raises:
        SourceError: If the array is not of this kind.
    """

    def __init__(self, path: Path, pictures: NDArray[np.intp], size: int | None) -> None:
        self.rows = Hdf5Rows(path, "imgBrick", 4, pictures)
        if self.rows.shape[-1] != 3 or self.rows.dtype != np.uint8:
            raise SourceError(
                f"'imgBrick' in {path} is {self.rows.dtype} of shape {self.rows.shape}",
                "uint8 (pictures, height, width, 3)",
            )
        self.size = size
        height, width = (size, size) if size else self.rows.shape[1:3]
        if max(self.rows.shape[1:3]) > LARGEST:
            raise SourceError(
                f"'imgBrick' in {path} has the shape {self.rows.shape}",
                f"pictures of {LARGEST} pixels a side at most",
            )
        self.shape: tuple[int, ...] = (len(pictures), height, width, 3)

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        return resize(self.rows[key], self.size)


def nsd_stimuli(pictures: NDArray[np.intp], images: Rows, info: Path) -> StimulusData:
    """What a store keeps of pictures; each is a class of its own, since NSD names none.

    Args:
        pictures: Counted from 0, increasing.
        images: One for each.
        info: `nsd_stim_info_merged.csv`, which may be absent, for the stratum `in_bold5000`.
    """
    ids = [stimulus_id(picture) for picture in pictures]
    strata = {"in_bold5000": shown_by_bold5000(info)[pictures]} if info.is_file() else {}
    return StimulusData(images, ids, ids, ["photograph"] * len(ids), strata)


def read_stim_info(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of `nsd_stim_info_merged.csv`, by nsdId, counted from 0.

    Raises:
        SourceError: If a column is missing or the ids are not those of the 73,000 pictures.
    """
    try:
        table = pd.read_csv(path, usecols=["nsdId", *columns]).set_index("nsdId").sort_index()
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", f"a table with nsdId, {', '.join(columns)}"
        ) from None
    if not np.array_equal(table.index, np.arange(PICTURES)):
        raise SourceError(
            f"nsdId in {path} has {len(table)} values",
            f"each number from 0 to {PICTURES - 1} once",
        )
    return table


def shown_by_bold5000(info: Path) -> NDArray[np.bool_]:
    """Which of the 73,000 pictures BOLD5000 shows too, bool (73000,)."""
    flags = read_stim_info(info, ["BOLD5000"])["BOLD5000"]
    return flags.astype(str).str.lower().isin({"true", "1"}).to_numpy()
