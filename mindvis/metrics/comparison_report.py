"""Runs side by side: the table of differences, as text and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.charts import forest, plain_yaml
from mindvis.metrics.report import fill_template
from mindvis.metrics.table import grid, interval, number, p_value, signed
from mindvis.metrics.thumbnails import choose_step, data_uri
from mindvis.metrics.verdict import LABELS, first_line, verdict

LEVEL = 0.05  # of all tests together


def comparison_table(content: Mapping[str, Any]) -> str:
    """The comparison as lines of text, a block for each run.

    Args:
        content: What comparison.json holds.
    """
    reference, blocks = content["reference"], []
    for name, run in content["runs"].items():
        blocks.append(f"{name}: {first_line(run)}")
    for name, entries in content["differences"].items():
        rows = [["", reference, name, "difference", "95 % interval", "p", "p (Holm)"]]
        for metric, entry in entries.items():
            values = [
                number(metric, content["runs"][run]["metrics"][metric]["value"])
                for run in (reference, name)
            ]
            rows.append(
                [
                    content["metrics"][metric]["title"],
                    *values,
                    signed(metric, entry["value"]),
                    interval(metric, entry["ci95"]),
                    p_value(entry["p"]),
                    p_value(entry["p_holm"]),
                ]
            )
        blocks.append("\n" + grid(rows))
    statistics = content["statistics"]
    blocks.append(f"\np: {statistics['p']}; corrected by {statistics['correction']}")
    blocks += content.get("reservations", [])
    return "\n".join(blocks)


@dataclass(frozen=True)
class Example:
    """One stimulus as every run decoded it.

    Args:
        section: Why it is shown.
        stimulus: Its id.
        truth: uint8 (height, width, 3).
        decoded: The first draw of each run.
    """

    section: str
    stimulus: str
    truth: NDArray[np.uint8]
    decoded: tuple[NDArray[np.uint8], ...]


def render_comparison(content: Mapping[str, Any], examples: Sequence[Example] = ()) -> str:
    """The comparison as one self-contained page.

    Args:
        content: What comparison.json holds.
        examples: Pictures side by side.
    """
    runs = content["runs"]
    pictures = [p for e in examples for p in (e.truth, *e.decoded)]
    step = choose_step(pictures, len(pictures)) if pictures else (None, None)
    sections: dict[str, list[tuple[str, str, list[str]]]] = {}
    for example in examples:
        uris = [data_uri(picture, step) for picture in example.decoded]
        row = (example.stimulus, data_uri(example.truth, step), uris)
        sections.setdefault(example.section, []).append(row)
    verdicts = {name: verdict(run) for name, run in runs.items()}
    return fill_template(
        "comparison.html",
        content=content,
        verdicts={n: (kind, text, LABELS[kind]) for n, (kind, text) in verdicts.items()},
        forest=forest({name: run["metrics"] for name, run in runs.items()}),
        sections=sections,
        significant=[
            (name, metric)
            for name, entries in content["differences"].items()
            for metric, entry in entries.items()
            if entry["p_holm"] is not None and entry["p_holm"] < LEVEL
        ],
        pixelated=bool(examples) and max(examples[0].truth.shape[:2]) <= 40,
        statistics=plain_yaml(content["statistics"]),
        signed=signed,
    )
