"""What an item of training is: a measured row, the mean of a stimulus' rows, the mean of a pair."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.data.transforms import draw_pairs

Repeats = Literal["single", "average", "both"]
Rows = npt.NDArray[np.intp]


def repeat_items(trials: pd.DataFrame, rows: Rows, repeats: Repeats) -> list[Rows]:
    """Row numbers of each item; rest, which repeats nothing, is taken singly.

    Args:
        trials: Of one subject, as a store gives them.
        rows: Those to take.
        repeats: Each row ("single"), the mean over the rows of each stimulus ("average"), or these
            means before the rows ("both", as MinD-Vis takes test responses).
    """
    single = list(rows[:, None])
    if repeats == "single":
        return single
    names = trials["stimulus"].to_numpy()[rows]
    means = [rows[names == name] for name in dict.fromkeys(names.tolist()) if name]
    return means + (single if repeats == "both" else list(rows[names == ""][:, None]))


def pair_items(rows: Rows, times: float, rng: np.random.Generator) -> list[Rows]:
    """Pairs of rows whose mean is an item, until there are `times` as many items as rows."""
    return list(rows[draw_pairs(len(rows), times, rng)])
