"""The store: preparing many subjects of resting state, and reading shuffled training batches.

Preparation: simulated subjects of the Connectome Project, one run of 1,200 frames of 4,183 vertices
each, in true dense series; the files of a few subjects stand for all by hard links, so that the
disk holds the store. Seconds and bytes of a subject are the slope between two numbers of subjects,
peak memory is that of the process that prepared them. `frames` keeps every frame as a row,
`windows` averages windows of 8 s as pretraining does.

Reading: epochs of shuffled batches through the training loader, nothing cached, against a loop over
all rows of the same file with plain h5py, in the order of the file. Both read from the operating
system's cache, and the loader standardises as well. Plain h5py sums up every chunk in every pass,
the loader in its first alone, so the same rows without chunks and checksums are read in order, too.
The first pass, in which each process has HDF5 verify the chunks it needs and workers start, is told
apart from the median of `PASSES` later ones.
"""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, SeriesAxis

from benchmarks import machine
from mindvis.data.responses import ResponseData
from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.seeding import numpy_generator
from preprocessing.hcp import RUNS as HCP_RUNS
from preprocessing.hcp import VERTICES, prepare_hcp

FRAMES, TR, DISTINCT, MESH = 1200, 0.72, 4, 32_492
BATCH, GOAL, PASSES = 32, 0.8, 5
LEFT = "CIFTI_STRUCTURE_CORTEX_LEFT"


def write_subjects(root: Path, subjects: int, frames: int, vertices: int) -> None:
    """A folder for each subject with one run, and the atlas."""
    root.mkdir(parents=True)
    axis = BrainModelAxis.from_surface(np.arange(vertices), MESH, LEFT)
    shares = np.cumsum([0, *VERTICES.values()]) * vertices // sum(VERTICES.values())
    labels = np.zeros(vertices, dtype=np.float32)
    for key, (start, stop) in enumerate(pairwise(shares.tolist()), start=1):
        labels[start:stop] = key
    table = {key: (f"L_{name}_ROI", (1, 0, 0, 1)) for key, name in enumerate(VERTICES, start=1)}
    table |= {0: ("???", (0, 0, 0, 0))}
    save(root / "atlas.dlabel.nii", labels[None], LabelAxis(["areas"], [table]), axis, "Label")
    run = HCP_RUNS[0]
    for number in range(subjects):
        folder = root / f"{100_000 + number}" / "MNINonLinear" / "Results" / run
        folder.mkdir(parents=True)
        path = folder / f"{run}_Atlas_MSMAll_hp2000_clean.dtseries.nii"
        first = root / f"{number % DISTINCT}.dtseries.nii"
        if number < DISTINCT:
            draws = numpy_generator("store", number).standard_normal((frames, vertices))
            values = 10_000 + 100 * draws.astype(np.float32)
            save(first, values, SeriesAxis(0, TR, frames, "SECOND"), axis, "Series")
        os.link(first, path)


def save(path: Path, values: np.ndarray, rows: Any, columns: Any, kind: str) -> None:
    image = Cifti2Image(values, header=(rows, columns))
    image.nifti_header.set_intent(f"ConnDense{kind}")
    nib.save(image, path)


def prepare(root: str, subjects: int, window: float) -> dict[str, Any]:
    """Prepare the first subjects of a folder: seconds and bytes; the store is removed."""
    store = Path(root) / f"store-{subjects}-{window:g}.h5"
    names = [str(100_000 + number) for number in range(subjects)]
    runs = [HCP_RUNS[0]]
    start = time.perf_counter()
    prepare_hcp(root, "atlas.dlabel.nii", str(store), names, window=window, runs=runs)
    seconds = time.perf_counter() - start
    with VoxelStore(store) as opened:
        rows, voxels = (
            opened[opened.subjects[-1]].num_trials,
            opened[opened.subjects[-1]].num_voxels,
        )
        found = len(opened)
    size = store.stat().st_size
    store.unlink()
    return {"subjects": found, "seconds": seconds, "bytes": size, "rows": rows, "voxels": voxels}


def prepared(root: str, counts: tuple[int, int], window: float) -> dict[str, Any]:
    """Two numbers of subjects, each in a process of its own: slope, and memory of both."""
    runs = [
        machine.launch("benchmarks.store:prepare", {"root": root, "subjects": n, "window": window})
        for n in counts
    ]
    few, many = runs
    more = many["subjects"] - few["subjects"]
    seconds = (many["seconds"] - few["seconds"]) / more
    size = (many["bytes"] - few["bytes"]) / more
    fixed = few["seconds"] - seconds * few["subjects"]
    return {
        "subjects": list(counts),
        "seconds": [run["seconds"] for run in runs],
        "rows_and_voxels_of_a_subject": [many["rows"], many["voxels"]],
        "seconds_of_a_subject": seconds,
        "bytes_of_a_subject": size,
        "peak_memory_bytes": [run["peak_bytes"] for run in runs],
        "line_at_1200": {"seconds": fixed + 1200 * seconds, "bytes": 1200 * size},
    }


