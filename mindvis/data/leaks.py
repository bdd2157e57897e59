"""Pictures on both sides of a split: the same ones, and those that are the same to the eye."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from mindvis.data.similarity import near_duplicates, signatures
from mindvis.data.store import StoredSubject, VoxelStore

Splits = dict[str, set[str]]
BOTH = ("train", "test")


def shown(subject: StoredSubject) -> Splits:
    """Ids of the pictures of each split of a subject."""
    trials = subject.trials
    return {split: set(trials.loc[trials["split"] == split, "stimulus"]) - {""} for split in BOTH}


def united(splits: Iterable[Splits]) -> Splits:
    """Ids of the pictures of each split, of all subjects together."""
    whole: Splits = {split: set() for split in BOTH}
    for own in splits:
        for split in BOTH:
            whole[split] |= own[split]
    return whole


def stimuli_of(store: VoxelStore, split: str) -> set[str]:
    """Ids of the pictures of a split, of all subjects together."""
    return united(shown(subject) for subject in store)[split]


def look_alikes(store: VoxelStore, splits: Splits | None = None) -> list[tuple[str, str]]:
    """Pairs of a training picture and a test picture that are the same to the eye.

    Pictures that are in both splits by their id are left out.

    Args:
        store: Whose pictures.
        splits: Its pictures by split, where they are known already.
    """
    if store.stimuli is None:
        return []
    ids = splits or united(shown(subject) for subject in store)
    first, second = sorted(ids["train"] - ids["test"]), sorted(ids["test"] - ids["train"])
    images, index = store.stimuli.rows, store.stimuli.index
    pairs = near_duplicates(
        signatures(images, index(first)), signatures(images, index(second))
    ).tolist()
    return [(first[one], second[two]) for one, two in pairs]


def find_leaks(store: VoxelStore) -> Iterator[str]:
    """Sentences about pictures that a model could know from training when it is tested."""
    subjects = [shown(subject) for subject in store]
    whole = united(subjects)
    within = {name for own in subjects for name in own["train"] & own["test"]}
    between = whole["train"] & whole["test"] - within
    if between:
        yield (
            f"{len(between)} stimuli are train for one subject and test for another, "
            f"{min(between)!r} the first"
        )
    pairs = look_alikes(store, whole)
    if pairs:
        known, tested = pairs[0]
        count = len({test for _, test in pairs})
        yield f"{count} test pictures look like a training picture, {tested!r} like {known!r}"


def members(store: VoxelStore, inside: npt.NDArray[np.bool_], split: str) -> tuple[int, int]:
    """How many of the pictures of a split are in a stratum, and how many there are."""
    if store.stimuli is None:
        return 0, 0
    rows = store.stimuli.index(sorted(stimuli_of(store, split)))
    return int(inside[rows].sum()), len(rows)
