"""The work of a run, kept as a part on disk, and the parts of all runs joined into a store."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from mindvis.console import say
from mindvis.data.leaks import find_leaks
from mindvis.data.schema import StimulusData, SubjectData
from mindvis.data.store import VoxelStore
from mindvis.data.writer import write_store
from mindvis.provenance import software_versions
from preprocessing.facts import Facts, differences, say_differences, say_summary
from preprocessing.workers import Workers

_SOFTWARE = ("mindvis", "nilearn", "nibabel", "numpy", "scipy")


def digest(*parts: object) -> str:
    """Hexadecimal digest of plain values, paths, arrays and dataclasses.

    A path stands for its file: name, size and time of modification.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(json.dumps(_plain(part), sort_keys=True).encode())
        total.update(b"\x1f")
    return total.hexdigest()


def _plain(value: object) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Path):
        state = value.stat()
        return [value.name, state.st_size, state.st_mtime_ns]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Job:
    """A piece of work whose result is an array that may already lie on disk.

    Args:
        part: Where the result is kept; its name is a digest of all that the result depends on.
        function: Makes the result, float32 (rows, voxels).
        arguments: Of the function.
    """

    part: Path
    function: Callable[..., NDArray[np.float32]]
    arguments: tuple[Any, ...]

    def run(self) -> None:
        """Make the part, atomically even where a scheduler runs the same job twice at once."""
        result = self.function(*self.arguments)
        self.part.parent.mkdir(parents=True, exist_ok=True)
        partial = self.part.with_name(f".{self.part.name}.{platform.node()}.{os.getpid()}")
        with partial.open("wb") as file:
            np.save(file, result, allow_pickle=False)
        partial.replace(self.part)


def parts_folder(store: Path) -> Path:
    """Where finished runs wait until the store is written: FILE.parts."""
    return store.with_name(f"{store.name}.parts")


def run_jobs(jobs: Sequence[Job], workers: Workers, what: str) -> None:
    """Run those jobs whose parts are missing, in parallel, with a progress bar.

    Args:
        jobs: All jobs.
        workers: Processes of this machine, or of a Dask cluster that sees the same files.
        what: Word for the progress bar.
    """
    missing = [job for job in jobs if not job.part.is_file()]
    done = len(jobs) - len(missing)
    with workers.ready():
        results = Parallel(n_jobs=workers.n_jobs, return_as="generator_unordered")(
            delayed(Job.run)(job) for job in missing
        )
        for _ in tqdm(results, desc=what, total=len(jobs), initial=done, disable=None):
            pass


@dataclass(frozen=True)
class SubjectWork:
    """A subject as pieces of work, and the record that is made when they are done.

    Args:
        name: Such as "sub-01".
        record: Gives what the store keeps; called when all parts are there, and its rows may lie
            on disk, so that one subject at a time is in memory.
        jobs: Work whose results wait on disk.
        files: All files that were or will be read.
    """

    name: str
    record: Callable[[], SubjectData]
    jobs: Sequence[Job] = ()
    files: Sequence[Path] = ()


def prepare_store(
    store: Path,
    works: Sequence[SubjectWork],
    stimuli: StimulusData | None,
    facts: Facts,
    options: dict[str, Any],
    workers: Workers,
    pictures: Sequence[Path] = (),
) -> None:
    """Do the work of all subjects and write them into a store, saying what differs from the facts.

    A command that is killed and given again goes on with the jobs whose parts are missing.

    Args:
        store: The file, new or existing.
        works: The subjects; they are written in the order of their names.
        stimuli: Pictures of all trials.
        facts: What is declared of the data set.
        options: All options of the command that change what is in the store.
        workers: Who does the jobs.
        pictures: Files of the pictures.
    """
    ordered = sorted(works, key=lambda work: work.name)
    run_jobs([job for work in ordered for job in work.jobs], workers, "runs")

    def records() -> Iterator[tuple[str, SubjectData]]:
        for work in ordered:
            data = work.record()
            yield work.name, data
            say_summary(work.name, data)
            say_differences(differences(facts, work.name, data))

    files = [path for work in ordered for path in work.files]
    attributes = store_attributes(facts.attributes(), options, [*files, *pictures])
    write_store(store, records(), stimuli, attributes)
    remove_parts(store)
    say_leaks(store)


def say_leaks(store: Path) -> None:
    """Say which pictures of the training trials are, or look like, pictures of the test."""
    with VoxelStore(store) as written:
        for line in find_leaks(written):
            say(f"  problem of the split: {line}")


def remove_parts(store: Path) -> None:
    """Remove the parts of a store that is written."""
    shutil.rmtree(parts_folder(store), ignore_errors=True)


class StackedRows:
    """Rows of several `.npy` files one after another, read from disk when a slice is asked for.

    Args:
        paths: Files of float32 (rows, voxels).
        columns: Voxels to keep, bool (voxels,); None keeps all.
    """

    def __init__(self, paths: Iterable[Path], columns: NDArray[np.bool_] | None = None) -> None:
        self.parts = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        self.columns = columns
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        width = self.parts[0].shape[1] if columns is None else int(columns.sum())
        self.shape: tuple[int, ...] = (int(self.starts[-1]), width)

    def __getitem__(self, key: slice, /) -> NDArray[np.float32]:
        start, stop, _ = key.indices(self.shape[0])
        pieces = [
            part[max(start - first, 0) : max(stop - first, 0)]
            for part, first in zip(self.parts, self.starts[:-1].tolist(), strict=True)
        ]
        rows = np.concatenate(pieces)
        return rows if self.columns is None else rows[:, self.columns]

    def finite(self) -> NDArray[np.bool_]:
        """Columns without NaN in any part, bool (voxels,)."""
        return np.logical_and.reduce([np.isfinite(part).all(axis=0) for part in self.parts])


def store_attributes(
    facts: dict[str, str], options: dict[str, Any], sources: Iterable[Path]
) -> dict[str, str]:
    """Attributes of a store that depend on nothing but the inputs, the options and the versions.

    `created` is the time at which the newest input was modified, so that the same inputs give the
    same bytes; paths in the options are reduced to their names.

    Args:
        facts: dataset, licence and citation, as far as they are known.
        options: All options of the command.
        sources: All files that were read.
    """
    versions = software_versions()
    newest = int(max(path.stat().st_mtime for path in sources))
    return facts | {
        "created": datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": json.dumps({k: _portable(v) for k, v in options.items()}, sort_keys=True),
        "software": ", ".join(f"{name} {versions[name]}" for name in _SOFTWARE),
    }


def _portable(value: object) -> object:
    is_path = isinstance(value, str) and value.startswith("/")
    return Path(str(value)).name if is_path else value
