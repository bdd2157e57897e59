"""What a benchmark is: a YAML file of steps with placeholders, expanded for each subject and seed.

    title: what is measured, in a line
    subjects: [sub-01, sub-02]
    seeds: [0, 1, 2]
    inputs:                       # each {name} in a step; given by --inputs.name
      data: {about: "folder of the downloaded files"}           # must be given
      draws: {about: "pictures of each stimulus", default: 5}   # may be
    steps:
      - name: prepare
        command: prepare arrays --source {data} --store {root}/store.h5   # words after `mindvis`
        makes: "{root}/store.h5"        # it is there when the step is done
      - name: evaluate
        command: evaluate {run}/decoded
        options: {judge: "--judge {judge}"}     # added where that input is given
        makes: "{run}/decoded/metrics.json"     # the last step makes the results

Further placeholders: {configs} the shipped configurations, {root} the benchmark's folder,
{subject}, {seed}, and {run}, which is {root}/{subject}/seed{seed}. A step that comes out the same
for several runs is done once.
"""

import os
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mindvis.errors import ConfigError, one_of
from mindvis.files import config_folder

FOLDER = "benchmarks"
OWN = ("configs", "root", "run", "subject", "seed")
KEYS = ("title", "subjects", "seeds", "inputs", "steps")
STEP_KEYS = ("name", "command", "options", "makes")


@dataclass(frozen=True)
class Step:
    """One command of a benchmark, with placeholders.

    Args:
        name: What it is.
        command: Words after `mindvis`.
        makes: The file or folder that tells that it is done.
        options: Words that are added where an input is given, by that input.
    """

    name: str
    command: str
    makes: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A named benchmark.

    Args:
        name: The name of its file.
        title: What is measured.
        subjects: Whose brains.
        seeds: Of training and decoding.
        inputs: For each input `about` and, where it may be left out, `default`.
        steps: In order.
    """

    name: str
    title: str
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Task:
    """One step of one run, or of all runs that share it.

    Args:
        step: Its name.
        words: After `mindvis`.
        makes: The file or folder that tells that it is done.
    """

    step: str
    words: tuple[str, ...]
    makes: Path

    @property
    def done(self) -> bool:
        """Whether its output is there."""
        return self.makes.exists()


@dataclass(frozen=True)
class Run:
    """One subject and seed of a benchmark.

    Args:
        subject: Whose brain.
        seed: Of training and decoding.
        folder: Where its own outputs are.
        tasks: In order, those shared with other runs included.
    """

    subject: str
    seed: int
    folder: Path
    tasks: tuple[Task, ...]

    @property
    def results(self) -> Path:
        """Its metrics.json, there when it is done."""
        return self.tasks[-1].makes


def load_benchmark(name: str | os.PathLike[str]) -> Benchmark:
    """A shipped benchmark by name, or any by the path of its file.

    Raises:
        ConfigError: There is none, or its file says something that cannot be followed.
    """
    shipped = config_folder() / FOLDER / f"{name}.yaml"
    path = Path(name) if Path(name).suffix in {".yaml", ".yml"} else shipped
    if not path.is_file():
        known = [file.stem for file in shipped.parent.glob("*.yaml")]
        raise ConfigError(
            f"there is no benchmark {str(name)!r}",
            f"{one_of('the name', str(name), known)}, or the path of a YAML file",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())})") from error
    return _parse(path, content)


def _parse(path: Path, content: Any) -> Benchmark:
    """A benchmark from the content of its file."""
    _check_keys(path, content, KEYS, {"inputs"})
    steps = []
    for entry in content["steps"] or ():
        _check_keys(path, entry, STEP_KEYS, {"options"})
        steps.append(Step(**{**entry, "options": entry.get("options") or {}}))
    benchmark = Benchmark(
        path.stem,
        str(content["title"]),
        tuple(map(str, content["subjects"] or ())),
        tuple(map(int, content["seeds"] or ())),
        content.get("inputs") or {},
        tuple(steps),
    )
    _check(path, benchmark)
    return benchmark


def _check_keys(path: Path, content: Any, known: Sequence[str], optional: set[str]) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {content!r} where keys should be", ", ".join(known))
    for name in content:
        if name not in known:
            raise ConfigError(f"{path} has the key {name!r}", one_of("a key", str(name), known))
    missing = [name for name in known if name not in content and name not in optional]
    if missing:
        raise ConfigError(f"{path} lacks {' and '.join(missing)}", ", ".join(known))


def _check(path: Path, benchmark: Benchmark) -> None:
    """Refuse what could not be run."""
    for name in ("subjects", "seeds", "steps"):
        if not getattr(benchmark, name):
            raise ConfigError(f"{path} has no {name}", "at least one")
    known = {*OWN, *benchmark.inputs}
    for step in benchmark.steps:
        for text in (step.command, step.makes, *step.options.values()):
            for name in placeholders(text):
                if name not in known:
                    choices = one_of("a placeholder", name, known)
                    raise ConfigError(f"step {step.name} of {path} says {{{name}}}", choices)
    last = benchmark.steps[-1]
    if "run" not in placeholders(last.makes) or not last.makes.endswith("metrics.json"):
        raise ConfigError(
            f"the last step of {path} makes {last.makes}", "the metrics.json of a {run}"
        )


def placeholders(text: str) -> set[str]:
    """Names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def resolve_inputs(benchmark: Benchmark, given: Mapping[str, Any]) -> dict[str, str]:
    """Every input that has a value, as text.

    Args:
        benchmark: What is needed.
        given: By the user.

    Raises:
        ConfigError: One is unknown, or one without a default is not given.
    """
    for name in given:
        if name not in benchmark.inputs:
            choices = one_of("an input", name, benchmark.inputs)
            raise ConfigError(f"benchmark {benchmark.name} has no input {name!r}", choices)
    values = {}
    for name, entry in benchmark.inputs.items():
        value = given.get(name, entry.get("default"))
        if value is None and "default" not in entry:
            raise ConfigError(
                f"benchmark {benchmark.name} needs {name}",
                str(entry["about"]),
                f"pass --inputs.{name}",
            )
        if value is not None:
            values[name] = str(value)
    return values


