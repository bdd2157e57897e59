"""`mindvis inspect`: what a store or an output folder holds, and what is wrong with it."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mindvis.console import say
from mindvis.data.figure import write_figure
from mindvis.data.leaks import find_leaks, members
from mindvis.data.reliability import explainable_variance
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.data.transforms import FILE_NAME, Preprocessing, find_saved
from mindvis.errors import DataError, StoreError

BLOCK = 512


def inspect(file: str, figure: str | None = None) -> None:
    """Print what a store or an output folder holds: subjects, trials, splits, ROIs, problems.

    Args:
        file: A VoxelStore, or the folder of a run, a model or decoded pictures.
        figure: Also draw pictures and each subject's mean response map into this file, such as
            store.png.
    """
    path = Path(file)
    for line in describe_folder(path) if path.is_dir() else describe_store(path):
        say(line)
    if figure is not None:
        with VoxelStore(path) as store:
            write_figure(store, Path(figure))
        say(f"wrote {figure}")


def describe_store(path: Path) -> Iterator[str]:
    """Lines about a store, ending with its problems.

    Raises:
        StoreError: The file is no whole store.
    """
    problems: list[str] = []
    with VoxelStore(path) as store:
        yield f"{path}: VoxelStore of {path.stat().st_size / 1e6:,.1f} MB"
        yield from (f"  {name}: {value}" for name, value in store.attrs.items() if name != "format")
        for subject in store:
            yield from describe_subject(subject)
            problems += [f"{subject.name}: {problem}" for problem in find_problems(subject)]
        if store.stimuli is not None:
            shape = store.stimuli.rows.shape
            classes, groups = len(set(store.stimuli.labels)), len(set(store.stimuli.categories))
            yield f"stimuli: {shape[0]} pictures of {shape[1]} x {shape[2]} pixels"
            yield f"  {classes} classes in {groups} categories"
            yield from describe_strata(store)
            problems += find_leaks(store)
    yield "problems: none" if not problems else f"problems: {len(problems)}"
    yield from (f"  {problem}" for problem in problems)


def describe_strata(store: VoxelStore) -> Iterator[str]:
    """A line for each stratum of the pictures: how many of each split are in it."""
    for name, inside in (store.stimuli.strata if store.stimuli else {}).items():
        counts = [(split, *members(store, inside, split)) for split in ("train", "test")]
        parts = (f"{found} of {count} in {split}" for split, found, count in counts)
        yield f"  stratum {name}: {', '.join(parts)}"


def describe_subject(subject: StoredSubject) -> Iterator[str]:
    """Lines about one subject."""
    trials = subject.trials
    repetition = f"TR {subject.tr:g} s" if np.isfinite(subject.tr) else "TR unknown"
    yield (
        f"subject {subject.name}: {subject.num_trials} responses of {subject.num_voxels} voxels, "
        f"in {subject.units}, {repetition}, space {subject.space}"
    )
    runs = len(trials[["session", "run"]].drop_duplicates())
    yield f"  {trials['session'].nunique()} sessions, {runs} runs"
    for split in ("train", "test"):
        rows = trials[(trials["split"] == split) & (trials["kind"] == "task")]
        repeats = Counter(rows["stimulus"]).values()
        span = " to ".join(
            str(count) for count in sorted({*repeats})[:: max(1, len({*repeats}) - 1)]
        )
        yield f"  {split}: {len(rows)} trials of {len(repeats)} stimuli, {span or 0} of each"
    yield f"  rest: {int((trials['kind'] == 'rest').sum())} windows"
    imagined = int((trials["kind"] == "imagery").sum())
    if imagined:
        yield f"  imagery: {imagined} trials"
    sizes = ", ".join(f"{name} {int(mask.sum())}" for name, mask in subject.rois.items())
    yield f"  ROIs (voxels): {sizes or 'none'}"
    score = single_trial_signal(subject)
    if score is None:
        yield "  explainable variance of a single trial: unknown, no test stimulus is repeated"
    else:
        where = "voxels in ROIs" if subject.rois else "all voxels"
        yield f"  explainable variance of a single trial: {score:.3f} (median over {where})"


def single_trial_signal(subject: StoredSubject) -> float | None:
    """Median explainable variance over voxels of all ROIs, from test repeats; None without any."""
    trials = subject.trials
    rows = np.flatnonzero((trials["split"] == "test") & (trials["kind"] == "task"))
    voxels = subject.roi_mask(list(subject.rois) or None)
    responses = subject.responses(rows)[:, voxels]
    try:
        scores = explainable_variance(responses, trials["stimulus"].iloc[rows].tolist())
    except DataError:
        return None
    known = scores[np.isfinite(scores)]
    return float(np.median(known)) if known.size else None


def find_problems(subject: StoredSubject) -> Iterator[str]:
    """Sentences about what would spoil training or scores, without being damage."""
    trials = subject.trials
    task = trials[trials["kind"] == "task"]
    both = set(task.loc[task["split"] == "train", "stimulus"]) & set(
        task.loc[task["split"] == "test", "stimulus"]
    )
    if both:
        yield f"{len(both)} stimuli are in train and in test, {min(both)!r} the first"
    nameless = int((task["stimulus"] == "").sum())
    if nameless:
        yield f"{nameless} task trials have no stimulus"
    doubled = subject.num_voxels - len(np.unique(places(subject), axis=0))
    if doubled:
        yield f"{doubled} voxels share their place with another"
    yield from (f"ROI {name} is empty" for name, mask in subject.rois.items() if not mask.any())
    bad, constant = scan(subject)
    if bad.any():
        yield f"{int(bad.sum())} voxels are NaN or infinite in some trial"
    if constant.any():
        yield f"{int(constant.sum())} voxels never change"


def places(subject: StoredSubject) -> npt.NDArray[np.int64]:
    """(voxels, 5), what tells one place from another: indices, vertex, number of the structure."""
    surface = subject.grayordinates
    vertex = np.full(subject.num_voxels, -1) if surface is None else surface.vertex
    names = [""] * subject.num_voxels if surface is None else surface.structure
    part = np.unique(names, return_inverse=True)[1]
    return np.column_stack([subject.ijk, vertex, part]).astype(np.int64)


def scan(subject: StoredSubject) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Voxels with values that are not finite, and voxels that never change; reads every row."""
    bad = np.zeros(subject.num_voxels, dtype=bool)
    first = subject.responses([0])[0]
    constant = np.ones(subject.num_voxels, dtype=bool)
    for start in tqdm(
        range(0, subject.num_trials, BLOCK), f"Reading {subject.name}", delay=2, leave=False
    ):
        rows = subject.responses(np.arange(start, min(start + BLOCK, subject.num_trials)))
        bad |= ~np.isfinite(rows).all(axis=0)
        constant &= (rows == first).all(axis=0)
    return bad, constant & ~bad


