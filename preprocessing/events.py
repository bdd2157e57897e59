"""Event tables: which rows are trials, and what was shown in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.layout import Scan
from preprocessing.pictures import picture_id
from preprocessing.signal import Floats, window_width
from preprocessing.trials import MISSING


@dataclass(frozen=True)
class EventOptions:
    """Which columns of the event tables mean what.

    Args:
        stimulus: Column that names the picture; None where there are no pictures.
        label: Column of the class; where it is absent, `trial_type` is the class.
        category: Column of a coarser group; where it is absent, the class.
        split: Column that says "train" or "test"; where it is absent, `TestOptions` decide.
        conditions: Keep these `trial_type`s alone; None keeps all.
    """

    stimulus: str | None = "stim_file"
    label: str | None = "label"
    category: str | None = "category"
    split: str | None = "split"
    conditions: Sequence[str] | None = None


def read_events(path: Path) -> pd.DataFrame:
    """An event table, all columns as text but `onset` and `duration` (s).

    Raises:
        SourceError: If a time is missing or is not a number.
    """
    try:
        events = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "a tab-separated table") from None
    for column in ("onset", "duration"):
        require_column(events, column, path, "BIDS wants it")
    events["onset"] = _seconds(events["onset"], path)
    events["duration"] = _seconds(events["duration"].replace(list(MISSING), "0"), path)
    return events


def _seconds(column: "pd.Series[str]", path: Path) -> "pd.Series[float]":
    values = pd.to_numeric(column, errors="coerce")
    broken = np.flatnonzero(~np.isfinite(values.to_numpy(float)))
    if broken.size:
        row = int(broken[0])
        raise SourceError(
            f"{path} has the {column.name} {column.iloc[row]!r} in row {row + 2}", "seconds"
        )
    return values.astype(float)


def require_column(events: pd.DataFrame, column: str, path: Path, remedy: str) -> None:
    """Refuse a table without a column, naming those it has.

    Raises:
        SourceError: If the column is missing.
    """
    if column not in events:
        raise SourceError(
            f"{path} has no column {column!r}", f"one among {', '.join(events.columns)}", remedy
        )


def task_trials(path: Path, scan: Scan, end: float, options: EventOptions) -> pd.DataFrame:
    """The trials of one run.

    Args:
        path: Its event table.
        scan: The run.
        end: Moment at which it ends, in seconds.
        options: The meaning of the columns.

    Returns:
        The columns of a store's trials (repeats not yet counted), file, label, category and
        duration.

    Raises:
        SourceError: If a column is missing, no trial is left, or one lies beyond the run's end.
    """
    events = read_events(path)
    events = events[_are_trials(events, path, options)]
    if events.empty:
        raise SourceError(f"{path} has no trial left", "at least one", "check --conditions")
    late = events[events["onset"] >= end]
    if len(late):
        raise SourceError(
            f"{path} has a trial at {late['onset'].iloc[0]:g} s (row {late.index[0] + 2})",
            f"onsets before {end:g} s, the end of {scan.bold.name}",
        )
    return _trial_table(events, scan, options)


def shown_files(path: Path, options: EventOptions) -> list[str]:
    """Names of the pictures of an event table, each once; none where no column names them.

    Raises:
        SourceError: If the table cannot be read or has no such column.
    """
    if not options.stimulus:
        return []
    events = read_events(path)
    names = events.loc[_are_trials(events, path, options), options.stimulus]
    return list(dict.fromkeys(names))


def _are_trials(events: pd.DataFrame, path: Path, options: EventOptions) -> "pd.Series[bool]":
    if options.stimulus:
        remedy = (
            "name the column of the pictures with --stimulus_column, or prepare without pictures: "
            "--stimulus_column null"
        )
        require_column(events, options.stimulus, path, remedy)
        chosen = ~events[options.stimulus].isin(MISSING)
    else:
        require_column(events, "trial_type", path, "name the pictures with --stimulus_column")
        chosen = ~events["trial_type"].isin(MISSING)
    if options.conditions is not None:
        require_column(events, "trial_type", path, "drop --conditions")
        chosen &= events["trial_type"].isin(options.conditions)
    return chosen


def _trial_table(events: pd.DataFrame, scan: Scan, options: EventOptions) -> pd.DataFrame:
    empty = pd.Series("", index=events.index)
    condition = events.get("trial_type", empty)
    files = events[options.stimulus] if options.stimulus else empty
    stimulus = files.map(picture_id)
    label = _first_of(events, [options.label], condition.where(condition != "", stimulus))
    table = pd.DataFrame(
        {
            "stimulus": stimulus,
            "condition": condition,
            "split": _first_of(events, [options.split], empty),
            "session": scan.session,
            "run": scan.run,
            "repeat": 0,
            "onset": events["onset"],
            "kind": "task",
            "file": files,
            "label": label,
            "category": _first_of(events, [options.category], label),
            "duration": events["duration"],
        }
    )
    return table.reset_index(drop=True)


def _first_of(
    events: pd.DataFrame, columns: Sequence[str | None], default: "pd.Series[str]"
) -> "pd.Series[str]":
    return next((events[column] for column in columns if column in events), default)


def rest_trials(scan: Scan, times: Floats, tr: float, window: float) -> pd.DataFrame:
    """A row for each window of a rest run; its onset is the time of its first volume."""
    width = window_width(tr, window)
    onsets = times[: len(times) // width * width : width]
    texts = dict.fromkeys(("stimulus", "split", "file", "label", "category"), "")
    return pd.DataFrame(
        {
            **texts,
            "condition": "rest",
            "session": scan.session,
            "run": scan.run,
            "repeat": 0,
            "onset": onsets,
            "kind": "rest",
            "duration": width * tr,
        },
        index=range(len(onsets)),
    )
