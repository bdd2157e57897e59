"""What the report draws: forest plot, bars of classes, histogram of ranks, as positions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mindvis.metrics.table import flagged, interval, number

# kinds of marks in a fixed order, so that a control looks the same on every page
KINDS = (
    "decoder",
    "shuffled-brain",
    "mean-brain",
    "ridge",
    "gaussian-brain",
    "phase-brain",
    "prior",
    "nearest-train-brain",
    "nearest-train-picture",
    "first-stage",
)
LIMITS = (1, 5, 10, 50, 100, 500)  # last ranks of the histogram's bins


@dataclass(frozen=True)
class Mark:
    """One value with its interval on the forest plot, positions in per cent of the width."""

    style: int
    label: str
    text: str
    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ForestRow:
    """One metric of the forest plot."""

    title: str
    chance: float | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Forest:
    """The forest plot: rows, the kinds of marks, and grid lines as position and text."""

    rows: tuple[ForestRow, ...]
    kinds: tuple[tuple[int, str], ...]
    ticks: tuple[tuple[float, str], ...]


def forest(groups: Mapping[str, Mapping[str, Any]]) -> Forest:
    """Groups of results on one axis, for every metric whose scale ends at 1.

    Args:
        groups: For each group (decoder, control, run) the entries of its metrics; the first
            decides which metrics there are.
    """
    first = next(iter(groups.values()))
    named = {
        name: entry
        for name, entry in first.items()
        if entry["value"] is not None and entry["better"] == "higher"
    }
    styles = {
        kind: KINDS.index(kind) if kind in KINDS else place for place, kind in enumerate(groups)
    }
    start = math.floor(20 * min([0.0, *_ends(groups.values(), named)])) / 20

    def place(value: float) -> float:
        return round(2 + 96 * (value - start) / (1 - start), 2)

    def mark(kind: str, name: str, entry: Mapping[str, Any]) -> Mark:
        ends = entry["ci95"]
        low, high = (place(ends[0]), place(ends[1])) if ends else (None, None)
        text = f"{number(name, entry['value'])} ({interval(name, ends)})"
        return Mark(styles[kind], label_of(kind), text, place(entry["value"]), low, high)

    rows = []
    for name, entry in named.items():
        marks = [
            mark(kind, name, group[name])
            for kind, group in groups.items()
            if group.get(name, {}).get("value") is not None
        ]
        chance = None if entry["chance"] is None else place(entry["chance"])
        rows.append(ForestRow(entry["title"], chance, tuple(marks)))
    steps = [i / 4 for i in range(math.ceil(4 * start), 5)]
    kinds = tuple((styles[kind], label_of(kind)) for kind in groups)
    return Forest(tuple(rows), kinds, tuple((place(step), f"{step:g}") for step in steps))


def _ends(groups: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[float]:
    """Every value and lower end that has to be inside the plot."""
    kept = list(names)
    found = [group[name] for group in groups for name in kept if name in group]
    values = [entry["value"] for entry in found if entry["value"] is not None]
    return values + [entry["ci95"][0] for entry in found if entry["ci95"]]


def label_of(kind: str) -> str:
    """A control's name as people read it; other names are left as they are."""
    return kind.replace("-", " ") if kind in KINDS else kind


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its text, and its length in per cent, with chance beside it."""

    label: str
    text: str
    length: float
    chance: float | None


def class_bars(
    labels: Sequence[str], scores: NDArray[np.float64], metric: str, chance: float | None
) -> list[Bar]:
    """Mean score of each class, the best first; none where stimuli have no labels.

    Args:
        labels: Class of each stimulus.
        scores: (stimuli,) of a metric from 0 to 1; what is not finite is left out.
        metric: Its name.
        chance: Of the metric.
    """
    found: dict[str, list[float]] = {}
    for label, score in zip(labels, scores.tolist(), strict=True):
        if label and math.isfinite(score):
            found.setdefault(label, []).append(score)
    means = sorted(((float(np.mean(v)), k, len(v)) for k, v in found.items()), key=_by_score)
    line = None if chance is None else round(100 * chance, 2)
    return [
        Bar(label, f"{number(metric, mean)}, n {count}", round(100 * max(0.0, mean), 2), line)
        for mean, label, count in means
    ]


def _by_score(entry: tuple[float, str, int]) -> tuple[float, str]:
    return (-entry[0], entry[1])


def rank_bars(ranks: NDArray[np.int64], classes: int) -> list[Bar]:
    """How often the right class is among the judge's first, the next four, and so on.

    Args:
        ranks: Rank of the right class for each picture, 0 the first.
        classes: Classes of the judge.

    Returns:
        A bar for each range of ranks; `chance` is the length that guessing would give it.
    """
    limits = [limit for limit in LIMITS if limit < classes] + [classes]
    bars = []
    for low, high in zip([0, *limits], limits, strict=False):
        share = 100 * float(((ranks >= low) & (ranks < high)).mean())
        label = f"{low + 1}" if high == low + 1 else f"{low + 1} to {high}"
        expected = 100 * (high - low) / classes
        text = f"{share:.1f} %, by guessing {expected:.1f} %"
        bars.append(Bar(label, text, round(share, 2), round(expected, 2)))
    return bars


@dataclass(frozen=True)
class Strip:
    """Values of single stimuli on one line, positions in per cent of the width."""

    title: str
    text: str
    places: tuple[float, ...]
    mean: float
    zero: float


def strip(title: str, metric: str, values: NDArray[np.float64]) -> Strip:
    """Where the values of all stimuli lie, with their mean and with zero.

    Args:
        title: Of the metric.
        metric: Its name.
        values: (stimuli,), at least one finite.
    """
    kept = values[np.isfinite(values)]
    low, high = min(0.0, float(kept.min())), max(0.0, float(kept.max()))
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / width, 1)

    above = int((kept > 0).sum())
    text = f"mean {number(metric, float(kept.mean()))}, above zero {above} of {len(kept)}"
    places = tuple(sorted({place(value) for value in kept.tolist()}))
    return Strip(title, text, places, place(float(kept.mean())), place(0.0))


def plain_yaml(content: Mapping[str, Any]) -> str:
    """Options as YAML text."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True) if content else ""


def result_cells(summary: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, str]]:
    """Value and interval of some metrics, as text."""
    return [
        {
            "value": number(name, entry.get("value")),
            "interval": flagged(name, entry),
        }
        for name, entry in ((name, summary["metrics"].get(name, {})) for name in names)
    ]