def describe_folder(folder: Path) -> Iterator[str]:
    """Lines about a run, a model or decoded pictures.

    Raises:
        StoreError: The folder holds nothing that mindvis wrote.
    """
    parts = [*_model_parts(folder), *_checkpoint(folder), *_manifest(folder), *_tables(folder)]
    parts += _preprocessing(folder)
    if not parts:
        raise StoreError(
            f"{folder} holds nothing that mindvis wrote",
            "a VoxelStore, or the folder of a run, a model or decoded pictures",
        )
    yield f"{folder}: output folder"
    yield from (f"  {part}" for part in parts)


def _model_parts(folder: Path) -> list[str]:
    configs = sorted(folder.rglob("config.json")) + sorted(folder.rglob("model_index.json"))
    lines = []
    for config in configs:
        kind = _json(config).get("_class_name", "model")
        lines.append(f"{config.parent.relative_to(folder).as_posix()}: {kind}")
    return lines


def _checkpoint(folder: Path) -> list[str]:
    file = folder / "checkpoints" / "last.ckpt"
    if not file.is_file():
        return []
    return [f"checkpoints/last.ckpt: {file.stat().st_size / 1e6:,.1f} MB"]


def _manifest(folder: Path) -> list[str]:
    """Files that were read, and those that are gone or of another size now."""
    files = _json(folder / "manifest.json").get("files", [])
    changed = [entry["path"] for entry in files if not _unchanged(entry)]
    lines = [f"made from {len(files)} files"] if files else []
    return lines + [f"problem: input {name} is gone or has changed" for name in changed]


def _unchanged(entry: dict[str, Any]) -> bool:
    path = Path(entry["path"])
    return path.is_file() and path.stat().st_size == entry["bytes"]


def _tables(folder: Path) -> list[str]:
    """The last value of each training metric, and how many pictures were decoded."""
    lines = []
    metrics, index = folder / "metrics.csv", folder / "index.csv"
    if metrics.is_file():
        last: dict[str, str] = {}
        for row in _csv(metrics):
            last |= {name: value for name, value in row.items() if name and value}
        lines.append("last values: " + ", ".join(f"{name} {last[name]}" for name in last))
    if index.is_file():
        lines.append(f"index.csv: {sum(1 for _ in _csv(index))} pictures")
    return lines


def _preprocessing(folder: Path) -> list[str]:
    try:
        file = find_saved(folder)
    except DataError:
        return []
    found = Preprocessing.load(file)
    settings = ", ".join(f"{name} {value}" for name, value in found.settings.items())
    lines = [f"{FILE_NAME}: {found.length} voxels in patches of {found.patch_size}; {settings}"]
    if found.transductive:
        lines.append("transductive: the model has seen test responses")
    return lines + [
        f"subject {name}: {int(transform.valid.sum())} of {transform.num_stored} stored voxels"
        for name, transform in found.subjects.items()
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error})") from error


def _csv(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
