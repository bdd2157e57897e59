"""Did the decoder beat its controls: paired differences, and one sentence for each that it lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.comparison import crossed_interval
from mindvis.metrics.protocols import PIXEL_CORRELATION, Metric
from mindvis.metrics.statistics import FEWEST, bootstrap_interval
from mindvis.metrics.summary import (
    NEAREST_PICTURE,
    Settings,
    SubjectScores,
    by_stimulus,
    control_rows,
)
from mindvis.metrics.table import number
from mindvis.seeding import numpy_generator

Floats = NDArray[np.float64]
TELLS = ", but tells more of what was seen than it"
CLOSER = {
    True: "closer to it than true pictures are to theirs",
    False: "not closer to it than true pictures are to theirs",
}
# Naming the class of a training picture is no copying of it: a copy shows in the pixels.
CHECKED_BY = {NEAREST_PICTURE: PIXEL_CORRELATION}


def check_controls(
    subjects: Sequence[SubjectScores],
    summary: Mapping[str, Any],
    metrics: Sequence[Metric],
    headline: str,
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """Whether the decoded pictures are better than those of each control.

    A control is passed when the whole 95 % interval of decoder minus control, paired by stimulus,
    lies on the better side of zero. The metric is the headline. Pictures of a control that are
    compared with every stimulus are a sample too: the interval then holds their variation as well.

    The training picture nearest to the decoded one is compared by pixel correlation, and failed
    only by copies, however they score: pictures that tell nothing of what was seen which it does
    not tell, and that are, with their whole interval, nearer to it than the true pictures are to
    theirs. A decoder that paints badly what it saw is no copy, and a blurred copy is one.

    Args:
        subjects: Scores; a stimulus counts once, with its mean over subjects.
        summary: `metrics` and `controls` of all subjects.
        metrics: What is reported.
        headline: Metric that leads the results; pixel correlation takes its place where it is null.
        settings: Of intervals.

    Returns:
        For each control: metric, difference (better is positive), ci95, n, passed (None: not
        tested), sentence, and `above_chance`: whether the control alone is better than chance with
        its whole interval, as where classes are unequally frequent.
    """
    known = {metric.name: metric for metric in metrics}
    led = headline if summary["metrics"][headline]["value"] is not None else PIXEL_CORRELATION
    return {
        control: _check(subjects, control, known[CHECKED_BY.get(control, led)], entries, settings)
        for control, entries in summary["controls"].items()
    }


def failed(checks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Sentence of each control that was tested and not passed."""
    return {name: check["sentence"] for name, check in checks.items() if check["passed"] is False}


def _check(
    subjects: Sequence[SubjectScores],
    control: str,
    metric: Metric,
    entries: Mapping[str, Any],
    settings: Settings,
) -> dict[str, Any]:
    """One control by one metric."""
    tables = []
    for scores in subjects:
        own = control_rows(scores, control, metric.name)
        if own is not None and metric.name in scores.draws:
            gain = scores.draws[metric.name].mean(1)[:, None] - own.reshape(len(own), -1)
            tables.append((scores.stimuli, metric.sign * gain))
    names, values = by_stimulus((ids, table.mean(1)) for ids, table in tables)
    result = {"metric": metric.name, "n": len(names), "above_chance": _above(entries, metric)}
    if len(names) < FEWEST:
        sentence = f"{control}: not tested, {len(names)} stimuli have scores of both"
        return {**result, "difference": None, "ci95": None, "passed": None, "sentence": sentence}
    interval = _interval(names, values, tables, settings, control)
    difference = float(values.mean())
    better = interval is not None and interval[0] > 0
    result |= {"difference": difference, "ci95": interval, "passed": better}
    sentence = _sentence(control, metric, difference, interval, better)
    if control == NEAREST_PICTURE:
        tells = _above_zero([(s.stimuli, s.told_beyond) for s in subjects], "told", settings)
        closer = _above_zero([(s.stimuli, s.closeness) for s in subjects], "closeness", settings)
        result["passed"] = tells or not closer
        more = "" if better else TELLS
        sentence += more if tells else f", tells no more of what was seen, and {CLOSER[closer]}"
    return {**result, "sentence": sentence}


def _above_zero(
    parts: Sequence[tuple[Sequence[str], Floats | None]], purpose: str, settings: Settings
) -> bool:
    """Whether the whole interval of a quantity of stimuli is above zero."""
    values = by_stimulus([(ids, part) for ids, part in parts if part is not None])[1]
    generator = numpy_generator(settings.seed, purpose)
    interval = bootstrap_interval(values, generator, settings.bootstrap)
    return interval is not None and interval[0] > 1e-9  # equal pictures may differ by rounding


def _above(entries: Mapping[str, Any], metric: Metric) -> bool | None:
    """Whether a control is above chance with its whole interval; None where that is unknown."""
    interval = entries[metric.name]["ci95"]
    if metric.chance is None or interval is None:
        return None
    # a mean of values at chance may miss it by rounding
    gains = [metric.sign * (end - metric.chance) for end in interval]
    return bool(min(gains) > 1e-9)


def _interval(
    names: Sequence[str],
    values: Floats,
    tables: Sequence[tuple[Sequence[str], Floats]],
    settings: Settings,
    control: str,
) -> tuple[float, float] | None:
    """Over stimuli, and over the control's pictures where it has several for each stimulus."""
    generator = numpy_generator(settings.seed, "control", control)
    if all(table.shape[1] == 1 for _, table in tables):
        return bootstrap_interval(values, generator, settings.bootstrap)
    place = {name: i for i, name in enumerate(names)}
    finite, rows = [], []
    for ids, table in tables:
        kept = np.flatnonzero(np.isfinite(table).all(1)).tolist()
        rows.append(np.array([place[ids[i]] for i in kept], dtype=np.intp))
        finite.append(table[kept])
    return crossed_interval(finite, rows, generator, settings.bootstrap)


def _sentence(
    control: str,
    metric: Metric,
    difference: float,
    interval: tuple[float, float] | None,
    better: bool,
) -> str:
    """What the check says, in words."""
    verb = "better" if better else "not better"
    ends = "" if interval is None else f", 95 % {_points(metric, interval[0], interval[1])}"
    return (
        f"{verb} than {control.replace('-', ' ')} by {metric.title} "
        f"({_points(metric, difference)}{ends})"
    )


def _points(metric: Metric, *values: float) -> str:
    """Differences with their signs, in the units of the metric."""
    return " to ".join(
        ("+" if value >= 0 else "−") + number(metric.name, abs(value))  # noqa: RUF001
        for value in values
    )
