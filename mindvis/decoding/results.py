"""What `mindvis evaluate` writes: the content of metrics.json, the table of single pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mindvis.decoding.keys import normal
from mindvis.decoding.leakage import Leakage
from mindvis.decoding.scoring import Options, SubjectResult
from mindvis.files import atomic_path
from mindvis.metrics.checks import check_controls, failed
from mindvis.metrics.features import Judge
from mindvis.metrics.labels import label_sentence
from mindvis.metrics.protocols import N_WAY, N_WAY_TRUE_LABEL, PROTOCOLS, Metric
from mindvis.metrics.report import Gallery
from mindvis.metrics.summary import (
    CEILINGS,
    CONTROLS,
    STRATA,
    Settings,
    across_subjects,
    strata,
    summarise,
)
from mindvis.provenance import read_lineage, software_versions

FORMAT = "mindvis-metrics"
VERSION = 1
APART = frozenset(
    {"judge_right", "judge_labels", "judge_note", "noise_ceiling", "truths"}
)  # notes that stand elsewhere
NO_JUDGE = "no judge was given; name an image classifier with --judge"


def compose(
    config: Mapping[str, Any],
    results: Sequence[SubjectResult],
    options: Options,
    settings: Settings,
    metrics: Sequence[Metric],
    leakage: Leakage,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        config: Options of the decoding run.
        results: One for each subject.
        options: What they were scored with.
        settings: Of intervals and p-values.
        metrics: What is reported.
        leakage: Whether the model met what it is scored on.
    """
    scores = [result.scores for result in results]
    judged = _judge_entry(results, options.judge)
    metrics = [_with_reason(metric, results, options.judge) for metric in metrics]
    missing = "" if options.judge is not None else NO_JUDGE
    summary = summarise(scores, metrics, settings, missing=missing)
    subjects = {
        result.scores.subject: {
            **summarise([result.scores], metrics, settings, missing=missing),
            "strata": strata([result.scores], metrics, settings, missing),
            "stimuli": len(result.scores.stimuli),
            "notes": {k: v for k, v in result.notes.items() if k not in APART},
        }
        for result in results
    }
    checks = check_controls(scores, summary, metrics, N_WAY, settings)
    return {
        "format": FORMAT,
        "version": VERSION,
        "transductive": _transductive(options.model, config),
        "selected_on": leakage.selected_on,
        "leakage": leakage.to_dict(),
        "headline": N_WAY,
        "n_way": options.n_way,
        "top_k": options.top_k,
        "stimuli": len({name for s in scores for name in s.stimuli}),
        "draws": max(len(result.pictures.draws) for result in results),
        **summary,
        "control_checks": checks,
        "controls_failed": failed(checks),
        "noise_ceiling": {r.scores.subject: _noise_ceiling(r) for r in results},
        "strata": strata(scores, metrics, settings, missing),
        "subjects": subjects,
        "across_subjects": across_subjects(subjects),
        "truths": {r.scores.subject: _truths(r) for r in results},
        "judge": judged,
        "protocols": PROTOCOLS,
        "control_definitions": CONTROLS,
        "ceiling_definitions": CEILINGS,
        "stratum_definitions": STRATA,
        "controls_missing": _missing_controls(results),
        "statistics": {
            "interval": "95 %, BCa bootstrap of the mean over stimuli",
            "resamples": settings.bootstrap,
            "p": "one-sided, permutation of which picture belongs to which stimulus",
            "permutations": settings.permutations,
            "controls": "passed where the whole 95 % interval of decoder minus control, paired by "
            "stimulus, is on the better side of zero",
            "seed": settings.seed,
        },
        "decoding": dict(config),
        "software": software_versions(),
    }


def _transductive(model: str | None, config: Mapping[str, Any]) -> bool | None:
    """Whether the model was tuned on test responses; None where its lineage is gone."""
    if isinstance(config.get("transductive"), bool):
        return bool(config["transductive"])
    if model is None or not Path(model).exists():
        return None
    return bool(read_lineage(model)["transductive"])


