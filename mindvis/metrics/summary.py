"""From scores of single pictures to what is reported: means, intervals, controls, strata."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.protocols import PROTOCOLS, Metric
from mindvis.metrics.statistics import FEWEST, bootstrap_interval, pairing_p
from mindvis.seeding import numpy_generator

Floats = NDArray[np.float64]
SHUFFLED = "shuffled-brain"
MEAN_BRAIN = "mean-brain"
RIDGE = "ridge"
CONTROLS = {
    SHUFFLED: "the same pictures paired with the stimuli at random: the exact mean over all "
    "pairings, true ones included, which is what the permutation test draws from",
    MEAN_BRAIN: "pictures decoded from the mean training response, compared with every stimulus",
    RIDGE: "ridge regression from the same voxels to pixels",
}


@dataclass(frozen=True)
class SubjectScores:
    """Everything measured on one subject's pictures.

    Args:
        subject: Its id.
        stimuli: Ids of the test stimuli.
        seen: bool (stimuli,), whether the class had brain responses in training; None if unknown.
        draws: For each metric (stimuli, draws): scores of the decoded pictures.
        pairs: For each metric (stimuli, stimuli): truth by row, whose picture by column, mean over
            draws.
        controls: For each control and metric (stimuli,): score of the control, by truth.
    """

    subject: str
    stimuli: tuple[str, ...]
    seen: NDArray[np.bool_] | None
    draws: dict[str, Floats]
    pairs: dict[str, Floats]
    controls: dict[str, dict[str, Floats]] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How uncertainty is computed.

    Args:
        bootstrap: Resamples of an interval.
        permutations: Permutations of a p-value.
        seed: Of both.
    """

    bootstrap: int = 10_000
    permutations: int = 10_000
    seed: int = 0


Rows = Callable[[SubjectScores], NDArray[np.bool_]]


def every_row(scores: SubjectScores) -> NDArray[np.bool_]:
    """All stimuli."""
    return np.ones(len(scores.stimuli), dtype=bool)


def by_stimulus(subjects: Iterable[tuple[Sequence[str], Floats]]) -> tuple[list[str], Floats]:
    """Mean over subjects for each stimulus; what is not finite is left out.

    Args:
        subjects: For each subject the ids and one value for each.

    Returns:
        Sorted ids and their means (stimuli,): the independent units.
    """
    found: dict[str, list[float]] = {}
    for ids, values in subjects:
        for name, value in zip(ids, values.tolist(), strict=True):
            if np.isfinite(value):
                found.setdefault(name, []).append(value)
    names = sorted(found)
    return names, np.array([np.mean(found[name]) for name in names], dtype=np.float64)


def summarise(
    subjects: Sequence[SubjectScores],
    metrics: Sequence[Metric],
    settings: Settings,
    rows: Rows = every_row,
    missing: str = "",
) -> dict[str, Any]:
    """Metrics and controls of some subjects, over some of their stimuli.

    Args:
        subjects: One or several; a stimulus counts once, with its mean over subjects.
        metrics: What to report.
        settings: Of intervals and p-values.
        rows: Which stimuli of a subject.
        missing: Why judged metrics are absent, where they are.

    Returns:
        `metrics` and `controls`, as in `metrics.json`.
    """
    chosen = [(scores, rows(scores)) for scores in subjects]
    table = {m.name: _metric_entry(chosen, m, settings, missing) for m in metrics}
    controls = {
        control: {m.name: _control_entry(chosen, control, m, settings) for m in metrics}
        for control in CONTROLS
        if control == SHUFFLED or any(control in scores.controls for scores in subjects)
    }
    return {"metrics": table, "controls": controls}


Chosen = Sequence[tuple[SubjectScores, NDArray[np.bool_]]]