def write_rows(path: Path, subjects: int, rows: int, voxels: int) -> None:
    """A store of rest responses."""

    def each() -> Any:
        for number in range(subjects):
            draws = numpy_generator("rows", number).standard_normal((rows, voxels))
            table = pd.DataFrame(
                {"run": np.arange(rows) // 100 + 1, "onset": np.arange(rows) * 8.0}
            )
            table = table.assign(
                stimulus="", condition="rest", split="", session=1, repeat=0, kind="rest"
            )
            ijk = np.zeros((voxels, 3), np.int32)
            ijk[:, 0] = np.arange(voxels)
            yield (
                f"sub-{number:02d}",
                SubjectData(draws.astype(np.float32), table, ijk, np.eye(4), (voxels, 1, 1)),
            )

    write_store(path, each(), None, {})


def write_bare(store: Path, path: Path) -> None:
    """The responses of a store as contiguous data sets, of the same names and nothing else."""
    with h5py.File(store) as old, h5py.File(path, "w") as new:
        for name, subject in old["subjects"].items():
            new[f"subjects/{name}/responses"] = subject["responses"][...]


def read(store: str, workers: int | None) -> dict[str, Any]:
    """Bytes of responses read in a second, in a first pass and later: plain h5py for None."""
    if workers is None:
        return read_rates(lambda: read_plainly(store))
    data = ResponseData(
        store, batch_size=BATCH, num_workers=workers, val_fraction=0.0, cache_bytes=0
    )
    data.setup("fit")
    loader = data.train_dataloader()
    row = 4 * data.recordings[0].stored.num_voxels
    return read_rates(lambda: row * sum(len(batch["voxels"]) for batch in loader))


def read_rates(work: Callable[[], int]) -> dict[str, Any]:
    """Rates of a first pass and of those after it."""
    first, *later = (read_rate(work) for _ in range(1 + PASSES))
    return {"first_rate": first, "rate": later}


def read_rate(work: Callable[[], int]) -> float:
    """Bytes in a second of work that returns the bytes it read."""
    start = time.perf_counter()
    size = work()
    return size / (time.perf_counter() - start)


def read_plainly(store: str) -> int:
    """Read all responses, `BATCH` rows at a time in their order; returns the bytes."""
    size = 0
    with h5py.File(store) as file:
        for subject in file["subjects"].values():
            responses = subject["responses"]
            for start in range(0, len(responses), BATCH):
                size += responses[start : start + BATCH].nbytes
    return size


def throughput(store: Path, launches: int) -> dict[str, Any]:
    """Rates of all ways, alternated, and their ratio to plain reading."""
    bare = store.with_name("bare.h5")
    write_bare(store, bare)
    ways: dict[str, int | None] = {"plain": None, "0": 0, "1": 1, "2": 2}
    variants = {name: {"store": str(store), "workers": way} for name, way in ways.items()}
    variants["without checksums"] = {"store": str(bare), "workers": None}
    results = machine.alternate("benchmarks.store:read", variants, launches)
    rates = {name: machine.typical(runs, "rate") for name, runs in results.items()}
    return {
        "megabytes_per_second": {name: rate / 1e6 for name, rate in rates.items()},
        "megabytes_per_second_of_first_pass": {
            name: machine.typical(runs, "first_rate") / 1e6 for name, runs in results.items()
        },
        "smallest_and_largest": {
            name: machine.spread(runs, "rate") for name, runs in results.items()
        },
        "ratio_to_plain": {n: rate / rates["plain"] for n, rate in rates.items() if n != "plain"},
        "goal": GOAL,
    }


def measure(fast: bool) -> dict[str, Any]:
    """Preparation with frames and with windows, and reading; `fast` is the same at toy size."""
    frames, vertices = (40, 97) if fast else (FRAMES, sum(VERTICES.values()))
    counts = (
        {"frames": (2, 4), "windows": (2, 6)}
        if fast
        else {"frames": (10, 30), "windows": (50, 1200)}
    )
    rows = (2, 60) if fast else (6, 1200)
    with TemporaryDirectory() as folder:
        root = Path(folder) / "hcp"
        write_subjects(root, max(max(pair) for pair in counts.values()), frames, vertices)
        result: dict[str, Any] = {
            "frames": prepared(str(root), counts["frames"], TR),
            "windows": prepared(str(root), counts["windows"], 8.0),
        }
        store = Path(folder) / "rows.h5"
        write_rows(store, *rows, vertices)
        result["reading"] = throughput(store, 1 if fast else 2)
    return result