def _judge_entry(results: Sequence[SubjectResult], judge: Judge | None) -> dict[str, Any] | None:
    """Which judge it was, and how often it is right about the true pictures."""
    if judge is None:
        return None
    right: dict[str, bool] = {}
    labels: dict[str, str] = {}
    for result in results:
        right |= result.notes["judge_right"]
        labels |= result.notes["judge_labels"]
    remarks = [result.notes["judge_note"] for result in results]
    remarks = [label_sentence(list(labels.values()), judge.labels), *remarks]
    accuracy = float(np.mean(list(right.values()))) if right else None
    return {
        "name": judge.name,
        "classes": len(judge.labels),
        "weights_sha256": judge.digest,
        "accuracy_on_truth": {"value": accuracy, "n": len(right), "unit": "stimulus"},
        "labels": {"known": len(right), "of": len(labels)},
        "remarks": list(dict.fromkeys(remark for remark in remarks if remark)),
    }


def _with_reason(metric: Metric, results: Sequence[SubjectResult], judge: Judge | None) -> Metric:
    """A metric, with the reason where the judge knows no label of the stimuli."""
    if metric.name != N_WAY_TRUE_LABEL or judge is None:
        return metric
    labels = [label for result in results for label in result.notes["judge_labels"].values()]
    return replace(metric, reason=label_sentence(labels, judge.labels))


def _truths(result: SubjectResult) -> dict[str, Any]:
    """Which pictures the truths were, and the size that all pictures were compared at."""
    return {
        "picture_size": result.notes["picture_size"],
        "sha256": {normal(name): digest for name, digest in result.notes["truths"].items()},
    }


def _noise_ceiling(result: SubjectResult) -> dict[str, Any]:
    """Signal in a subject's responses, or why it is not known."""
    known = result.notes["noise_ceiling"]
    return known if isinstance(known, dict) else {"reason": known}


def _missing_controls(results: Sequence[SubjectResult]) -> dict[str, str]:
    """Reason for each control that is absent, by control and subject."""
    return {
        f"{control} of {result.scores.subject}": result.notes[control]
        for control in CONTROLS
        for result in results
        if control in result.notes
    }


def sample_rows(result: SubjectResult, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """One row of per_sample.csv for each picture of a subject."""
    pictures, rows = result.pictures, []
    for i, stimulus in enumerate(pictures.stimuli):
        for j, draw in enumerate(pictures.draws):
            row: dict[str, Any] = {
                "sample_id": f"{pictures.subject}/{stimulus}/{draw}",
                "subject": pictures.subject,
                "stimulus": stimulus,
                "label": pictures.labels[i],
                "category": pictures.categories[i],
                "seen": "" if pictures.seen is None else str(bool(pictures.seen[i])).lower(),
                "draw": draw,
                "rank": "" if result.ranks is None else int(result.ranks[i, j]),
                "judged_as": "" if result.named is None else str(result.named[i, j]),
            }
            for metric in metrics:
                scores = result.scores.draws.get(metric.name)
                row[metric.name] = "" if scores is None else scores[i, j]
            rows.append(row)
    return rows


def write_samples(path: Path, results: Sequence[SubjectResult], metrics: Sequence[Metric]) -> None:
    """The table of single pictures."""
    rows = [row for result in results for row in sample_rows(result, metrics)]
    with atomic_path(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, lineterminator="\n")


def gallery(result: SubjectResult) -> Gallery:
    """What the report shows of a subject."""
    return Gallery(
        subject=result.pictures.subject,
        stimuli=result.pictures.stimuli,
        labels=result.pictures.labels,
        categories=result.pictures.categories,
        seen=result.pictures.seen,
        truths=result.truths,
        decoded=result.decoded,
        scores={name: values.mean(1) for name, values in result.scores.draws.items()},
        named=result.named,
        hits=None if result.ranks is None else result.ranks == 0,
        ranks=result.ranks,
    )
