"""From scores of single pictures to what is reported: means, intervals, controls, strata."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.protocols import PROTOCOLS, Metric
from mindvis.metrics.statistics import FEWEST, bootstrap_interval, pairing_p, too_skewed
from mindvis.seeding import numpy_generator

Floats = NDArray[np.float64]
NARROW = (
    "{n} stimuli are too few for scores so skewed: the interval holds the mean less often than in "
    "95 of 100; ask p whether it is above chance"
)
SHUFFLED = "shuffled-brain"
MEAN_BRAIN = "mean-brain"
GAUSSIAN_BRAIN = "gaussian-brain"
PHASE_BRAIN = "phase-brain"
PRIOR = "prior"
NEAREST_BRAIN = "nearest-train-brain"
NEAREST_PICTURE = "nearest-train-picture"
RIDGE = "ridge"
FIRST_STAGE = "first-stage"
CONTROLS = {
    SHUFFLED: "the same pictures paired with the stimuli at random: the exact mean over all "
    "pairings, true ones included, which is what the permutation test draws from",
    MEAN_BRAIN: "pictures decoded from the mean training response, compared with every stimulus",
    GAUSSIAN_BRAIN: "pictures decoded from Gaussian noise as spread as a response, compared with "
    "every stimulus",
    PHASE_BRAIN: "pictures decoded from responses whose phases over voxels are random, compared "
    "with every stimulus",
    PRIOR: "pictures drawn without a condition, compared with every stimulus",
    NEAREST_BRAIN: "the training picture whose response correlates most with this one",
    NEAREST_PICTURE: "the training picture most like the decoded one, by correlation of 32-pixel "
    "thumbnails; each draw has its own",
    RIDGE: "ridge regression from the same voxels to pixels",
}
CEILINGS = {FIRST_STAGE: "the true picture through the model's first stage and back"}
STRATA = {
    "seen": "classes with brain responses in training",
    "unseen": "classes without brain responses in training",
    "in-generator": "pictures of the generator's training set, or nearly",
    "not-in-generator": "pictures that the generator was not trained on",
    "near-duplicate": "pictures with a near-duplicate among the training stimuli",
    "no-near-duplicate": "pictures without a near-duplicate among the training stimuli",
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
        controls: For each control and metric the score by truth: (stimuli,) where the control has
            one picture for each, (stimuli, pictures) where each of its pictures is compared with
            every stimulus.
        ceilings: The same for what no decoder can exceed.
        flags: For a stratum other than `seen` bool (stimuli,).
        closeness: (stimuli,): correlation of the decoded pictures with the training pictures
            nearest to them, less that of the true picture with its nearest, by thumbnails of 8
            pixels; None if unknown.
        told_beyond: (stimuli,): what they tell of the true picture that those training pictures
            do not, a partial correlation; None if unknown.
    """

    subject: str
    stimuli: tuple[str, ...]
    seen: NDArray[np.bool_] | None
    draws: dict[str, Floats]
    pairs: dict[str, Floats]
    controls: dict[str, dict[str, Floats]] = field(default_factory=dict)
    ceilings: dict[str, dict[str, Floats]] = field(default_factory=dict)
    flags: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    closeness: Floats | None = None
    told_beyond: Floats | None = None


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
        `metrics`, `controls` and `ceilings`, as in `metrics.json`.
    """
    chosen = [(scores, rows(scores)) for scores in subjects]
    table = {m.name: _metric_entry(chosen, m, settings, missing) for m in metrics}
    controls = {
        control: {m.name: _control_entry(chosen, control, m, settings) for m in metrics}
        for control in CONTROLS
        if control == SHUFFLED or any(control in scores.controls for scores in subjects)
    }
    ceilings = {
        name: {m.name: _ceiling_entry(chosen, name, m, settings) for m in metrics}
        for name in CEILINGS
        if any(name in scores.ceilings for scores in subjects)
    }
    return {"metrics": table, "controls": controls, "ceilings": ceilings}


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
        stimuli = "1 stimulus" if len(values) == 1 else f"{len(values)} stimuli"
        entry["ci95_reason"] = f"{stimuli}; an interval needs at least {FEWEST}"
    elif too_skewed(values):
        entry["ci95_warning"] = NARROW.format(n=len(values))
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
        "weights": dict(metric.weights),
    }
    if not any(metric.name in scores.draws for scores, _ in chosen):
        reason = (missing if metric.judged else "") or metric.reason or _why_absent(chosen)
        return {"value": None, "ci95": None, "n": 0, "p": None, "reason": reason, **facts}
    names, values = _values(
        chosen, lambda s: s.draws[metric.name].mean(1) if metric.name in s.draws else None
    )
    entry = _interval(values, settings, metric.name)
    p = _p_value(chosen, names, metric, settings)
    if p is None:
        only_one = "one stimulus has nothing to be exchanged with"
        entry["p_reason"] = only_one if len(names) < 2 else "only true pairs were compared"
    return {**entry, "p": p, **facts}


def _why_absent(chosen: Chosen) -> str:
    """Why a score that compares stimuli, or draws of one, was not computed."""
    if all(len(scores.stimuli) < 2 for scores, _ in chosen):
        return "there is one stimulus; this score compares two or more"
    draws = [table.shape[1] for scores, _ in chosen for table in scores.draws.values()]
    if max(draws, default=0) < 2:
        return "there is one draw of each stimulus; this score compares two or more"
    return "not computed for these pictures"


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
        own = control_rows(scores, control, metric.name)
        return None if own is None else own.reshape(len(own), -1).mean(1)

    return _interval(_values(chosen, read)[1], settings, control, metric.name)


def control_rows(scores: SubjectScores, control: str, metric: str) -> Floats | None:
    """A control's scores by truth, (stimuli,) or (stimuli, pictures); None where it has none."""
    if control != SHUFFLED:
        return scores.controls.get(control, {}).get(metric)
    # the mean of a row: what this truth scores under a random pairing
    return scores.pairs[metric].mean(1) if metric in scores.pairs else None


