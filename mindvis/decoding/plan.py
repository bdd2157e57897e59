"""What there is to decode: every stimulus of every subject, every draw, in a fixed order."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mindvis.data.places import check_places
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.data.transforms import Preprocessing
from mindvis.decoding.controls import control_items
from mindvis.decoding.listing import Item, Picture, picture_file, task_trials
from mindvis.errors import CheckpointError, ConfigError, StoreError, one_of
from mindvis.seeding import seed_from

Split = Literal["train", "test"]
Repeats = Literal["average", "single"]
T = TypeVar("T")


def plan_items(
    store: VoxelStore, subjects: Sequence[str], split: Split, repeats: Repeats, controls: bool
) -> list[Item]:
    """Responses to decode: stimuli sorted by subject and id, then the controls of each subject.

    Args:
        store: Where they are.
        subjects: Whose to decode.
        split: Which trials.
        repeats: The mean of a stimulus' trials, or the first trial alone.
        controls: Whether to decode mean, noise and empty responses of each subject as well.

    Raises:
        StoreError: A subject has no trials of the split.
    """
    items: list[Item] = []
    others: list[Item] = []
    for name in sorted(subjects):
        trials = task_trials(store[name])
        chosen = trials[trials["split"] == split]
        if chosen.empty:
            counts = trials["split"].value_counts().to_dict()
            raise StoreError(
                f"subject {name} in {store.path} has no trials of split {split!r} with a stimulus",
                f"one with trials ({', '.join(f'{k}: {v}' for k, v in sorted(counts.items()))})",
                "choose another --split, or prepare the store with such trials",
            )
        own = []
        for stimulus, rows in sorted(chosen.groupby("stimulus").groups.items()):
            kept = sorted(rows)[: 1 if repeats == "single" else None]
            own.append(Item(name, str(stimulus), tuple(map(int, kept))))
        train = tuple(map(int, trials.index[trials["split"] == "train"]))
        items += own
        others += control_items(name, own, train) if controls else []
    return items + others


def choose_subjects(
    store: VoxelStore, preprocessing: Preprocessing, subjects: Sequence[str] | None
) -> list[str]:
    """Subjects that store and model both know, or those asked for.

    Raises:
        ConfigError: A subject that was asked for is not in the store or not in the model.
        CheckpointError: None is in both, or one has other voxels in the store.
    """
    chosen = list(subjects or [name for name in store.subjects if name in preprocessing.subjects])
    for where, known in {"store": store.subjects, "model": preprocessing.subjects}.items():
        for name in chosen:
            if name not in known:
                choices = one_of("the subject", name, known)
                raise ConfigError(f"the {where} has no subject {name!r}", choices)
    if not chosen:
        raise CheckpointError(
            f"the model knows {', '.join(preprocessing.subjects)} but {store.path} holds "
            f"{', '.join(store.subjects)}",
            "a subject that is in both",
            "decode the store that the model was trained on",
        )
    for name in chosen:
        _check_voxels(store[name], preprocessing)
    return chosen


def _check_voxels(subject: StoredSubject, preprocessing: Preprocessing) -> None:
    trained = preprocessing[subject.name].num_stored
    if subject.num_voxels != trained:
        raise CheckpointError(
            f"the model was trained on {trained} voxels of subject {subject.name}, "
            f"{subject.store.path} holds {subject.num_voxels}",
            "the store that the model was trained on",
            "decode that store, or train on this one",
        )
    check_places(preprocessing[subject.name].places, subject)


def plan_pictures(items: Sequence[Item], draws: int, seed: int) -> list[Picture]:
    """Every draw of every item, draws of an item together."""
    return [
        Picture(
            item=position,
            draw=draw,
            # a first control is seeded like a stimulus of its name
            seed=seed_from(seed, item.subject, item.name, *[item.number] * bool(item.number), draw),
            file=picture_file(item, draw),
        )
        for (position, item), draw in product(enumerate(items), range(draws))
    ]


def batches(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """A partition that depends on the plan alone: what is finished already does not move it."""
    return (things[start : start + size] for start in range(0, len(things), size))


def parse_shard(text: str) -> tuple[int, int]:
    """The text "i/n" as two integers, 0 <= i < n.

    Raises:
        ConfigError: It is anything else.
    """
    part, slash, count = text.partition("/")
    if slash and part.isdecimal() and count.isdecimal() and int(part) < int(count):
        return int(part), int(count)
    raise ConfigError(
        f"shard is {text!r}", "i/n with 0 <= i < n, such as 0/4 for the first of four"
    )


def own_share(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """Every n-th item from the i-th on."""
    part, count = shard
    return list(items[part::count])


def mean_response(
    subject: StoredSubject, rows: Sequence[int], block: int = 512
) -> npt.NDArray[np.float32]:
    """Mean of some trials, float32 (voxels,), read a block of rows at a time."""
    total = np.zeros(subject.num_voxels, dtype=np.float64)
    for part in batches(rows, block):
        total += subject.responses(part).sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)
