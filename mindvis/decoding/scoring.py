"""Scores of one subject's decoded pictures and of the controls that paint pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mindvis.data.reader import VoxelStore
from mindvis.decoding.baseline import BaselineUnavailableError, ridge_pictures
from mindvis.decoding.predictions import SubjectPictures, read_draws, read_pictures
from mindvis.metrics.features import Judge
from mindvis.metrics.functional import target_rank
from mindvis.metrics.pairing import Floats, Truths, fit_size, own_scores, score_pairs
from mindvis.metrics.summary import MEAN_BRAIN, RIDGE, SubjectScores

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Options:
    """What every subject is scored with."""

    judge: Judge | None
    store: VoxelStore | None
    store_reason: str
    model: str | None
    split: str
    single: bool
    n_way: int
    top_k: int
    batch_size: int


@dataclass(frozen=True)
class SubjectResult:
    """Scores of one subject, and what the table of single pictures and the report show."""

    pictures: SubjectPictures
    decoded: Bytes
    truths: Bytes
    scores: SubjectScores
    notes: dict[str, Any]
    ranks: NDArray[np.int64] | None = None
    named: NDArray[np.str_] | None = None


def score_subject(pictures: SubjectPictures, options: Options) -> SubjectResult:
    """All scores and controls of one subject.

    Args:
        pictures: What was decoded, and the truths.
        options: Judge, store and n-way.
    """
    decoded = read_draws(pictures)
    originals = read_pictures(pictures.truths)
    height, width = decoded.shape[2:4]
    resized = any(picture.shape[:2] != (height, width) for picture in originals)
    shown = fit_size(originals, height, width)
    truths, judged = _truths(shown, originals, pictures, options)
    probabilities = _probabilities(decoded, options)
    tables = score_pairs(decoded, truths, probabilities, options.n_way, options.top_k)
    controls, notes = _controls(pictures, truths, options)
    scores = SubjectScores(
        subject=pictures.subject,
        stimuli=pictures.stimuli,
        seen=pictures.seen,
        draws={name: own_scores(table) for name, table in tables.items()},
        pairs={name: table.mean(-1) for name, table in tables.items()},
        controls=controls,
    )
    notes |= {"picture_size": [width, height], "truths_resized": resized, **judged}
    return SubjectResult(
        pictures, decoded, shown, scores, notes, *_named(probabilities, truths, options)
    )


def _truths(
    shown: Bytes, originals: Sequence[Bytes], pictures: SubjectPictures, options: Options
) -> tuple[Truths, dict[str, Any]]:
    """True pictures with the classes that n-way accuracy asks for, and how well the judge knows."""
    if options.judge is None:
        return Truths(shown), {}
    pseudo = options.judge.probabilities(originals, options.batch_size).argmax(-1)
    labels = options.judge.class_numbers(pictures.labels)
    known = labels >= 0
    right = (pseudo == labels)[known].tolist()
    names = np.array(pictures.stimuli)[known.numpy()].tolist()
    return Truths(shown, pseudo, labels if known.any() else None), {
        "judge_right": dict(zip(names, right, strict=True))
    }


def _probabilities(pictures: Bytes, options: Options) -> Tensor | None:
    """The judge's opinion (columns, draws, classes) of pictures (columns, draws, H, W, 3)."""
    if options.judge is None:
        return None
    flat = pictures.reshape(-1, *pictures.shape[2:])
    found = options.judge.probabilities(flat, options.batch_size)
    return found.reshape(*pictures.shape[:2], found.shape[-1])


def _named(
    probabilities: Tensor | None, truths: Truths, options: Options
) -> tuple[NDArray[np.int64] | None, NDArray[np.str_] | None]:
    """Rank of the right class and name of the judge's choice for each picture and draw."""
    if probabilities is None or truths.pseudo is None or options.judge is None:
        return None, None
    target = truths.pseudo[:, None].expand(probabilities.shape[:2])
    named = np.array(options.judge.labels)[probabilities.argmax(-1).numpy()]
    return target_rank(probabilities, target).numpy(), named


def _controls(
    pictures: SubjectPictures, truths: Truths, options: Options
) -> tuple[dict[str, dict[str, Floats]], dict[str, Any]]:
    """Scores of the controls that paint pictures, and for each that is absent the reason."""
    found: dict[str, dict[str, Floats]] = {}
    notes: dict[str, Any] = {}
    height, width = truths.pictures.shape[1:3]

    def score(painted: Bytes) -> dict[str, Floats]:
        probabilities = _probabilities(painted, options)
        return score_pairs(painted, truths, probabilities, options.n_way, options.top_k)

    if pictures.mean_brain:
        painted = fit_size(read_pictures(pictures.mean_brain), height, width)[None]
        found[MEAN_BRAIN] = {name: t[:, 0].mean(-1) for name, t in score(painted).items()}
    else:
        notes[MEAN_BRAIN] = "no picture of the mean brain was decoded"
    if options.store is None:
        notes[RIDGE] = options.store_reason
        return found, notes
    try:
        ridge = ridge_pictures(
            options.store,
            pictures.subject,
            pictures.stimuli,
            options.model,
            options.split,
            options.single,
        )
    except BaselineUnavailableError as error:
        notes[RIDGE] = str(error)
        return found, notes
    painted = fit_size(ridge.pictures, height, width)[:, None]
    found[RIDGE] = {name: own_scores(t)[:, 0] for name, t in score(painted).items()}
    notes["ridge_alpha"] = {"value": ridge.alpha, "at_edge": ridge.at_edge}
    return found, notes
