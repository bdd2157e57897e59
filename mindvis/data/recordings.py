"""The subjects of one or more stores, divided into splits, with one preprocessing for all."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mindvis.data.items import Repeats, Rows, pair_items, repeat_items
from mindvis.data.moments import Moments
from mindvis.data.ordering import Order, order_voxels
from mindvis.data.places import VoxelPlaces, check_places
from mindvis.data.sources import CACHE_BYTES, Responses, ResponseSource
from mindvis.data.splits import (
    Split,
    fingerprint,
    groups,
    held_out,
    refuse_test,
    split_rows,
)
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.data.transforms import (
    Float,
    Padding,
    Preprocessing,
    Standardise,
    Statistics,
    VoxelTransform,
    find_saved,
    fit_transform,
)
from mindvis.errors import ConfigError, one_of
from mindvis.seeding import numpy_generator

BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Recording:
    """One subject of one store.

    Args:
        name: The subject, with the store's name in front where two stores share it.
        stored: Where the data are.
    """

    name: str
    stored: StoredSubject


def open_recordings(
    stores: str | Sequence[str], subjects: Sequence[str] | None = None
) -> list[Recording]:
    """Subjects of all stores, in the order of the stores and of their names.

    Args:
        stores: One file or several.
        subjects: Those to take; None for all.

    Raises:
        ConfigError: A subject is in none of the stores.
    """
    opened = [VoxelStore(path) for path in ([stores] if isinstance(stores, str) else stores)]
    found = [subject for store in opened for subject in store]
    known = Counter(subject.name for subject in found)
    for name in subjects or ():
        if name not in known:
            raise ConfigError(
                f"subject {name!r} is in none of {', '.join(str(store.path) for store in opened)}",
                one_of("the subject", name, known),
            )
    taken = [subject for subject in found if subjects is None or subject.name in subjects]
    names = [
        f"{subject.store.path.stem}/{subject.name}" if known[subject.name] > 1 else subject.name
        for subject in taken
    ]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two stores hold {name}", "stores of different file names")
    return [Recording(name, subject) for name, subject in zip(names, taken, strict=True)]


def universe(recordings: Sequence[Recording], kinds: Sequence[str], *, test: bool) -> set[str]:
    """Groups (pictures, rest runs) of all subjects, of test or of all other trials."""
    names: set[str] = set()
    for recording in recordings:
        trials = recording.stored.trials
        chosen = trials[trials["kind"].isin(list(kinds)) & ((trials["split"] == "test") == test)]
        names.update(groups(chosen))
    return names


def divide(
    recordings: Sequence[Recording],
    split: Split,
    *,
    kinds: Sequence[str],
    val_fraction: float,
    seed: int,
) -> list[Rows]:
    """Rows of a split for each subject; a picture held out for one is held out for all."""
    names = universe(recordings, kinds, test=False)
    return [
        split_rows(recording.stored.trials, split, val_fraction, seed, kinds=kinds, universe=names)
        for recording in recordings
    ]


def fitting_rows(
    recordings: Sequence[Recording],
    statistics: Statistics,
    *,
    kinds: Sequence[str],
    val_fraction: float,
    seed: int,
) -> list[Rows]:
    """Rows that mean and deviation are of: training rows, or all rows of these kinds."""
    wanted: tuple[Split, ...] = ("train", "val", "test") if statistics == "all" else ("train",)
    parts = [
        divide(recordings, split, kinds=kinds, val_fraction=val_fraction, seed=seed)
        for split in wanted
    ]
    return [np.sort(np.concatenate(rows)) for rows in zip(*parts, strict=True)]


def divide_test(
    recordings: Sequence[Recording], split: Split, *, val_fraction: float, seed: int
) -> list[Rows]:
    """Test rows as training rows, for transductive adaptation: the same division within them."""
    kept = held_out(universe(recordings, ("task",), test=True), val_fraction, seed)
    divided = []
    for recording in recordings:
        trials = recording.stored.trials
        rows = split_rows(trials, "test")
        if split != "test":
            inside = np.array([name in kept for name in groups(trials.iloc[rows])], dtype=bool)
            rows = rows[inside == (split == "val")]
        divided.append(rows)
    return divided


def refuse_test_rows(
    recordings: Sequence[Recording], rows: Sequence[Rows], purpose: str
) -> list[Rows]:
    """The rows as they are, unless one of them is a test row.

    Raises:
        DataError: With the purpose, the subject and the row.
    """
    for recording, chosen in zip(recordings, rows, strict=True):
        refuse_test(recording.stored.trials, chosen, f"{purpose} of subject {recording.name}")
    return list(rows)


def split_record(
    recordings: Sequence[Recording], train: Sequence[Rows], val: Sequence[Rows]
) -> dict[str, dict[str, Any]]:
    """What was trained on, chosen by and kept away, as numbers and digests of stimuli.

    Args:
        recordings: The subjects.
        train: Rows of each that weights are fitted to.
        val: Rows of each that training is watched by.

    Returns:
        For each subject `train` and `val`, and of the whole store `not_test` and `test`.
    """
    record = {}
    for recording, fitted, watched in zip(recordings, train, val, strict=True):
        trials = recording.stored.trials
        names, test = trials["stimulus"], trials["split"] == "test"
        record[recording.name] = {
            "train": fingerprint(names.iloc[fitted]),
            "val": fingerprint(names.iloc[watched]),
            "not_test": fingerprint(names[~test]),
            "test": fingerprint(names[test]),
        }
    return record


@dataclass(frozen=True)
class Recipe:
    """How stored responses become the model's input, before it is fitted to anybody."""

    roi: tuple[str, ...] = ()
    order: Order = "stored"
    padding: Padding = "zero"
    standardise: Standardise = "voxel"
    patch_size: int = 16
    length: int | None = None
    statistics: Statistics = "train"

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ConfigError(f"patch_size is {self.patch_size}", "at least 1 voxel")
        if self.length is not None and (self.length < 1 or self.length % self.patch_size):
            raise ConfigError(
                f"length is {self.length} voxels", f"a multiple of patch_size, {self.patch_size}"
            )

    def columns(self, stored: StoredSubject) -> Rows:
        """Stored voxels of the regions that the subject has, in the chosen order.

        Raises:
            StoreError: The subject has none of them.
        """
        own = [name for name in self.roi if name in stored.rois] or list(self.roi)
        inside = np.flatnonzero(stored.roi_mask(own or None))
        return inside[order_voxels(stored.ijk[inside], self.order)]

    def fit(self, recording: Recording, rows: Rows, length: int | None) -> VoxelTransform:
        """The transform of one subject from the rows that `statistics` says.

        Raises:
            DataError: One of them is a test row, and `statistics` is not "all".
        """
        if self.statistics != "all":
            purpose = f"the normalisation of subject {recording.name}"
            refuse_test(recording.stored.trials, rows, purpose)
        return fit_transform(
            Moments(_blocks(recording.stored, rows)),
            self.columns(recording.stored),
            standardise=self.standardise,
            padding=self.padding,
            patch_size=self.patch_size,
            length=length,
            subject=recording.name,
            raw_test=self.statistics == "train_only",
            places=VoxelPlaces.of(recording.stored, self.roi),
        )


