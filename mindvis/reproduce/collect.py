"""Results of all runs of a benchmark as one table, and what is missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvis.console import say
from mindvis.decoding import compare
from mindvis.errors import MindVisError
from mindvis.files import write_json, write_text
from mindvis.metrics.table import grid, interval, number, p_value
from mindvis.metrics.verdict import first_line
from mindvis.reproduce.definition import Benchmark, Run
from mindvis.reproduce.ledger import Ledger

RESULTS = "results.json"
TABLE = "results.md"


def collect_runs(benchmark: Benchmark, runs: Sequence[Run], root: Path) -> dict[str, Any]:
    """Write results.json and results.md into the benchmark's folder, and print the table.

    Args:
        benchmark: What was run.
        runs: All that should be there.
        root: The benchmark's folder.

    Returns:
        What results.json holds.

    Raises:
        MindVisError: Runs are missing; what is there was written first.
        DataError: Runs were evaluated by different protocols.
    """
    ledger = Ledger(root)
    lacks = {_name(run): lacking(run, ledger) for run in runs}
    found = {
        _name(run): compare.read_run(run.results.parent, _name(run))
        for run in runs
        if not lacks[_name(run)]
    }
    for other in list(found.values())[1:]:
        compare.check_protocols(next(iter(found.values())), other)
    missing = {name: reason for name, reason in lacks.items() if reason}
    content = _content(benchmark, runs, found, missing)
    write_json(root / RESULTS, content)
    if found:
        text = "\n\n".join(table for table in (subject_table(content), run_table(content)) if table)
        write_text(root / TABLE, f"# {benchmark.name}: {benchmark.title}\n\n{_fenced(text)}\n")
        say(text)
        say(f"\nresults: {root / RESULTS}, {root / TABLE}")
    if missing:
        lines = [f"{name} ({step})" for name, step in missing.items()]
        raise MindVisError(
            f"{len(missing)} of {len(runs)} runs are missing: {', '.join(lines)}",
            remedy=f"run `mindvis reproduce {benchmark.name}` again to finish them",
        )
    return content


def _name(run: Run) -> str:
    return f"{run.subject}/seed{run.seed}"


def _fenced(text: str) -> str:
    return f"```\n{text}\n```"


def lacking(run: Run, ledger: Ledger) -> str:
    """The first step of a run whose output is not there, or older than one that it follows.

    Empty where the results are there and every output was made from those that precede it now.
    """
    if not run.results.is_file():
        task = next(task for task in run.tasks if not task.done)
        return f"{task.step} has not made {task.makes}"
    for place, task in enumerate(run.tasks):
        if task.done and not ledger.current(run.tasks, place):
            return f"{task.step} was done before a step that it follows was done anew"
    return ""


def _content(
    benchmark: Benchmark,
    runs: Sequence[Run],
    found: Mapping[str, compare.Run],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    """What results.json holds."""
    metrics = list(next(iter(found.values())).content["metrics"]) if found else []
    by_subject = {
        subject: [found[_name(r)] for r in runs if r.subject == subject and _name(r) in found]
        for subject in benchmark.subjects
    }
    subjects = {
        subject: {metric: _over_seeds(there, metric) for metric in metrics}
        for subject, there in by_subject.items()
        if there
    }
    return {
        "format": "mindvis-benchmark",
        "version": 1,
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "seeds": list(benchmark.seeds),
        "runs": {name: _entry(run) for name, run in found.items()},
        "subjects": subjects,
        "across_subjects": {metric: _over_subjects(subjects, metric) for metric in metrics},
        "missing": dict(missing),
    }


def _entry(run: compare.Run) -> dict[str, Any]:
    """What is kept of a run."""
    keys = ("metrics", "headline", "transductive", "selected_on", "stimuli", "draws")
    return {**{key: run.content[key] for key in keys}, "first_line": first_line(run.content)}


def _over_seeds(runs: Sequence[compare.Run], metric: str) -> dict[str, Any]:
    """Mean and ends over the seeds of one subject; what is null anywhere is null."""
    values = [(run.content["metrics"].get(metric) or {}).get("value") for run in runs]
    return _spread([v for v in values if v is not None] if None not in values else [], "seeds")


def _over_subjects(subjects: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Mean and ends over subjects: each of them is a replication, so there is no interval."""
    values = [entries[metric]["mean"] for entries in subjects.values()]
    return _spread([v for v in values if v is not None] if None not in values else [], "subjects")


def _spread(values: Sequence[float], of: str) -> dict[str, Any]:
    if not values:
        return {"mean": None, "lowest": None, "highest": None, of: 0}
    ends = {"lowest": min(values), "highest": max(values), of: len(values)}
    return {"mean": float(np.mean(values)), **ends}


def subject_table(content: Mapping[str, Any]) -> str:
    """Metrics by row, subjects by column: means over seeds, then over subjects with the ends."""
    subjects, first = content["subjects"], next(iter(content["runs"].values()))
    rows = [["mean over seeds", *subjects, "all", "lowest to highest"]]
    for metric, across in content["across_subjects"].items():
        if across["mean"] is None:
            continue
        cells = [number(metric, entries[metric]["mean"]) for entries in subjects.values()]
        ends = interval(metric, (across["lowest"], across["highest"]))
        title = first["metrics"][metric]["title"]
        rows.append([title, *cells, number(metric, across["mean"]), ends])
    return grid(rows) if len(rows) > 1 else ""


def run_table(content: Mapping[str, Any]) -> str:
    """One row for each run, its headline and its verdict; then the whole first line of each."""
    rows = [["run", "headline", "value", "95 % interval", "chance", "p", "verdict"]]
    for name, run in content["runs"].items():
        metric = run["headline"]
        if run["metrics"][metric]["value"] is None:
            metric = next(m for m, e in run["metrics"].items() if e["value"] is not None)
        entry = run["metrics"][metric]
        rows.append(
            [
                name,
                entry["title"],
                number(metric, entry["value"]),
                interval(metric, entry["ci95"]),
                number(metric, entry["chance"]),
                p_value(entry["p"]),
                run["first_line"].split(":")[0],
            ]
        )
    reasons = [f"{name}: {run['first_line']}" for name, run in content["runs"].items()]
    return "\n".join([grid(rows), "", *reasons])
