"""Reading what `mindvis decode` wrote: an index, decoded pictures, true pictures, controls."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from mindvis.data.picture_files import PictureReader
from mindvis.decoding.controls import CROSSED
from mindvis.decoding.listing import Item, first_stage_file, picture_file, truth_file
from mindvis.errors import DataError
from mindvis.provenance import CONFIG

Flags = NDArray[np.bool_]
INDEX = "index.csv"
INDEX_COLUMNS = ("subject", "stimulus", "label", "category", "seen", "draw", "file")


@dataclass(frozen=True)
class SubjectPictures:
    """The decoded pictures of one subject, as paths.

    Args:
        subject: Its id.
        stimuli: Ids of the stimuli, sorted.
        labels: Class of each stimulus.
        categories: Coarser group of each.
        seen: bool (stimuli,), whether the class had brain responses in training; None if unknown.
        draws: Numbers of the draws, the same for every stimulus.
        files: For each stimulus the picture of each draw.
        truths: The true picture of each stimulus.
        controls: Pictures of each control that is compared with every stimulus; kinds of which
            there are none are left out.
        first_stage: Each true picture through the model's first stage; empty where they are not
            all there.
    """

    subject: str
    stimuli: tuple[str, ...]
    labels: tuple[str, ...]
    categories: tuple[str, ...]
    seen: NDArray[np.bool_] | None
    draws: tuple[int, ...]
    files: tuple[tuple[Path, ...], ...]
    truths: tuple[Path, ...]
    controls: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    first_stage: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """A folder of decoded pictures.

    Args:
        directory: The folder.
        subjects: One entry for each subject.
        config: Options that made them; empty for pictures of another origin.
    """

    directory: Path
    subjects: tuple[SubjectPictures, ...]
    config: dict[str, Any]


def read_predictions(directory: str | os.PathLike[str]) -> Predictions:
    """Everything that was decoded, checked for completeness.

    Args:
        directory: Output folder of `mindvis decode`.

    Raises:
        DataError: The folder, its index or any picture of it is missing.
    """
    folder = Path(directory)
    index = _read_index(folder)
    subjects = tuple(
        _subject(folder, str(name), rows) for name, rows in index.groupby("subject", sort=True)
    )
    _check_files(folder, [file for s in subjects for row in s.files for file in row], "pictures")
    truths = sorted({file for s in subjects for file in s.truths})
    _check_files(folder, truths, "true pictures")
    return Predictions(folder, subjects, _read_config(folder))


def _read_index(folder: Path) -> pd.DataFrame:
    """The index as text columns, with what it must have."""
    path = folder / INDEX
    if not path.is_file():
        raise DataError(
            f"there is no {path}",
            "a folder of decoded pictures with its index",
            "run `mindvis decode` first",
        )
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table ({error})", remedy="run `mindvis decode` again") from (
            error
        )
    missing = [name for name in INDEX_COLUMNS if name not in index.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}", f"columns {', '.join(INDEX_COLUMNS)}"
        )
    if index.empty:
        raise DataError(f"{path} lists no pictures", "at least one", "run `mindvis decode` again")
    return index


def _read_config(folder: Path) -> dict[str, Any]:
    """The options of the decoding run, empty where they are not known."""
    path = folder / CONFIG
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _subject(folder: Path, name: str, index: pd.DataFrame) -> SubjectPictures:
    """The pictures of one subject in order of stimulus and draw."""
    try:
        index = index.assign(draw=index["draw"].astype(int))
    except ValueError as error:
        raise DataError(f"a draw in {folder / INDEX} is no number ({error})") from error
    draws = tuple(sorted(index["draw"].unique().tolist()))
    index = index.sort_values(["stimulus", "draw"], kind="stable")
    rows = {str(stimulus): group for stimulus, group in index.groupby("stimulus", sort=True)}
    for stimulus, group in rows.items():
        if tuple(group["draw"].tolist()) != draws:
            raise DataError(
                f"stimulus {stimulus!r} of subject {name} has draws {group['draw'].tolist()}",
                f"draws {list(draws)} for every stimulus",
                "run the same `mindvis decode` again to finish it",
            )
    ceiling = tuple(folder / first_stage_file(stimulus) for stimulus in rows)
    first = [group.iloc[0] for group in rows.values()]
    return SubjectPictures(
        subject=name,
        stimuli=tuple(rows),
        labels=tuple(str(row["label"]) for row in first),
        categories=tuple(str(row["category"]) for row in first),
        seen=read_flags([str(row["seen"]) for row in first], list(rows), str(folder / INDEX)),
        draws=draws,
        files=tuple(tuple(folder / file for file in group["file"]) for group in rows.values()),
        truths=tuple(folder / truth_file(stimulus) for stimulus in rows),
        controls=_controls(folder, name, draws),
        first_stage=ceiling if all(file.is_file() for file in ceiling) else (),
    )


def _controls(folder: Path, subject: str, draws: Sequence[int]) -> dict[str, tuple[Path, ...]]:
    """Pictures of each control of a subject, as many responses as there are."""
    found = {}
    for kind in CROSSED:
        files: list[Path] = []
        for number in count():
            item = Item(subject, kind, (), control=True, number=number)
            own = [folder / picture_file(item, draw) for draw in draws]
            kept = [file for file in own if file.is_file()]
            if not kept:
                break
            files += kept
        if files:
            found[kind] = tuple(files)
    return found


TRUE = ("true", "t", "yes", "y", "1", "1.0")
FALSE = ("false", "f", "no", "n", "0", "0.0")
UNKNOWN = ("", "n/a")


def read_flags(texts: Sequence[str], stimuli: Sequence[str], where: str) -> Flags | None:
    """Whether each stimulus is of a seen class; None where every cell is blank.

    Args:
        texts: A cell for each stimulus: one of `TRUE` or `FALSE` in any case.
        stimuli: Their ids, for the message.
        where: The table, for the message.

    Raises:
        DataError: A cell says something else, or some cells are blank and others are not.
    """
    cells = [text.strip().casefold() for text in texts]
    if all(cell in UNKNOWN for cell in cells):
        return None
    for cell, text, stimulus in zip(cells, texts, stimuli, strict=True):
        if cell not in TRUE + FALSE:
            found = "blank" if cell in UNKNOWN else repr(text)
            raise DataError(
                f"column seen of {where} is {found} for stimulus {stimulus!r}, which is not true "
                "or false",
                f"one of {', '.join(TRUE + FALSE)} for every stimulus, or blank for all",
                "correct the cell, or leave the column out",
            )
    return np.array([cell in TRUE for cell in cells], dtype=bool)


def _check_files(folder: Path, files: Sequence[Path], what: str) -> None:
    """Refuse a folder that lacks some of its files."""
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of its {len(files)} {what}, "
            f"{missing[0].relative_to(folder)} among them",
            remedy="run the same `mindvis decode` again to finish it",
        )


def read_pictures(files: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Pictures of several files, with a progress bar where it takes long."""
    reader = PictureReader()
    return [reader.read(file) for file in tqdm(files, desc="reading", delay=2, leave=False)]


def read_draws(subject: SubjectPictures) -> NDArray[np.uint8]:
    """All decoded pictures of a subject, uint8 (stimuli, draws, height, width, 3).

    Raises:
        DataError: They differ in size.
    """
    pictures = read_pictures([file for row in subject.files for file in row])
    for file, picture in zip(
        (file for row in subject.files for file in row), pictures, strict=True
    ):
        if picture.shape != pictures[0].shape:
            raise DataError(
                f"{file} is {picture.shape[1]} x {picture.shape[0]} pixels",
                f"{pictures[0].shape[1]} x {pictures[0].shape[0]}, as the other pictures are",
            )
    return np.stack(pictures).reshape(len(subject.stimuli), len(subject.draws), *pictures[0].shape)