def expand(benchmark: Benchmark, root: Path, inputs: Mapping[str, str]) -> list[Run]:
    """The runs of a benchmark, subjects in order and seeds within.

    Args:
        benchmark: What to do.
        root: Its folder.
        inputs: As `resolve_inputs` gives them.
    """
    runs = []
    for subject in benchmark.subjects:
        for seed in benchmark.seeds:
            folder = root / subject / f"seed{seed}"
            values: dict[str, Any] = {"configs": config_folder(), "root": root, "run": folder}
            values |= {"subject": subject, "seed": seed, **inputs}
            tasks = tuple(_task(step, values) for step in benchmark.steps)
            runs.append(Run(subject, seed, folder, tasks))
    return runs


def _task(step: Step, values: Mapping[str, Any]) -> Task:
    """A step with every placeholder filled in; a value is one word, whatever is in it."""
    added = [text for name, text in step.options.items() if name in values]
    words = [word for text in (step.command, *added) for word in shlex.split(text)]
    texts = {name: str(value) for name, value in values.items()}
    filled = tuple(word.format_map(texts) for word in words)
    return Task(step.name, filled, Path(step.makes.format_map(texts)))


def shared_tasks(runs: Sequence[Run]) -> list[Task]:
    """Tasks of more than one run, in order, each once."""
    counts: dict[Task, int] = {}
    for run in runs:
        for task in run.tasks:
            counts[task] = counts.get(task, 0) + 1
    return [task for task, count in counts.items() if count > 1]


def described(benchmark: Benchmark) -> Iterator[str]:
    """Lines about a benchmark: what it measures and what it needs."""
    yield f"{benchmark.name}: {benchmark.title}"
    yield f"  subjects: {', '.join(benchmark.subjects)}"
    yield f"  seeds: {', '.join(map(str, benchmark.seeds))}"
    for name, entry in benchmark.inputs.items():
        default = f" (default {entry['default']})" if "default" in entry else ""
        yield f"  --inputs.{name}: {entry['about']}{default}"
