"""Event tables and what they say: which picture was shown when, with which label."""

from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

import numpy as np

from benchmarks.planted.pictures import FORMATS
from benchmarks.planted.recipe import Recipe
from benchmarks.planted.tables import number, write_table

_LABELS = {
    "words": ["cat", "dog", "tea cup"],
    "n/a among them": ["cat", "n/a", "dog"],
    "like numbers and nulls": ["001", "null", "1e5", "None", "True", "1.0"],
    "Unicode": ["K\u00e4se", "\u00d6l"],
}


@dataclass(frozen=True)
class Picture:
    """A picture: its name on disk and in tables, its id in the store, and its class."""

    file: str
    names: tuple[str, ...]
    key: str
    label: str
    condition: str


@dataclass(frozen=True)
class Trial:
    """A trial as the table has it; a duration of n/a is 0 here."""

    picture: Picture
    onset: float
    duration: float
    split: str = ""


def pictures_of(recipe: Recipe, count: int) -> list[Picture]:
    """The pictures of a tree."""
    return [_picture(recipe, n) for n in range(count)]


def _picture(recipe: Recipe, n: int) -> Picture:
    suffix = FORMATS[recipe.chosen["pictures"]][0]
    names = recipe.chosen["names"]
    base = f"K\u00e4se {n}" if "compose" in names or "both" in names else f"pic{n}"
    base = f"set-a/{base}" if names in {"folders", "backslashes"} else base
    if names == "two suffixes of one name" and n < 2:
        base, suffix = "pic0", (".png", ".bmp")[n]
    shown = base.replace("/", "\\") if names == "backslashes" else base
    shown = shown if names == "without suffix" else shown + suffix
    shown = shown.upper() if names == "of another case" else shown
    composed, decomposed = (normalize(form, shown) for form in ("NFC", "NFD"))
    table = {
        "composed in the table, decomposed on disk": (composed,),
        "decomposed in the table, composed on disk": (decomposed,),
        "both forms in the table": (composed, decomposed),
    }.get(names, (shown,))
    disk = normalize("NFD" if names.endswith("decomposed on disk") else "NFC", base + suffix)
    odd = recipe.is_("conditions", "like numbers and nulls")
    condition = ("001", "null")[n % 2] if odd else ("animal", "thing")[n % 2]
    words = _LABELS.get(recipe.chosen["label words"], [condition])
    label = condition if len(words) == 1 else words[n % len(words)]
    return Picture(disk, table, normalize("NFC", base), label, condition)


def draw_trials(
    recipe: Recipe, pictures: list[Picture], place: int, rng: np.random.Generator
) -> list[Trial]:
    """The trials of a run in order of time; no two runs of a subject share an onset."""
    time, trials = float(rng.integers(1, 6)), []
    if recipe.is_("onsets", "before the run"):
        time = -2.0
    for n in range(int(rng.integers(3, 6))):
        duration = _duration(recipe, n, rng)
        onset = round(int(10 * time) / 10 + int(rng.integers(0, 9)) / 10 + 0.003 + place / 100, 3)
        picture = pictures[int(rng.integers(len(pictures)))]
        pair = recipe.is_("names", "two suffixes of one name") or recipe.is_(
            "picture size", "several"
        )
        if pair and place == 0 and n < 2:
            picture = pictures[n]
        split = ("train", "test")[int(picture.key[-1]) % 2]
        silent = recipe.is_("split", "column with n/a") and n % 2 == 0
        trials.append(Trial(picture, onset, duration, "" if silent else split))
        time = onset + duration + float(rng.integers(7, 10))
    return trials


def _duration(recipe: Recipe, n: int, rng: np.random.Generator) -> float:
    brief = round(1 + float(rng.integers(0, 20)) / 10, 1)
    long = float(rng.integers(9, 20))
    kind = recipe.chosen["durations"]
    if kind in {"zero", "n/a"}:
        return 0.0
    return long if kind == "long" or (kind == "various" and n % 2) else brief


def write_events(path: Path, recipe: Recipe, trials: list[Trial], rng: np.random.Generator) -> None:
    """Write the event table of a run in the recipe's order, columns, numbers and dialect."""
    rows = [_row(recipe, trial, n) for n, trial in enumerate(trials)]
    if recipe.is_("onsets", "after it"):
        rows[-1]["onset"] = number(trials[-1].onset + 500, recipe.chosen["numbers"])
    if recipe.is_("other rows", "no trials", "no trials, no onsets"):
        onset = "n/a" if recipe.is_("other rows", "no trials, no onsets") else "0.5"
        blank = {"onset": onset, "duration": "n/a", "trial_type": "fixation"}
        rows.insert(1, {name: blank.get(name, "n/a") for name in rows[0]})
    if recipe.is_("other rows", "trial without onset"):
        rows[-1]["onset"] = "n/a"
    if recipe.is_("other rows", "only others"):
        rows = [row | {"stim_file": "n/a"} for row in rows]
    if recipe.is_("rows", "backwards"):
        rows.reverse()
    if recipe.is_("rows", "shuffled"):
        rows = [rows[i] for i in rng.permutation(len(rows))]
    names = list(rows[0])
    if recipe.is_("columns", "shuffled, with others"):
        names = [names[i] for i in rng.permutation(len(names))]
    dialect = recipe.chosen["table"]
    write_table(path, {name: [row[name] for row in rows] for name in names}, dialect)


def _row(recipe: Recipe, trial: Trial, n: int) -> dict[str, str]:
    form = recipe.chosen["numbers"]
    shown = trial.picture.names[n % len(trial.picture.names)]
    duration = number(trial.duration, form)
    if recipe.is_("durations", "n/a"):
        duration = "n/a"
    if recipe.is_("durations", "negative") and n == 0:
        duration = "-1.5"
    row = {
        "onset": number(trial.onset, form),
        "duration": duration,
        "trial_type": trial.picture.condition,
        "stim_file": shown,
    }
    if not recipe.is_("label words", "trial_type"):
        row["label"] = trial.picture.label
    if recipe.chosen["split"].startswith("column"):
        row["split"] = trial.split or "n/a"
    if recipe.is_("columns", "shuffled, with others"):
        row |= {"response_time": "n/a" if n % 2 else "0.731", "note": "left hand", "trial": str(n)}
    return row


def with_split(trial: Trial, split: str) -> Trial:
    """A trial in a split."""
    return replace(trial, split=split)
