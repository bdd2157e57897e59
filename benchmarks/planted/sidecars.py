"""When volumes were acquired, and where and how sidecar and header say it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted.recipe import Recipe
from benchmarks.planted.truth import Floats


@dataclass(frozen=True)
class Clock:
    """Times of the volumes in seconds, and the header's repetition time with its unit."""

    tr: float
    times: Floats
    header: tuple[float, str | None]

    @classmethod
    def draw(cls, recipe: Recipe, tr: float, count: int, rng: np.random.Generator) -> "Clock":
        """Times of a run, as the recipe's kind of repetition time has them."""
        kind = recipe.chosen["repetition time"]
        tr = 2.0 if kind == "sidecar at the root" else tr  # of all runs
        highest = 2 * count * tr * (recipe.options["high_pass"] or 0.0)
        count += highest > 0 and abs(highest - round(highest)) < 1e-6  # no cosine at the very limit
        times = tr * np.arange(count)
        if kind == "start time":
            times = times + tr / 2
        if kind == "unequal volume times":
            times = np.round(times + 0.3 * tr * (rng.random(count) - 0.5), 4)
            times[0] = 0.0
        headers: dict[str, tuple[float, str | None]] = {
            "header in milliseconds": (1000 * tr, "msec"),
            "header without unit, in milliseconds": (1000 * tr, None),
            "nowhere": (0.0, "sec"),
            "another in the header": (1.0, "sec"),
            "sidecar at the root": (0.0, None),
        }
        unused = {"text", "milliseconds", "null", "equal volume times", "unequal volume times"}
        if kind in unused and recipe.number % 2:
            return cls(tr, times, (3.0, "sec"))  # a header that is wrong
        return cls(tr, times, headers.get(kind, (tr, "sec")))


def write_clock(
    root: Path, path: Path, entities: Mapping[str, str], recipe: Recipe, clock: Clock
) -> None:
    """Write the sidecar of an image, beside it or for all runs of its task."""
    kind, tr = recipe.chosen["repetition time"], clock.tr
    content: dict[str, Any] = {
        "text": {"RepetitionTime": f"{tr:g}"},
        "milliseconds": {"RepetitionTime": 1000 * tr},
        "null": {"RepetitionTime": None},
        "equal volume times": {"VolumeTiming": [round(float(t), 4) for t in clock.times]},
        "unequal volume times": {"VolumeTiming": [round(float(t), 4) for t in clock.times]},
        "start time": {"RepetitionTime": tr, "StartTime": tr / 2},
        "header": {},
        "header in milliseconds": {},
        "header without unit, in milliseconds": {},
        "nowhere": {},
    }.get(kind, {"RepetitionTime": tr})
    content["TaskName"] = entities["task"]
    if kind == "sidecar at the root":
        path = root / f"task-{entities['task']}_bold.json"
    path.write_text(json.dumps(content))
