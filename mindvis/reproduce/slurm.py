"""Jobs of a benchmark: the steps that runs share, an array of one run each, the collection."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mindvis.console import say
from mindvis.errors import MindVisError
from mindvis.files import config_folder, write_text

SCRIPT = "reproduce.sbatch"


def submit_runs(
    root: Path, options: Sequence[str], count: int, shared: bool, dry_run: bool = False
) -> None:
    """Submit up to three jobs, each waiting for the one before; print them where there is no SLURM.

    Args:
        root: The benchmark's folder; the job script and the logs go there.
        options: Words after `mindvis reproduce`.
        count: Runs, elements of the array.
        shared: Whether runs share steps.
        dry_run: Whether to print alone.

    Raises:
        MindVisError: SLURM refused a job.
    """
    script = root / "slurm" / SCRIPT
    if not dry_run:
        shipped = config_folder() / "slurm" / SCRIPT
        write_text(script, shipped.read_text(encoding="utf-8"))
    here = not dry_run and shutil.which("sbatch") is not None
    before, kind = "", "afterok"
    for job, flags in plan(count, shared):
        wait = [f"--dependency={kind}:{before}"] if before else []
        logs = f"--output={root / 'slurm'}/{job}-{'%A_%a' if job == 'runs' else '%j'}.out"
        words = ["sbatch", "--parsable", *wait, *flags, logs, str(script), *options, *ENDS[job]]
        say(f"$ {shlex.join(words)}")
        before, kind = (_submit(words) if here else f"<{job}>"), AFTER[job]
    if not here and not dry_run:
        say("there is no sbatch here: give these lines where there is, each <job> its number")


# what each job does, and when the next one may begin: results are collected of whatever ended
ENDS = {"shared": ("--shared",), "runs": (), "collect": ("--collect",)}
AFTER = {"shared": "afterok", "runs": "afterany", "collect": ""}


def plan(count: int, shared: bool) -> list[tuple[str, list[str]]]:
    """Jobs in order, with the options of sbatch."""
    jobs: list[tuple[str, list[str]]] = [("shared", [])] if shared else []
    return [*jobs, ("runs", [f"--array=0-{count - 1}"]), ("collect", ["--gres=none"])]


def _submit(words: Sequence[str]) -> str:
    """The number of a submitted job."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MindVisError(f"sbatch refused: {' '.join(done.stderr.split())}")
    return done.stdout.strip().split(";")[0]
