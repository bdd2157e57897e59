"""Numbers as people read them: single values, and the results as a table of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from mindvis.metrics.verdict import first_line

SKEWED_REMARK = "too few stimuli for scores so skewed: the interval may be too narrow, p is exact"
NOTHING = "–"  # noqa: RUF001 - an en dash, the sign for "no value" in tables


def is_share(metric: str) -> bool:
    """Whether a metric is a share of answers, shown in per cent."""
    return any(part in metric for part in ("n_way", "two_way", "retrieval"))


def number(metric: str, value: float | None) -> str:
    """A score: per cent for shares of answers, three or four decimals otherwise.

    >>> number("n_way", 0.5), number("ssim", 0.25), number("mse", 0.0381)
    ('50.0 %', '0.250', '0.0381')
    """
    if value is None:
        return NOTHING
    if is_share(metric):
        return f"{100 * value:.1f} %"
    return f"{value:.4f}" if metric == "mse" else f"{value:.3f}"


def signed(metric: str, value: float | None) -> str:
    """A difference of two scores, with its sign; shares differ by points.

    >>> signed("n_way", 0.031), signed("ssim", -0.25)
    ('+3.1 points', '-0.250')
    """
    if value is None:
        return NOTHING
    sign = "+" if value > 0 else ""
    return f"{sign}{number(metric, value)}".replace(" %", " points")


def interval(metric: str, ends: Sequence[float] | None) -> str:
    """A confidence interval, in the units of `number`.

    >>> interval("two_way_ssim", (0.5, 0.75))
    '50.0 to 75.0 %'
    """
    if ends is None:
        return NOTHING
    low, high = (number(metric, end) for end in ends)
    return f"{low.removesuffix(' %')} to {high}"


def flagged(metric: str, entry: Mapping[str, Any]) -> str:
    """An entry's interval, with a mark where it may be too narrow.

    >>> flagged("n_way", {"ci95": (0.01, 0.12), "ci95_warning": "too few"})
    '1.0 to 12.0 % *'
    """
    return interval(metric, entry.get("ci95")) + (" *" if "ci95_warning" in entry else "")


STRATA = {
    "seen": "seen classes",
    "unseen": "unseen classes",
    "in-generator": "in the generator's training set",
    "not-in-generator": "not in the generator's training set",
    "near-duplicate": "with a near-duplicate in training",
    "no-near-duplicate": "without a near-duplicate in training",
}


def stratum(name: str) -> str:
    """A stratum as people read it.

    >>> stratum("unseen"), stratum("bright")
    ('unseen classes', 'bright')
    """
    return STRATA.get(name, name.replace("-", " "))


def size(summary: Mapping[str, Any]) -> int:
    """Stimuli that a summary holds."""
    return max((entry["n"] for entry in summary["metrics"].values()), default=0)


def whole(summary: Mapping[str, Any]) -> list[str]:
    """Strata that hold every stimulus: a row of theirs would repeat the results."""
    return [name for name, part in summary["strata"].items() if size(part) == size(summary)]


def p_value(value: float | None) -> str:
    """A p-value; the smallest that the permutations can give is shown as it is.

    >>> p_value(0.0001), p_value(0.5)
    ('0.0001', '0.500')
    """
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left and the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def result_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Title, value, interval, chance, p and controls of each metric, after a heading row."""
    controls = list(summary["controls"])
    rows = [["", "value", "95 % interval", "chance", "p", *controls]]
    for name, entry in summary["metrics"].items():
        beside = [number(name, summary["controls"][c][name]["value"]) for c in controls]
        rows.append(
            [
                entry["title"],
                number(name, entry["value"]),
                flagged(name, entry),
                number(name, entry["chance"]),
                p_value(entry["p"]),
                *beside,
            ]
        )
    return rows


def text_table(content: Mapping[str, Any]) -> str:
    """The results as lines of text: the verdict, every metric, the headline by class and subject.

    Args:
        content: What metrics.json holds.
    """
    lines = [first_line(content), "", grid(result_rows(content))]
    headline = content["headline"]
    every = whole(content)
    groups = {stratum(n): part for n, part in content["strata"].items() if n not in every}
    if len(content["subjects"]) > 1:
        groups |= content["subjects"]
    if groups:
        title = content["metrics"][headline]["title"]
        rows = [[title, "value", "95 % interval", "stimuli"]]
        for name, part in groups.items():
            entry = part["metrics"][headline]
            value, ends = number(headline, entry["value"]), flagged(headline, entry)
            rows.append([name, value, ends, str(entry["n"])])
        lines += ["", grid(rows)]
    lines += _remarks(content)
    return "\n".join(lines)


def _remarks(content: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    remarks = [f"all stimuli: {stratum(name)}" for name in whole(content)]
    if content["transductive"]:
        remarks.append("transductive: the encoder was tuned on unlabelled test responses")
    judge = content["judge"]
    if judge is None:
        reason = content["metrics"][content["headline"]].get("reason", "")
        remarks.append(f"n-way accuracy is null: {reason}")
    elif judge["accuracy_on_truth"]["value"] is not None:
        share = number("n_way", judge["accuracy_on_truth"]["value"])
        known = str(judge["accuracy_on_truth"]["n"])
        if "labels" in judge:
            known += f" of {judge['labels']['of']}"
        pictures = f"the {known} true pictures whose labels it knows"
        remarks.append(f"judge {judge['name']}: right about {share} of {pictures}")
    remarks += (judge or {}).get("remarks", [])
    if any("ci95_warning" in entry for entry in content["metrics"].values()):
        remarks.append(f"* {SKEWED_REMARK}")
    remarks += [f"no {name}: {reason}" for name, reason in content["controls_missing"].items()]
    return ["", *remarks] if remarks else []
