"""Pictures on both sides of a split: the same ones, and those that are the same to the eye."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.data.similarity import near_duplicates, signatures
from mindvis.data.store import VoxelStore


def stimuli_of(store: VoxelStore, split: str) -> set[str]:
    """Ids of the pictures of a split, of all subjects together."""
    shown: set[str] = set()
    for subject in store:
        trials = subject.trials
        shown |= set(trials.loc[trials["split"] == split, "stimulus"])
    return shown - {""}


def look_alikes(store: VoxelStore) -> list[tuple[str, str]]:
    """Pairs of a training picture and a test picture that are the same to the eye.

    Pictures that are in both splits by their id are left out.
    """
    if store.stimuli is None:
        return []
    train, test = stimuli_of(store, "train"), stimuli_of(store, "test")
    first, second = sorted(train - test), sorted(test - train)
    images, index = store.stimuli.rows, store.stimuli.index
    pairs = near_duplicates(
        signatures(images, index(first)), signatures(images, index(second))
    ).tolist()
    return [(first[one], second[two]) for one, two in pairs]


def find_leaks(store: VoxelStore) -> Iterator[str]:
    """Sentences about pictures that a model could know from training when it is tested."""
    both = stimuli_of(store, "train") & stimuli_of(store, "test")
    within = {name for subject in store for name in _within(subject.trials)}
    if both - within:
        yield (
            f"{len(both - within)} stimuli are train for one subject and test for another, "
            f"{min(both - within)!r} the first"
        )
    pairs = look_alikes(store)
    if pairs:
        known, tested = pairs[0]
        count = len({test for _, test in pairs})
        yield f"{count} test pictures look like a training picture, {tested!r} like {known!r}"


def _within(trials: pd.DataFrame) -> set[str]:
    """Pictures that are in both splits of one subject."""
    train, test = (set(trials.loc[trials["split"] == s, "stimulus"]) for s in ("train", "test"))
    return train & test - {""}


def members(store: VoxelStore, inside: npt.NDArray[np.bool_], split: str) -> tuple[int, int]:
    """How many of the pictures of a split are in a stratum, and how many there are."""
    if store.stimuli is None:
        return 0, 0
    rows = store.stimuli.index(sorted(stimuli_of(store, split)))
    return int(inside[rows].sum()), len(rows)
