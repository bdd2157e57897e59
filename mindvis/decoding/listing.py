"""What each decoded picture is called, where it lies, and the index of them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

import pandas as pd

from mindvis.data.store import StoredSubject, VoxelStore


@dataclass(frozen=True)
class Item:
    """One response to decode.

    Args:
        subject: Whose it is.
        name: The stimulus; the kind of a control, such as "mean-brain".
        rows: Trials of the store whose mean it is, or gives a noise control its amplitude.
        control: Whether it is a control rather than the response to a stimulus.
        number: Which of several controls of that kind.
    """

    subject: str
    name: str
    rows: tuple[int, ...]
    control: bool = False
    number: int = 0


@dataclass(frozen=True)
class Picture:
    """One picture to decode.

    Args:
        item: Position of its response in the plan.
        draw: Which of the pictures of that response.
        seed: Of its noise; a function of what it shows, never of when it is decoded.
        file: Where it goes, relative to the output folder.
    """

    item: int
    draw: int
    seed: int
    file: str


def picture_file(item: Item, draw: int) -> str:
    """Where a picture goes, relative to the output folder."""
    if item.control:
        folder = PurePosixPath("controls", item.name, *([str(item.number)] if item.number else []))
        return str(folder / f"{safe(item.subject)}_draw{draw}.png")
    return str(PurePosixPath("images", safe(item.subject), f"{safe(item.name)}_draw{draw}.png"))


def first_stage_file(stimulus: str) -> str:
    """Where the shown picture goes after the model's first stage, relative to the output folder."""
    return str(PurePosixPath("controls", "first-stage", f"{safe(stimulus)}.png"))


def truth_file(stimulus: str) -> str:
    """Where the picture that was shown goes, relative to the output folder."""
    return str(PurePosixPath("truth", f"{safe(stimulus)}.png"))


def safe(name: str) -> str:
    """A name as part of a file name, percent-encoded: no id leads out of the folder."""
    encoded = quote(name, safe=" +,=@()[]")
    return encoded.replace(".", "%2E", 1) if encoded.startswith(".") else encoded


def index_table(
    store: VoxelStore, items: Sequence[Item], pictures: Sequence[Picture]
) -> pd.DataFrame:
    """One row for each decoded picture of a stimulus; controls are not listed.

    `seen` says whether the subject's training trials hold a response to the picture's class. Label,
    category and `seen` are empty where the store has no pictures.
    """
    label, category = _names(store)
    seen = {name: _seen_labels(store[name], label) for name in {item.subject for item in items}}
    rows = []
    for picture in pictures:
        item = items[picture.item]
        if item.control:
            continue
        known = label.get(item.name)
        row = {
            "sample_id": f"{item.subject}_{item.name}_draw{picture.draw}",
            "subject": item.subject,
            "stimulus": item.name,
            "label": known or "",
            "category": category.get(item.name, ""),
            "seen": "" if known is None else str(known in seen[item.subject]).lower(),
            "draw": picture.draw,
            "seed": picture.seed,
            "file": picture.file,
            "truth": "" if known is None else truth_file(item.name),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def task_trials(subject: StoredSubject) -> pd.DataFrame:
    """The trials of a subject that showed a stimulus; the index is the row in the store."""
    trials = subject.trials
    return trials[(trials["kind"] == "task") & (trials["stimulus"] != "")]


def _names(store: VoxelStore) -> tuple[dict[str, str], dict[str, str]]:
    """Label and category of each stimulus."""
    known = store.stimuli
    if known is None:
        return {}, {}
    labels = dict(zip(known.ids, known.labels, strict=True))
    return labels, dict(zip(known.ids, known.categories, strict=True))


def _seen_labels(subject: StoredSubject, label: dict[str, str]) -> set[str | None]:
    """Labels that occur in the subject's training trials."""
    trials = task_trials(subject)
    return {label.get(name) for name in trials.loc[trials["split"] == "train", "stimulus"]}
