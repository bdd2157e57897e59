"""Event tables: which rows are trials, and what was shown in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd

from mindvis.errors import SourceError
from mindvis.records import read_table
from preprocessing.layout import Scan
from preprocessing.pictures import picture_id
from preprocessing.signal import Floats, window_width
from preprocessing.trials import MISSING, RUN_LABEL


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
    """An event table, all columns as text.

    Raises:
        MindVisError: If it cannot be read, or lacks onset or duration.
    """
    events = read_table(path)
    for column in ("onset", "duration"):
        require_column(events, column, path, "BIDS wants it")
    return events


def timed(events: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The trials of an event table, onset and duration as seconds; a missing duration is 0.

    Raises:
        SourceError: If a time is missing or is not a number, or a duration is negative.
    """
    durations = events["duration"].mask(events["duration"].isin(MISSING), "0")
    events = events.assign(
        onset=_seconds(events["onset"], path), duration=_seconds(durations, path)
    )
    negative = events[events["duration"] < 0]
    if len(negative):
        raise SourceError(
            f"{path} has the duration {negative['duration'].iloc[0]:g} in row "
            f"{negative.index[0] + 2}",
            "seconds, 0 or more",
            "correct the table",
        )
    return events


def _seconds(column: "pd.Series[str]", path: Path) -> "pd.Series[float]":
    values = pd.to_numeric(column, errors="coerce")
    broken = np.flatnonzero(~np.isfinite(values.to_numpy(float)))
    if broken.size:
        row = int(broken[0])
        raise SourceError(
            f"{path} has the {column.name} {column.iloc[row]!r} in row {column.index[row] + 2}",
            "seconds",
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
        The columns of a store's trials (repeats not yet counted), file, label, category,
        duration, and the run's label and time of acquisition.

    Raises:
        SourceError: If a column is missing, no trial is left, or one lies beyond the run's end.
    """
    events = read_events(path)
    events = events[_are_trials(events, path, options)]
    if events.empty:
        raise SourceError(f"{path} has no trial left", "at least one", "check --conditions")
    events = timed(events, path)
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
    condition = _known(events.get("trial_type", empty))
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
            RUN_LABEL: scan.run_label,
            "acquired": scan.acquired,
        }
    )
    return table.reset_index(drop=True)


def _first_of(
    events: pd.DataFrame, columns: Sequence[str | None], default: "pd.Series[str]"
) -> "pd.Series[str]":
    return next((_known(events[column]) for column in columns if column in events), default)


def _known(column: "pd.Series[str]") -> "pd.Series[str]":
    """A column in which the words for a missing value are empty, names in one normal form."""
    return column.mask(column.isin(MISSING), "").map(lambda text: normalize("NFC", text))


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
            RUN_LABEL: scan.run_label,
            "acquired": scan.acquired,
        },
        index=range(len(onsets)),
    )