def _values(
    chosen: Chosen, read: Callable[[SubjectScores], Floats | None]
) -> tuple[list[str], Floats]:
    """Stimulus means of one quantity over the chosen rows of those subjects that have it."""
    parts = []
    for scores, mask in chosen:
        values = read(scores)
        if values is not None:
            parts.append((np.array(scores.stimuli)[mask].tolist(), values[mask]))
    return by_stimulus(parts)


def _interval(values: Floats, settings: Settings, *parts: object) -> dict[str, Any]:
    """Mean, interval and n of stimulus means, with the reason for whatever is null."""
    if not len(values):
        return {"value": None, "ci95": None, "n": 0, "reason": "no stimulus has this score"}
    generator = numpy_generator(settings.seed, "bootstrap", *parts)
    interval = bootstrap_interval(values, generator, settings.bootstrap)
    entry: dict[str, Any] = {"value": float(values.mean()), "ci95": interval, "n": len(values)}
    if interval is None:
        entry["ci95_reason"] = f"{len(values)} stimuli; an interval needs at least {FEWEST}"
    return entry


def _metric_entry(
    chosen: Chosen, metric: Metric, settings: Settings, missing: str
) -> dict[str, Any]:
    """One metric of the decoded pictures."""
    facts = {
        "title": metric.title,
        "unit": "stimulus",
        "protocol": metric.protocol,
        "definition": PROTOCOLS[metric.protocol],
        "better": metric.better,
        "chance": metric.chance,
    }
    if not any(metric.name in scores.draws for scores, _ in chosen):
        reason = missing if metric.judged and missing else "not computed for these pictures"
        return {"value": None, "ci95": None, "n": 0, "p": None, "reason": reason, **facts}
    names, values = _values(
        chosen, lambda s: s.draws[metric.name].mean(1) if metric.name in s.draws else None
    )
    entry = _interval(values, settings, metric.name)
    return {**entry, "p": _p_value(chosen, names, metric, settings), **facts}


def _p_value(
    chosen: Chosen, names: Sequence[str], metric: Metric, settings: Settings
) -> float | None:
    """Permutation p of the pairing; None where pairs were not compared or there is only one."""
    tables, counts = [], dict.fromkeys(names, 0)
    for scores, mask in chosen:
        if metric.name not in scores.pairs:
            continue
        table = scores.pairs[metric.name]
        kept = np.flatnonzero(mask & np.isfinite(table.diagonal()))
        ids = [scores.stimuli[i] for i in kept]
        for name in ids:
            counts[name] += 1
        tables.append((metric.sign * table[np.ix_(kept, kept)], ids))
    if len(names) < 2 or not all(np.isfinite(table).all() for table, _ in tables):
        return None
    weights = [np.array([1 / (counts[name] * len(names)) for name in ids]) for _, ids in tables]
    generator = numpy_generator(settings.seed, "permutation", metric.name)
    return pairing_p([table for table, _ in tables], weights, generator, settings.permutations)


def _control_entry(
    chosen: Chosen, control: str, metric: Metric, settings: Settings
) -> dict[str, Any]:
    """One metric of one control."""

    def read(scores: SubjectScores) -> Floats | None:
        if control != SHUFFLED:
            return scores.controls.get(control, {}).get(metric.name)
        # the mean of a row: what this truth scores under a random pairing
        return scores.pairs[metric.name].mean(1) if metric.name in scores.pairs else None

    return _interval(_values(chosen, read)[1], settings, control, metric.name)


def strata(
    subjects: Sequence[SubjectScores],
    metrics: Sequence[Metric],
    settings: Settings,
    missing: str = "",
) -> dict[str, Any]:
    """The same summary for stimuli of seen and of unseen classes; empty where that is unknown."""
    known = [scores for scores in subjects if scores.seen is not None]
    choices: dict[str, Rows] = {
        "seen": lambda s: every_row(s) if s.seen is None else s.seen,
        "unseen": lambda s: every_row(s) if s.seen is None else ~s.seen,
    }
    return {
        name: summarise(known, metrics, settings, rows, missing)
        for name, rows in choices.items()
        if any(rows(scores).any() for scores in known)
    }
