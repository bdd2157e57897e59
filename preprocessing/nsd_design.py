"""Which picture NSD showed in which trial: the experimental design, the answers, the splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.formats import load_arrays
from preprocessing.trials import count_repeats

#: sessions of subjects 1 to 8
SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
TRIALS = 750
PICTURES = 73000
#: sessions that were withheld until 2023; split "982" does without them
WITHHELD = 3
#: trials of the twelve runs of a session
RUN_TRIALS = (63, 62) * 6

Split = Literal["1000", "982"]


@dataclass(frozen=True)
class Design:
    """`nsd_expdesign.mat`, its numbers counted from 0.

    Args:
        shown: (8, trials), the picture of each trial of each subject.
        shared: Pictures that all subjects were to see: the test.
    """

    shown: NDArray[np.int64]
    shared: NDArray[np.int64]


def read_design(path: Path) -> Design:
    """The experimental design; MATLAB counts from 1.

    Raises:
        SourceError: If the file is damaged, or its numbers cannot be those of NSD.
    """
    arrays = load_arrays(path, ["subjectim", "masterordering", "sharedix"])
    subjects, order, shared = (_whole(arrays[key], key, path) for key in arrays)
    if subjects.ndim != 2 or len(subjects) != len(SESSIONS):
        raise SourceError(
            f"'subjectim' in {path} has the shape {subjects.shape}", "a row for each of 8 subjects"
        )
    _check_range(order, subjects.shape[1], "masterordering", path)
    _check_range(subjects, PICTURES, "subjectim", path)
    _check_range(shared, PICTURES, "sharedix", path)
    return Design(subjects[:, order.ravel() - 1] - 1, shared.ravel() - 1)


def _whole(values: NDArray[np.generic], key: str, path: Path) -> NDArray[np.int64]:
    if values.dtype.kind not in "iuf" or not values.size or np.any(values != np.rint(values)):
        raise SourceError(f"{key!r} in {path} is {values.dtype} {values.shape}", "whole numbers")
    return values.astype(np.int64)


def _check_range(values: NDArray[np.int64], last: int, key: str, path: Path) -> None:
    if values.min() < 1 or values.max() > last:
        raise SourceError(
            f"{key!r} in {path} goes from {values.min()} to {values.max()}",
            f"numbers from 1 to {last}",
            "use the file as NSD distributes it, counted from 1",
        )


def sessions_of(subject: int, split: Split, wanted: Sequence[int] | None) -> list[int]:
    """Sessions of a subject, from 1, in a split.

    Raises:
        SourceError: If the subject has no such session in this split.
    """
    last = SESSIONS[subject - 1] - (WITHHELD if split == "982" else 0)
    for session in wanted or ():
        if not 1 <= session <= last:
            raise SourceError(
                f"subject {subject} has no session {session} in the split {split}",
                f"numbers from 1 to {last}",
            )
    return sorted(set(wanted)) if wanted else list(range(1, last + 1))


def trial_table(design: Design, subject: int, sessions: Sequence[int]) -> pd.DataFrame:
    """The trials of some sessions of a subject, with the columns of a store and `picture`.

    Raises:
        SourceError: If the design has too few trials.
    """
    rows = np.concatenate([np.arange(TRIALS) + (session - 1) * TRIALS for session in sessions])
    if rows.max() >= design.shown.shape[1]:
        raise SourceError(
            f"the design has {design.shown.shape[1]} trials", f"{rows.max() + 1} or more"
        )
    pictures = design.shown[subject - 1, rows]
    runs = np.repeat(np.arange(1, len(RUN_TRIALS) + 1), RUN_TRIALS)
    table = pd.DataFrame(
        {
            "picture": pictures,
            "stimulus": [stimulus_id(picture) for picture in pictures],
            "condition": "",
            "split": np.where(np.isin(pictures, design.shared), "test", "train"),
            "session": np.repeat(list(sessions), TRIALS),
            "run": np.tile(runs, len(sessions)),
            "repeat": 0,
            "onset": np.nan,
            "kind": "task",
        }
    )
    count_repeats(table)
    return table


def stimulus_id(picture: int) -> str:
    """The id of a picture: its place in `nsd_stimuli.hdf5`, counted from 0."""
    return f"nsd-{picture:05d}"


def check_answers(path: Path, table: pd.DataFrame, subject: int) -> None:
    """Refuse a `responses.tsv` that names other pictures than the design.

    Raises:
        SourceError: If a trial differs, or the table cannot be read.
    """
    try:
        answers = pd.read_csv(path, sep="\t", usecols=["SUBJECT", "SESSION", "73KID"])
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", "columns SUBJECT, SESSION and 73KID"
        ) from None
    for session, trials in table.groupby("session"):
        said = answers.loc[answers["SESSION"] == session, "73KID"].to_numpy()
        expected = trials["picture"].to_numpy() + 1
        if len(said) != len(expected):
            raise SourceError(
                f"{path} has {len(said)} trials in session {session}", f"{len(expected)}"
            )
        wrong = np.flatnonzero(said != expected)
        if wrong.size:
            raise SourceError(
                f"{path} has the picture {said[wrong[0]]} in trial {wrong[0] + 1} of session "
                f"{session}",
                f"{expected[wrong[0]]}, which nsd_expdesign.mat says for subject {subject}",
                "use both files as NSD distributes them",
            )
