"""Scores of one subject's decoded pictures and of the controls that paint pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mindvis.data.reader import VoxelStore
from mindvis.decoding.baseline import BaselineUnavailableError, ridge_pictures, train_and_test
from mindvis.decoding.ceilings import noise_ceiling
from mindvis.decoding.controls import CROSSED
from mindvis.decoding.predictions import SubjectPictures, read_draws, read_pictures
from mindvis.decoding.retrieval import TrainingPictures
from mindvis.metrics.features import Judge
from mindvis.metrics.functional import target_rank
from mindvis.metrics.nearest import COARSE, NEAR_DUPLICATE, near_duplicates, told_beyond
from mindvis.metrics.pairing import (
    Floats,
    Truths,
    consistency_pairs,
    fit_size,
    own_scores,
    score_pairs,
)
from mindvis.metrics.suite import Suite
from mindvis.metrics.summary import (
    FIRST_STAGE,
    NEAREST_BRAIN,
    NEAREST_PICTURE,
    RIDGE,
    SubjectScores,
)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Options:
    """What every subject is scored with.

    Args:
        judge: Classifier of n-way accuracy; None for none.
        store: Responses and training pictures of the controls; None where there is none.
        store_reason: Why there is none.
        model: Folder of the model that decoded.
        split: Trials that were decoded.
        single: Whether single trials were decoded rather than means.
        n_way: Candidates of one question.
        top_k: Answers that the judge may give.
        batch_size: Pictures that the judge sees at once.
        ridge: Whether to fit the ridge baseline.
        device: Where himalaya fits it.
        generator: Thumbnails of the generator's training set; None where it is not known.
        suite: Further protocols.
    """

    judge: Judge | None
    store: VoxelStore | None
    store_reason: str
    model: str | None
    split: str
    single: bool
    n_way: int
    top_k: int
    batch_size: int
    ridge: bool = True
    device: str = "cpu"
    generator: NDArray[np.float32] | None = None
    suite: Suite = field(default_factory=Suite)


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
    tables = _tables(decoded, truths, probabilities, options)
    alike = consistency_pairs(decoded)
    controls = Controls(pictures, decoded, truths, options)
    controls.score()
    notes = controls.notes
    scores = SubjectScores(
        subject=pictures.subject,
        stimuli=pictures.stimuli,
        seen=pictures.seen,
        draws={name: own_scores(table) for name, table in tables.items()}
        | {name: _every_draw(table, decoded.shape[1]) for name, table in alike.items()},
        pairs={name: table.mean(-1) for name, table in tables.items()} | alike,
        controls=controls.found,
        ceilings=controls.ceilings,
        flags=controls.flags,
        closeness=controls.closeness,
        told_beyond=controls.told_beyond,
    )
    notes |= {"picture_size": [width, height], "truths_resized": resized, **judged}
    notes["truths"] = picture_digests(pictures.stimuli, originals)
    return SubjectResult(
        pictures, decoded, shown, scores, notes, *_named(probabilities, truths, options)
    )


def picture_digests(stimuli: Sequence[str], pictures: Sequence[Bytes]) -> dict[str, str]:
    """The first half of the SHA-256 of each picture's size and pixels, by stimulus."""
    return {
        name: sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()[:32]
        for name, picture in zip(stimuli, pictures, strict=True)
    }


def _tables(
    pictures: Bytes, truths: Truths, probabilities: Tensor | None, options: Options
) -> dict[str, Floats]:
    """Every picture with every truth by every protocol: (rows, columns, draws)."""
    tables = score_pairs(pictures, truths, probabilities, options.n_way, options.top_k)
    return tables | options.suite.tables(pictures, truths.originals or list(truths.pictures))


def _every_draw(pairs: Floats, draws: int) -> Floats:
    """The score of a stimulus, for each of its draws: (stimuli, draws)."""
    return np.repeat(pairs.diagonal()[:, None], draws, axis=1)


