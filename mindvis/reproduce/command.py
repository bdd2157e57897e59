"""The `mindvis reproduce` command: the steps of a benchmark, those that are not done yet."""

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mindvis.cli import main
from mindvis.console import say
from mindvis.errors import ConfigError, MindVisError, one_of
from mindvis.files import write_text
from mindvis.reproduce.collect import collect_runs
from mindvis.reproduce.definition import (
    Benchmark,
    Run,
    Task,
    described,
    expand,
    load_benchmark,
    resolve_inputs,
    shared_tasks,
)
from mindvis.reproduce.ledger import Ledger
from mindvis.reproduce.slurm import submit_runs

RECORD = "benchmark.yaml"


def reproduce(
    name: str,
    output: str | None = None,
    inputs: dict[str, Any] | None = None,
    subjects: list[str] | None = None,
    seeds: list[int] | None = None,
    collect: bool = False,
    slurm: bool = False,
    shared: bool = False,
    element: int | None = None,
    dry_run: bool = False,
) -> None:
    """Run a named benchmark over subjects and seeds, from its data to one table of results.

    A step whose output is there is not done again, so that the same command finishes what was
    interrupted. `--dry_run` says what a benchmark needs and what it would do.

    Args:
        name: god, bold5000, nsd, demo, digit69, or the path of a YAML file like theirs.
        output: Folder of the benchmark; runs/NAME by default.
        inputs: What the benchmark needs, such as --inputs.data FOLDER.
        subjects: Some of its subjects.
        seeds: Some or other seeds.
        collect: Only gather the results that are there, and say what is missing.
        slurm: Submit jobs instead: shared steps, then an array of runs, then the collection.
        shared: Only the steps that several runs share.
        element: Only the run of this number, from 0, once the shared steps are done.
        dry_run: Print the commands and run none.

    Raises:
        MindVisError: An input is missing, a step refused, or results are missing when collected.
    """
    benchmark = choose(load_benchmark(name), subjects, seeds)
    if dry_run:
        for line in described(benchmark):
            say(line)
    values = resolve_inputs(benchmark, inputs or {})
    root = Path(output) if output is not None else Path("runs") / benchmark.name
    runs = expand(benchmark, root, values)
    if collect:
        collect_runs(benchmark, runs, root)
        return
    remember(root, benchmark, values, dry_run)
    if slurm:
        options = submitted_options(name, root, values, benchmark)
        submit_runs(root, options, len(runs), bool(shared_tasks(runs)), dry_run)
        return
    ledger = Ledger(root)
    for tasks in select(runs, shared, element):
        run_tasks(tasks, ledger, dry_run)
    if not (shared or dry_run or element is not None):
        collect_runs(benchmark, runs, root)


def choose(
    benchmark: Benchmark, subjects: Sequence[str] | None, seeds: Sequence[int] | None
) -> Benchmark:
    """The benchmark with some of its subjects, and with other seeds.

    Raises:
        ConfigError: It has no such subject.
    """
    for subject in subjects or ():
        if subject not in benchmark.subjects:
            choices = one_of("the subject", subject, benchmark.subjects)
            raise ConfigError(f"benchmark {benchmark.name} has no subject {subject!r}", choices)
    return replace(
        benchmark,
        subjects=tuple(subjects or benchmark.subjects),
        seeds=tuple(seeds or benchmark.seeds),
    )


def select(runs: Sequence[Run], shared: bool, element: int | None) -> list[Sequence[Task]]:
    """Lists of tasks to do, one after another.

    Raises:
        ConfigError: There is no such run, or steps that it shares are not done.
    """
    if shared:
        return [shared_tasks(runs)]
    if element is None:
        return [run.tasks for run in runs]
    if not 0 <= element < len(runs):
        raise ConfigError(f"element is {element}", f"a number from 0 to {len(runs) - 1}")
    left = [task.step for task in shared_tasks(runs) if not task.done]
    if left and len(runs) > 1:
        raise ConfigError(
            f"steps that runs share are not done: {', '.join(left)}",
            remedy="run the same command with --shared first",
        )
    return [runs[element].tasks]


def run_tasks(tasks: Sequence[Task], ledger: Ledger, dry_run: bool = False) -> None:
    """Do what is not done, and whatever follows an output that was made anew, in any run.

    Raises:
        MindVisError: A step refused its input, or did not make what it should.
    """
    for number, task in enumerate(tasks):
        if ledger.current(tasks, number):
            continue
        say(f"$ mindvis {shlex.join(task.words)}")
        if dry_run:
            ledger.pretend(task)
            continue
        began = time.perf_counter()
        ledger.set_aside(tasks, number)
        if main(task.words) != 0:
            raise MindVisError(f"step {task.step} failed", remedy="the line above says why")
        if not task.done:
            raise MindVisError(f"step {task.step} has not made {task.makes}")
        ledger.remember(tasks, number)
        say(f"({time.perf_counter() - began:.0f} s)")


def remember(root: Path, benchmark: Benchmark, values: dict[str, str], dry_run: bool) -> None:
    """Record steps and inputs in the benchmark's folder, or refuse to mix two sets of them.

    Raises:
        ConfigError: The folder was begun with others.
    """
    steps = [{**vars(step), "options": dict(step.options)} for step in benchmark.steps]
    content = {"title": benchmark.title, "inputs": values, "steps": steps}
    path = root / RECORD
    if path.is_file():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in content.items():
            if before.get(key) != value:
                raise ConfigError(
                    f"{root} was begun with other {key} of benchmark {benchmark.name}",
                    f"those in {path}",
                    "choose another --output, or delete that folder",
                )
    elif not dry_run:
        write_text(path, yaml.safe_dump(content, sort_keys=False))


def submitted_options(
    name: str, root: Path, values: dict[str, str], benchmark: Benchmark
) -> list[str]:
    """Words after `mindvis reproduce` that say the same in a job."""
    words = [name, "--output", str(root), "--subjects", yaml_list(benchmark.subjects)]
    words += ["--seeds", yaml_list(map(str, benchmark.seeds))]
    for key, value in values.items():
        if value != str(benchmark.inputs[key].get("default")):
            words += [f"--inputs.{key}", value]
    return words


def yaml_list(values: Iterable[str]) -> str:
    """A list as one word."""
    return f"[{','.join(values)}]"
