"""Responses that baselines learn from and answer to; the pictures of the ridge baseline."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.places import difference
from mindvis.data.reader import StoredSubject, VoxelStore
from mindvis.data.transforms import Preprocessing, average_repeats
from mindvis.decoding.listing import task_trials
from mindvis.errors import DataError, MindVisError
from mindvis.metrics.controls import RidgeBaseline, ridge_baseline


class BaselineUnavailableError(MindVisError):
    """Why there is no baseline; it becomes the reason in `metrics.json`."""


@dataclass(frozen=True)
class TrainAndTest:
    """Mean responses of one subject to its training stimuli and to those decoded.

    Args:
        train: (training stimuli, voxels), on voxels that are finite everywhere.
        names: The training stimuli.
        test: (decoded stimuli, voxels).
    """

    train: NDArray[np.float32]
    names: list[str]
    test: NDArray[np.float32]


def ridge_pictures(store: VoxelStore, data: TrainAndTest, device: str = "cpu") -> RidgeBaseline:
    """Pictures that ridge regression paints for a subject's decoded stimuli, in their order.

    Args:
        store: Pictures.
        data: Responses.
        device: Where himalaya computes, if it is installed.

    Raises:
        BaselineUnavailableError: The store has no pictures.
    """
    if store.stimuli is None:
        raise BaselineUnavailableError(f"{store.path} has no pictures")
    images = store.stimuli.images(store.stimuli.index(data.names))
    return ridge_baseline(data.train, images, data.test, device=device)


def train_and_test(
    store: VoxelStore,
    subject: str,
    stimuli: Sequence[str],
    model: str | os.PathLike[str] | None = None,
    split: str = "test",
    single: bool = False,
) -> TrainAndTest:
    """What a baseline learns from and what it answers to.

    It learns from the rows of the train split whose stimulus is not among those decoded, repeats
    averaged, and from the same voxels as the model where the model is still there.

    Args:
        store: Responses and pictures.
        subject: Whose responses.
        stimuli: What was decoded, in the order of the result.
        model: Folder of the decoding model.
        split: Trials that were decoded.
        single: Whether the first trial of a stimulus was decoded rather than the mean of all.

    Raises:
        BaselineUnavailableError: The store lacks what a baseline needs.
    """
    if store.stimuli is None or subject not in store.subjects:
        raise BaselineUnavailableError(f"{store.path} has no pictures for subject {subject}")
    stored = store[subject]
    task = task_trials(stored)
    decoded = task["stimulus"].isin(list(stimuli))
    train = task[(task["split"] == "train") & ~decoded]
    test = task[(task["split"] == split) & decoded]
    if single:
        test = test.sort_index().drop_duplicates("stimulus")
    known, absent = set(store.stimuli.ids), set(stimuli) - set(test["stimulus"])
    train = train[train["stimulus"].isin(known)]
    if absent or train["stimulus"].nunique() < 2:
        lacking = f"responses to {len(absent)} stimuli" if absent else "training stimuli"
        raise BaselineUnavailableError(f"{store.path} lacks {lacking} of subject {subject}")
    columns = voxel_columns(stored, model)
    responses, names = _mean_responses(stored, train, columns)
    probe, order = _mean_responses(stored, test, columns)
    probe = probe[[order.index(name) for name in stimuli]]
    finite = np.isfinite(responses).all(0) & np.isfinite(probe).all(0)
    return TrainAndTest(responses[:, finite], names, probe[:, finite])


def voxel_columns(stored: StoredSubject, model: str | os.PathLike[str] | None) -> NDArray[np.intp]:
    """Stored voxels that the model reads; all voxels where that is not known."""
    everything = np.arange(stored.num_voxels, dtype=np.intp)
    if model is None or not Path(model).exists():
        return everything
    try:
        transform = Preprocessing.load(model)[stored.name]
    except DataError:
        return everything
    fits = transform.num_stored == stored.num_voxels and not difference(transform.places, stored)
    return np.unique(transform.columns) if fits else everything


def _mean_responses(
    stored: StoredSubject, rows: pd.DataFrame, columns: NDArray[np.intp]
) -> tuple[NDArray[np.float32], list[str]]:
    """Mean response to each stimulus of some trials, and the stimuli."""
    responses = stored.responses(rows.index.to_numpy())[:, columns]
    return average_repeats(responses, rows["stimulus"].tolist())