def _blocks(stored: StoredSubject, rows: Rows) -> Iterator[Float]:
    step = max(1, BLOCK_BYTES // (4 * stored.num_voxels))
    for start in range(0, len(rows), step):
        yield stored.responses(rows[start : start + step])


def fit_preprocessing(
    recordings: Sequence[Recording],
    rows: Sequence[Rows],
    recipe: Recipe,
    saved: Preprocessing | None = None,
) -> Preprocessing:
    """One preprocessing for all subjects, padded to the longest.

    Args:
        recordings: The subjects.
        rows: Rows of each to standardise by, training rows as a rule; nothing else is looked at.
        recipe: What to do.
        saved: Transforms of a pretrained model: subjects it knows keep theirs, others get one of
            its length.

    Returns:
        The saved subjects and the new ones.

    Raises:
        CheckpointError: A subject that the model knows has other voxels here.
    """
    known = dict(saved.subjects) if saved else {}
    for recording in recordings:
        if recording.name in known:
            check_places(known[recording.name].places, recording.stored)
    length = saved.length if saved else recipe.length
    pairs = zip(recordings, rows, strict=True)
    new = {
        recording.name: recipe.fit(recording, chosen, length)
        for recording, chosen in pairs
        if recording.name not in known
    }
    if length is None:
        length = max(transform.length for transform in new.values())
        new = {name: _lengthened(transform, length) for name, transform in new.items()}
    sees_test = recipe.statistics == "all" and bool(new)
    if saved:
        sees_test = sees_test or saved.transductive
        return Preprocessing(saved.patch_size, length, {**known, **new}, saved.settings, sees_test)
    settings = {
        "roi": "+".join(recipe.roi) or "all",
        "order": recipe.order,
        "standardise": recipe.standardise,
        "statistics": recipe.statistics,
    }
    return Preprocessing(recipe.patch_size, length, new, settings, sees_test)


def _lengthened(transform: VoxelTransform, length: int) -> VoxelTransform:
    return VoxelTransform(**{**vars(transform), "length": length})


def read_responses(
    recordings: Sequence[Recording],
    rows: Sequence[Rows],
    preprocessing: Preprocessing,
    split: Split = "train",
    *,
    repeats: Repeats = "single",
    interpolation: float = 1.0,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> Responses:
    """Rows of all subjects as one sequence.

    Args:
        recordings: The subjects.
        rows: Rows of each, all of one split.
        preprocessing: Of these subjects.
        split: The store's split that the rows are of.
        repeats: What an item is; see `repeat_items`.
        interpolation: Items for each of these, the others means of random pairs; 1 adds none.
        seed: Of the pairs.
        cache_bytes: Keep the transformed responses in memory up to this size.
    """
    sources = []
    for number, (recording, chosen) in enumerate(zip(recordings, rows, strict=True)):
        rng = numpy_generator(seed, "pairs", recording.name)
        items = repeat_items(recording.stored.trials, chosen, repeats)
        items += pair_items(chosen, interpolation, rng)
        transform = preprocessing.of(recording.name, split)
        sources.append(ResponseSource(recording.stored, transform, items, number))
    return Responses(sources, cache_bytes)


def reuse_or_fit(
    recordings: Sequence[Recording], rows: Sequence[Rows], recipe: Recipe, saved: str | None
) -> Preprocessing:
    """The preprocessing of a run or model, completed for new subjects; a new one without it.

    Raises:
        StoreError: No subject has one of the regions.
    """
    for name in recipe.roi:
        if not any(name in recording.stored.rois for recording in recordings):
            recordings[0].stored.roi_mask(name)  # says so
    return fit_preprocessing(
        recordings, rows, recipe, Preprocessing.load(saved) if saved is not None else None
    )


def region_names(roi: str | Sequence[str] | None) -> tuple[str, ...]:
    """Regions as a tuple; empty for all voxels."""
    if roi is None:
        return ()
    return (roi,) if isinstance(roi, str) else tuple(roi)


def voxel_facts(preprocessing: Preprocessing) -> dict[str, int]:
    """Voxels the model reads, and voxels of a patch."""
    return {"num_voxels": preprocessing.length, "patch_size": preprocessing.patch_size}


def input_files(stores: str | Sequence[str], saved: str | None) -> list[Path]:
    """Files that responses come from."""
    paths = [stores] if isinstance(stores, str) else list(stores)
    return [Path(path) for path in paths] + ([find_saved(saved)] if saved is not None else [])
