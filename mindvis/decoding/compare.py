"""The `mindvis compare` command: runs on the same stimuli, metric by metric, paired."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.console import say
from mindvis.data.picture_files import read_picture
from mindvis.decoding.keys import normal
from mindvis.decoding.predictions import INDEX, read_predictions
from mindvis.decoding.results import FORMAT
from mindvis.errors import ConfigError, DataError
from mindvis.files import write_json, write_text
from mindvis.metrics.columns import column
from mindvis.metrics.comparison import align, holm, paired_difference
from mindvis.metrics.comparison_report import Example, comparison_table, render_comparison
from mindvis.metrics.summary import Settings, by_stimulus
from mindvis.records import read_table
from mindvis.seeding import numpy_generator

Floats = NDArray[np.float64]
METRICS, SAMPLES = "metrics.json", "per_sample.csv"
SHOWN = 8  # stimuli of each section of pictures
# what a comparison keeps of each run's metrics.json
KEPT = (
    "metrics",
    "transductive",
    "selected_on",
    "leakage",
    "control_checks",
    "controls_failed",
)


@dataclass(frozen=True)
class Run:
    """One evaluated run.

    Args:
        name: What to call it; unique among those compared.
        folder: Where its files are.
        content: Its metrics.json.
        samples: Its per_sample.csv.
    """

    name: str
    folder: Path
    content: dict[str, Any]
    samples: pd.DataFrame

    def scores(self, metric: str) -> tuple[list[str], Floats]:
        """Mean of a metric over draws, then over subjects, for each stimulus."""
        draws = self.samples.groupby(["subject", "stimulus"], sort=True)[metric].mean()
        return by_stimulus(
            (part.index.get_level_values("stimulus").tolist(), part.to_numpy(dtype=np.float64))
            for _, part in draws.groupby(level="subject")
        )


def compare(
    runs: list[str],
    output: str | None = None,
    bootstrap: int = 10_000,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare evaluated runs on the same stimuli; write comparison.json and comparison.html.

    Every run is compared with the first. The difference is paired by stimulus, its interval is
    bootstrapped over stimuli, its p-value comes from exchanging the two runs' scores within
    stimuli, and Holm's correction covers all metrics of all pairs.

    Args:
        runs: Folders that `mindvis evaluate` has scored, the reference first.
        output: Folder of the two files; by default nothing is written.
        bootstrap: Resamples of a 95 % interval.
        permutations: Random sign changes of a p-value.
        seed: Of both.

    Returns:
        What comparison.json holds.

    Raises:
        DataError: A folder was not evaluated, or the runs are of different stimuli or protocols.
    """
    if min(bootstrap, permutations) < 100:
        raise ConfigError(
            f"bootstrap is {bootstrap} and permutations {permutations}", "100 or more of each"
        )
    opened = read_runs(runs)
    for other in opened[1:]:
        check_comparable(opened[0], other)
    content = compare_runs(opened, Settings(bootstrap, permutations, seed))
    if output is not None:
        write_json(Path(output) / "comparison.json", content)
        panel = side_by_side(opened, content, seed)
        write_text(Path(output) / "comparison.html", render_comparison(content, panel))
    say(comparison_table(content))
    if output is not None:
        say(f"report: {Path(output) / 'comparison.html'}")
    return content