def _truths(
    shown: Bytes, originals: Sequence[Bytes], pictures: SubjectPictures, options: Options
) -> tuple[Truths, dict[str, Any]]:
    """True pictures with the classes that n-way accuracy asks for, and how well the judge knows."""
    if options.judge is None:
        return Truths(shown, originals=originals), {}
    answers = options.judge.logits(originals, options.batch_size)
    options.judge.check_answers(originals, answers)
    pseudo = answers.softmax(-1).argmax(-1)
    labels = options.judge.class_numbers(pictures.labels)
    known = labels >= 0
    right = (pseudo == labels)[known].tolist()
    names = np.array(pictures.stimuli)[known.numpy()].tolist()
    return Truths(shown, pseudo, labels if known.any() else None, originals), {
        "judge_right": dict(zip(names, right, strict=True)),
        "judge_labels": dict(zip(pictures.stimuli, pictures.labels, strict=True)),
        "judge_note": options.judge.note([*originals]),
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


class Controls:
    """Scores of everything that a subject's decoded pictures are compared with.

    Args:
        pictures: Files of the controls that were decoded.
        decoded: The decoded pictures.
        truths: What they are scored against.
        options: Judge and store.
    """

    def __init__(
        self, pictures: SubjectPictures, decoded: Bytes, truths: Truths, options: Options
    ) -> None:
        self.pictures = pictures
        self.decoded = decoded
        self.truths = truths
        self.options = options
        self.found: dict[str, dict[str, Floats]] = {}
        self.ceilings: dict[str, dict[str, Floats]] = {}
        self.flags: dict[str, NDArray[np.bool_]] = {}
        self.closeness: Floats | None = None
        self.told_beyond: Floats | None = None
        self.notes: dict[str, Any] = {}

    def score(self) -> None:
        """All controls that can be scored; the reason of each other one goes to the notes."""
        self._crossed()
        if self.pictures.first_stage:
            painted = self._fit(read_pictures(self.pictures.first_stage))
            self.ceilings[FIRST_STAGE] = self._own(painted[:, None])
        if self.options.generator is not None:
            known = near_duplicates(self.truths.pictures, self.options.generator)
            self.flags["in-generator"] = known
        self._from_store()

    def _crossed(self) -> None:
        """Pictures that are compared with every stimulus: (stimuli, pictures) of each metric."""
        for kind in CROSSED:
            files = self.pictures.controls.get(kind)
            if not files:
                self.notes[kind] = f"no picture of the {kind.replace('-', ' ')} was decoded"
                continue
            tables = self._tables(self._fit(read_pictures(files))[:, None])
            self.found[kind] = {name: table[..., 0] for name, table in tables.items()}

    def _from_store(self) -> None:
        """Controls that need training responses or training pictures."""
        store, options = self.options.store, self.options
        if store is None:
            reasons = (RIDGE, NEAREST_BRAIN, NEAREST_PICTURE, "noise_ceiling")
            self.notes |= dict.fromkeys(reasons, options.store_reason)
            return
        subject, stimuli = self.pictures.subject, self.pictures.stimuli
        model, split, single = options.model, options.split, options.single
        self.notes["noise_ceiling"] = noise_ceiling(store, subject, stimuli, model, split, single)
        try:
            data = train_and_test(store, subject, stimuli, model, split, single)
            training = TrainingPictures(store, data)
        except BaselineUnavailableError as error:
            self.notes |= dict.fromkeys((RIDGE, NEAREST_BRAIN, NEAREST_PICTURE), str(error))
            return
        by_brain = self._fit(training.nearest_by_brain())
        self.found[NEAREST_BRAIN] = self._own(by_brain[:, None])
        self._by_picture(training)
        if not options.ridge:
            self.notes[RIDGE] = "the ridge baseline was switched off"
            return
        ridge = ridge_pictures(store, data, options.device)
        self.found[RIDGE] = self._own(self._fit(ridge.pictures)[:, None])
        self.notes["ridge_alpha"] = {
            "value": ridge.alpha,
            "at_edge": ridge.at_edge,
            "chosen_by": ridge.chosen_by,
        }

    def _by_picture(self, training: TrainingPictures) -> None:
        """The training picture most like each decoded one, and whether that is one's copy."""
        found, _ = training.nearest_by_picture(self.decoded)
        coarse, likeness = training.nearest_by_picture(self.decoded, COARSE)
        truths, draws = self.truths.pictures, self.decoded.shape[1]
        flat = [part.reshape(-1, *part.shape[2:]) for part in (self.decoded, found, coarse)]
        self.found[NEAREST_PICTURE] = self._own(self._fit(flat[1]).reshape(self.decoded.shape))
        self.flags["near-duplicate"] = training.likeness(truths) >= NEAR_DUPLICATE
        closeness = likeness.mean(1) - training.likeness(truths, COARSE)
        self.closeness = closeness.astype(np.float64)
        told = told_beyond(flat[0], flat[1:], np.repeat(truths, draws, axis=0))
        self.told_beyond = told.reshape(-1, draws).mean(1)

    def _fit(self, painted: Bytes | Sequence[Bytes]) -> Bytes:
        """Pictures in the size of the truths."""
        return fit_size(painted, *self.truths.pictures.shape[1:3])

    def _tables(self, painted: Bytes) -> dict[str, Floats]:
        """Every picture (columns, draws, H, W, 3) with every truth: (rows, columns, draws)."""
        probabilities = _probabilities(painted, self.options)
        return _tables(painted, self.truths, probabilities, self.options)

    def _own(self, painted: Bytes) -> dict[str, Floats]:
        """Scores of pictures (stimuli, draws, H, W, 3) with their own truths: (stimuli,)."""
        return {name: own_scores(t).mean(-1) for name, t in self._tables(painted).items()}
