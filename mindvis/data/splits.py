"""Train, validation and test rows; validation is carved from train, by stimulus."""

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.errors import ConfigError, DataError
from mindvis.seeding import seed_from

Split = Literal["train", "val", "test"]


def groups(trials: pd.DataFrame) -> list[str]:
    """What must stay together in one split: the stimulus, or the whole run for rest.

    Neighbouring windows of a rest run share their noise, so a run is never divided.
    """
    columns = (trials[name].tolist() for name in ("stimulus", "session", "run"))
    return [
        stimulus or f"rest of session {session} run {run}"
        for stimulus, session, run in zip(*columns, strict=True)
    ]


def held_out(names: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """The groups that validation keeps: those whose seeded hash is smallest.

    The choice depends on the names alone, not on the order of rows or on subjects, so that a
    picture held out for one subject is held out for all.

    Args:
        names: Of all groups, with repetitions.
        fraction: In [0, 1); rounded, with at least one group on each side where it is above 0.
        seed: Another seed holds out others.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"val_fraction is {fraction}", "a number from 0 up to, not including, 1")
    ordered = sorted(set(names), key=lambda name: (seed_from(seed, "validation", name), name))
    if fraction == 0 or len(ordered) < 2:
        return frozenset()
    return frozenset(ordered[: min(max(1, round(fraction * len(ordered))), len(ordered) - 1)])


def split_rows(
    trials: pd.DataFrame,
    split: Split,
    val_fraction: float = 0.1,
    seed: int = 0,
    *,
    kinds: Iterable[str] = ("task",),
    universe: Iterable[str] | None = None,
) -> npt.NDArray[np.intp]:
    """Rows of a split.

    Args:
        trials: Of one subject, as a store gives them.
        split: "train" and "val" divide the training rows (and rest), by group; "test" is the
            store's own and serves nothing else.
        val_fraction: Part of the groups that validation keeps.
        seed: Of that choice.
        kinds: "task" or "rest" or both; rest belongs to train and val.
        universe: Groups to choose validation from; those of these trials where None. Give those of
            all subjects when they share pictures.

    Returns:
        Row numbers, increasing.
    """
    wanted = trials["kind"].isin(list(kinds)).to_numpy()
    test = (trials["split"] == "test").to_numpy()
    if split == "test":
        return np.flatnonzero(wanted & test)
    names = np.array(groups(trials), dtype=object)
    pool = wanted & ~test
    kept = held_out(names[pool] if universe is None else universe, val_fraction, seed)
    in_validation = np.array([name in kept for name in names], dtype=bool)
    return np.flatnonzero(pool & (in_validation == (split == "val")))


def digest(names: Iterable[str]) -> str:
    """SHA-256 of a set of names: two runs with the same digest were split alike."""
    return hashlib.sha256("\x1f".join(sorted(set(names))).encode()).hexdigest()


def fingerprint(names: Iterable[str]) -> dict[str, Any]:
    """Number and digest of the stimuli among some names; rows without a stimulus do not count."""
    stimuli = {name for name in names if name}
    return {"stimuli": len(stimuli), "sha256": digest(stimuli)}


def refuse_test(trials: pd.DataFrame, rows: npt.ArrayLike, purpose: str) -> None:
    """Refuse test rows wherever something is fitted or chosen.

    Args:
        trials: Of one subject, as a store gives them.
        rows: Row numbers about to be used.
        purpose: What for, in words.

    Raises:
        DataError: One of them is a test row.
    """
    numbers = np.asarray(rows, dtype=np.intp)
    leaked = numbers[(trials["split"] == "test").to_numpy()[numbers]]
    if len(leaked):
        raise DataError(
            f"{len(leaked)} of {len(numbers)} rows for {purpose} are test rows, row {leaked[0]} "
            f"(stimulus {trials['stimulus'].iloc[leaked[0]]!r}) the first",
            "training rows alone",
            "scores of what has met the test rows mean nothing",
        )