def read_runs(folders: Sequence[str]) -> list[Run]:
    """Evaluated runs, with the shortest names that tell them apart.

    Raises:
        ConfigError: Fewer than two are named, or one twice.
        DataError: One was not evaluated.
    """
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise ConfigError(f"the runs are {', '.join(folders) or 'none'}", "two or more, each once")
    return [read_run(path, name) for name, path in zip(short_names(paths), paths, strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The fewest last parts of each path that make all names different."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def read_run(folder: Path, name: str) -> Run:
    """An evaluated run.

    Args:
        folder: With metrics.json and per_sample.csv.
        name: What to call it.

    Raises:
        DataError: It was not evaluated, or its files are damaged.
    """
    for needed in (METRICS, SAMPLES):
        if not (folder / needed).is_file():
            raise DataError(
                f"{folder} has no {needed}", "an evaluated run", f"run `mindvis evaluate {folder}`"
            )
    try:
        content = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        known = content.get("format") == FORMAT
        samples = read_samples(folder / SAMPLES, content.get("metrics", {}))
    except (ValueError, UnicodeDecodeError, AttributeError) as error:
        raise DataError(
            f"the results in {folder} cannot be read ({error})", remedy="evaluate it again"
        ) from error
    if not known:
        raise DataError(f"{folder / METRICS} is of another format", f"format {FORMAT!r}")
    return Run(name, folder, content, samples)


def read_samples(path: Path, metrics: Iterable[str]) -> pd.DataFrame:
    """The table of single pictures: names as text, whatever they spell, and scores as numbers.

    Args:
        path: per_sample.csv.
        metrics: Columns that hold scores; an empty cell is NaN.

    Raises:
        RecordError: It is damaged or has no subjects and stimuli.
        DataError: It lists a picture twice, or a score is no number.
    """
    table = read_table(path, columns=("subject", "stimulus"))
    for name in ("subject", "stimulus"):
        table[name] = table[name].map(normal)
    keys = [name for name in ("subject", "stimulus", "draw") if name in table]
    twice = table[table.duplicated(keys)]
    if len(twice) and "draw" in keys:
        row = twice.iloc[0]
        raise DataError(
            f"{path} lists draw {row['draw']} of {row['stimulus']!r}, subject {row['subject']}, "
            "twice",
            "each picture once",
            "evaluate it again",
        )
    for name in metrics:
        if name in table:
            table[name] = [_score(cell, name, path) for cell in table[name]]
    return table


def _score(cell: str, metric: str, path: Path) -> float:
    """A cell as a number, NaN where it is empty."""
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise DataError(
            f"{metric} in {path} is {cell!r}", "a number or nothing", "evaluate it again"
        ) from None


def check_truths(first: Run, second: Run) -> None:
    """Refuse runs whose stimuli of one name are different pictures, or scored at other sizes.

    Runs that were evaluated before truths were recorded have none, and are not refused.

    Raises:
        DataError: With the first stimulus that differs, or both sizes.
    """
    one, other = (run.content.get("truths") or {} for run in (first, second))
    for subject in one.keys() & other.keys():
        pictures = [truths[subject]["sha256"] for truths in (one, other)]
        differ = [name for name in pictures[0] if pictures[0][name] != pictures[1].get(name)]
        if differ:
            raise DataError(
                f"{len(differ)} of {len(pictures[0])} stimuli of {subject} are other pictures in "
                f"{first.name} than in {second.name}, {differ[0]!r} the first: the truths have "
                "the same names and other pixels",
                "the same true pictures in both",
                "name stimuli alike in both, and evaluate both against one folder of truths",
            )
        sizes = ["{} x {}".format(*truths[subject]["picture_size"]) for truths in (one, other)]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"the pictures of {subject} are {sizes[0]} pixels in {first.name} and {sizes[1]} "
                f"in {second.name}",
                "one picture size, which the scores of pixels depend on",
                "bring the pictures to one size, and evaluate again",
            )


def unknown_truths(runs: Sequence[Run]) -> list[str]:
    """A sentence about the runs whose results do not say which pictures the truths were."""
    lacking = [run.name for run in runs if not run.content.get("truths")]
    if not lacking:
        return []
    return [
        f"{', '.join(lacking)} {'does' if len(lacking) == 1 else 'do'} not record the true "
        "pictures, so that stimuli were matched by name alone; evaluate again to have them compared"
    ]


def check_comparable(first: Run, second: Run) -> None:
    """Refuse runs whose numbers are different quantities or of different stimuli.

    Raises:
        DataError: With what differs.
    """
    pairs = [
        set(zip(run.samples["subject"], run.samples["stimulus"], strict=True))
        for run in (first, second)
    ]
    if pairs[0] != pairs[1]:
        alone = sorted(pairs[0] ^ pairs[1])
        raise DataError(
            f"{first.name} has {len(pairs[0])} stimuli of its subjects and {second.name} "
            f"{len(pairs[1])}; {'/'.join(alone[0])} is in one of them alone",
            "the same stimuli of the same subjects in both",
        )
    check_truths(first, second)
    check_protocols(first, second)
    if not shared_metrics(first, second):
        raise DataError(f"{first.name} and {second.name} have no metric in common")


def check_protocols(first: Run, second: Run) -> None:
    """Refuse runs whose numbers are different quantities.

    Raises:
        DataError: With what differs.
    """
    versions = [run.content.get("version") for run in (first, second)]
    if versions[0] != versions[1]:
        raise DataError(
            f"the results of {first.name} are of version {versions[0]} and those of {second.name} "
            f"of version {versions[1]}",
            "one version",
            "evaluate both with the same mindvis",
        )
    for metric in shared_metrics(first, second):
        column(metric, {run.name: run.content for run in (first, second)})


def shared_metrics(*runs: Run) -> list[str]:
    """Metrics by stimulus that every run has a value of, in the order of the first."""
    return [
        name
        for name in runs[0].content["metrics"]
        if all(
            (run.content["metrics"].get(name) or {}).get("value") is not None
            and name in run.samples
            for run in runs
        )
    ]


def compare_runs(runs: Sequence[Run], settings: Settings) -> dict[str, Any]:
    """The content of comparison.json.

    Args:
        runs: The reference first.
        settings: Of intervals and p-values.
    """
    metrics = shared_metrics(*runs)
    pairs = {
        run.name: {metric: _difference(runs[0], run, metric, settings) for metric in metrics}
        for run in runs[1:]
    }
    tested = {
        f"{name}\x1f{metric}": entry["p"]
        for name, entries in pairs.items()
        for metric, entry in entries.items()
        if entry["p"] is not None
    }
    corrected = holm(tested)
    for name, entries in pairs.items():
        for metric, entry in entries.items():
            entry["p_holm"] = corrected.get(f"{name}\x1f{metric}")
    return {
        "format": "mindvis-comparison",
        "version": 1,
        "reference": runs[0].name,
        "runs": {run.name: _entry(run) for run in runs},
        "metrics": {name: runs[0].content["metrics"][name] for name in metrics},
        "differences": pairs,
        "reservations": unknown_truths(runs),
        "statistics": {
            "unit": "stimulus",
            "interval": "95 %, BCa bootstrap of the mean difference over stimuli",
            "resamples": settings.bootstrap,
            "p": "two-sided, exchange of the two runs' scores within stimuli",
            "permutations": settings.permutations,
            "correction": f"Holm, over {len(tested)} tests",
            "seed": settings.seed,
        },
    }


def _difference(first: Run, second: Run, metric: str, settings: Settings) -> dict[str, Any]:
    """Second minus first, so that a gain over the reference is positive where more is better."""
    _, one, other = align(first.scores(metric), second.scores(metric))
    generator = numpy_generator(settings.seed, "compare", second.name, metric)
    found = paired_difference(other, one, generator, settings.bootstrap, settings.permutations)
    return {
        "value": found.value if found.n else None,
        "ci95": found.ci95,
        "p": found.p,
        "n": found.n,
        "better": first.content["metrics"][metric]["better"],
    }


def side_by_side(runs: Sequence[Run], content: dict[str, Any], seed: int) -> list[Example]:
    """Stimuli whose pictures all runs still have: the largest gains, losses, and some at random.

    Args:
        runs: The reference first.
        content: What comparison.json holds; the first metric ranks the stimuli.
        seed: Of the random ones.
    """
    pictures = [_first_pictures(run) for run in runs]
    there = set.intersection(*(set(found) for found in pictures))
    metric = next(iter(content["metrics"]))
    ids, one, other = align(runs[0].scores(metric), runs[1].scores(metric))
    sign = 1 if content["metrics"][metric]["better"] == "higher" else -1
    gain = {name: sign * (b - a) for name, a, b in zip(ids, one, other, strict=True)}
    ranked = sorted((name for name in gain if name in there), key=lambda name: (-gain[name], name))
    drawn = numpy_generator(seed, "side by side").permutation(len(ranked))[:SHOWN]
    chosen = {
        f"gained by {runs[1].name}": [name for name in ranked if gain[name] > 0][:SHOWN],
        f"lost by {runs[1].name}": [name for name in reversed(ranked) if gain[name] < 0][:SHOWN],
        "at random": [ranked[i] for i in drawn],
    }
    return [
        Example(
            section,
            name,
            read_picture(pictures[0][name][0]),
            tuple(read_picture(found[name][1]) for found in pictures),
        )
        for section, names in chosen.items()
        for name in names
    ]


def _first_pictures(run: Run) -> dict[str, tuple[Path, Path]]:
    """Truth and first draw of each stimulus; empty where the pictures are not beside the scores."""
    if not (run.folder / INDEX).is_file():
        return {}
    subject = read_predictions(run.folder).subjects[0]
    files = zip(subject.truths, (row[0] for row in subject.files), strict=True)
    return dict(zip(subject.stimuli, files, strict=True))


def _entry(run: Run) -> dict[str, Any]:
    """What the comparison keeps of a run."""
    kept = {key: run.content[key] for key in KEPT if key in run.content}
    return {"folder": str(run.folder), **kept, "stimuli": run.content["stimuli"]}