def _ceiling_entry(
    chosen: Chosen, ceiling: str, metric: Metric, settings: Settings
) -> dict[str, Any]:
    """One metric of one ceiling."""

    def read(scores: SubjectScores) -> Floats | None:
        return scores.ceilings.get(ceiling, {}).get(metric.name)

    return _interval(_values(chosen, read)[1], settings, ceiling, metric.name)


def strata(
    subjects: Sequence[SubjectScores],
    metrics: Sequence[Metric],
    settings: Settings,
    missing: str = "",
) -> dict[str, Any]:
    """The same summary for some of the stimuli: parts that are known and not empty.

    Args:
        subjects: With `seen` and `flags`.
        metrics: What to report.
        settings: Of intervals and p-values.
        missing: Why judged metrics are absent, where they are.

    Returns:
        A summary for each of `STRATA` that holds a stimulus.
    """
    parts = {}
    for name in STRATA:
        known = [scores for scores in subjects if stratum(scores, name) is not None]

        def rows(scores: SubjectScores, name: str = name) -> NDArray[np.bool_]:
            found = stratum(scores, name)
            return every_row(scores) if found is None else found

        if any(rows(scores).any() for scores in known):
            parts[name] = summarise(known, metrics, settings, rows, missing)
    return parts


def stratum(scores: SubjectScores, name: str) -> NDArray[np.bool_] | None:
    """Which stimuli of a subject are in a stratum; None where that is not known."""
    positive = {"unseen": "seen", "not-in-generator": "in-generator"}
    base = positive.get(name, name.removeprefix("no-"))
    flags = scores.seen if base == "seen" else scores.flags.get(base)
    if flags is None:
        return None
    return flags if base == name else ~flags


def across_subjects(subjects: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every subject by itself: the spread of their values, and how many are above chance.

    With a handful of subjects the question is in how many of them an effect is found, not whether
    their mean differs from chance.

    Args:
        subjects: For each its `metrics`, as `summarise` gives them.

    Returns:
        For each metric that any subject has: subjects, mean, lowest, highest, and `above_chance`,
        the number of subjects whose whole interval is better than chance (None without a chance).
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for part in subjects.values() for name in part["metrics"]):
        entries = [p["metrics"][name] for p in subjects.values() if name in p["metrics"]]
        entries = [entry for entry in entries if entry["value"] is not None]
        if entries:
            values = [entry["value"] for entry in entries]
            found[name] = {
                "subjects": len(values),
                "mean": float(np.mean(values)),
                "lowest": min(values),
                "highest": max(values),
                "above_chance": _count_above(entries),
            }
    return found


def _count_above(entries: Sequence[Mapping[str, Any]]) -> int | None:
    """How many intervals lie on the better side of chance."""
    if entries[0]["chance"] is None:
        return None
    higher = entries[0]["better"] == "higher"
    return sum(
        entry["ci95"] is not None
        and (entry["ci95"][0] > entry["chance"] if higher else entry["ci95"][1] < entry["chance"])
        for entry in entries
    )
