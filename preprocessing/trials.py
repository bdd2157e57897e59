"""Tables of trials: which are kept for the test, and how often a picture was shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from warnings import warn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import TRIAL_COLUMNS
from mindvis.data.transforms import average_repeats
from mindvis.errors import SourceError

#: test trials one by one, or the mean of each picture's
Test = Literal["single", "averaged"]

#: column of the number in a run's file name, which starts again for each task
RUN_LABEL = "run_label"

#: how tables write that there is no value
MISSING = frozenset({"", "n/a", "N/A", "nan", "NaN", "NA"})


@dataclass(frozen=True)
class TestOptions:
    """Which trials are kept for the test where the event tables do not say it.

    Args:
        rule: "repeated" pictures, all trials of some "runs", or "none".
        repeats: Shown at least so often to one subject, a picture is "repeated".
        runs: Numbers of the runs.
    """

    __test__ = False  # not a test case for pytest

    rule: Literal["none", "repeated", "runs"] = "none"
    repeats: int = 2
    runs: Sequence[int] = ()


def assign_splits(tables: Sequence[pd.DataFrame], options: TestOptions) -> None:
    """Fill the split of all task trials, in place; a table is all trials of one subject.

    A picture that is repeated for one subject is a test picture for all.

    Raises:
        SourceError: If a split column holds something else than "train" and "test", or if no
            subject has one of the test runs.
    """
    if options.rule == "runs":
        _check_runs(tables, options.runs)
    repeated: set[str] = set()
    if options.rule == "repeated":
        for table in tables:
            counts = table.loc[table["stimulus"] != "", "stimulus"].value_counts()
            repeated |= set(counts.index[counts >= options.repeats])
    for table in tables:
        task = table["kind"] == "task"
        test = table["stimulus"].isin(repeated)
        test |= table[RUN_LABEL].isin(options.runs) & (options.rule == "runs")
        silent = task & table["split"].isin(MISSING)
        table.loc[silent, "split"] = np.where(test[silent], "test", "train")
        for split in sorted(set(table.loc[task, "split"]) - {"train", "test"}):
            raise SourceError(
                f"the events have a trial of split {split!r}",
                "train or test",
                "name another column with --split_column, or pass --split_column null",
            )
    warn_of_leaks(tables)


def _check_runs(tables: Sequence[pd.DataFrame], runs: Sequence[int]) -> None:
    """Refuse test runs that no subject has."""
    present = sorted({int(run) for table in tables for run in table[RUN_LABEL]})
    absent = [run for run in runs if run not in present]
    if absent or not runs:
        raise SourceError(
            f"--test_runs names run {absent[0]}" if absent else "--test_runs names no run",
            f"some among {', '.join(map(str, present))}",
        )


def warn_of_leaks(tables: Sequence[pd.DataFrame]) -> None:
    """Warn where a picture is in the train split and in the test split."""
    shown = pd.concat(
        [table.loc[table["stimulus"] != "", ["stimulus", "split"]] for table in tables]
    )
    both = shown.drop_duplicates()["stimulus"].duplicated()
    if both.any():
        warn(
            f"{int(both.sum())} pictures are in the train split and in the test split", stacklevel=2
        )


def count_repeats(table: pd.DataFrame) -> None:
    """Number the repeats of each picture from 0, in order of time, in place.

    Trials without a picture are numbered by condition.
    """
    shown = table["stimulus"].where(table["stimulus"] != "", table["condition"])
    key = table["kind"] + "\n" + shown
    order = time_order(table)
    repeat = key.iloc[order].groupby(key.iloc[order]).cumcount()
    table["repeat"] = repeat.reindex(table.index).where(table["kind"] != "rest", 0)


def time_order(table: pd.DataFrame) -> NDArray[np.intp]:
    """Rows of a table of trials in order of time: by session, run and onset.

    Runs that say when they were acquired (`acquired`) are ordered by that within a session.
    """
    acquired = table.get("acquired", pd.Series("", index=table.index))
    frame = pd.DataFrame(
        {
            "session": table["session"],
            "acquired": acquired if (acquired != "").all() else "",
            "task": table["kind"],
            "run": table["run"],
            "onset": table["onset"],
            "row": np.arange(len(table)),
        }
    )
    return frame.sort_values(list(frame.columns))["row"].to_numpy()


def average_test(
    responses: NDArray[np.float32], trials: pd.DataFrame
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Test trials replaced by the mean of each picture's, in the place of its first one.

    Args:
        responses: (trials, voxels).
        trials: A row for each.

    Returns:
        The same of fewer test trials; others are as they were.
    """
    test = (trials["split"] == "test").to_numpy()
    names = trials["stimulus"].to_numpy()[test].tolist()
    first = test & ~trials["stimulus"].where(test).duplicated().to_numpy()
    kept = ~test | first
    averaged = responses.copy()
    averaged[first] = average_repeats(responses[test], names)[0] if test.any() else []
    return averaged[kept], trials[kept].reset_index(drop=True)


def stored_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that a store keeps."""
    return table[list(TRIAL_COLUMNS)].reset_index(drop=True)
