"""Damaged sources for every reader: a sentence or a store, no traceback, no hang, bounded memory.

    python -m benchmarks.fuzz --count 2000 --output runs/fuzz.json [--formats nsd,bids] [--seed 0]
    python -m benchmarks.fuzz --formats mat --only 133,715    # the inputs of these numbers again
    python -m benchmarks.fuzz --planted [--count 2000] [--only 133]    # whole trees, known answers

Each input is a small data set in its true format, made once by the makers in tests/preprocessing,
with one to three of its files damaged; the others are links. A child process whose address space
and time are limited prepares it, and what it was given when it died is a finding. A child is
forked after all imports and used for some inputs, each at a path of its own, so that nothing which
a reader remembers of a path hides what became of it. Nothing may appear beside the store.

With --planted, trees are not damaged but made of unusual ingredients, and the store must hold what
was planted in them: `benchmarks/planted`.

Findings are kept with their numbers: an input is a function of seed, format and number. A run that
was stopped goes on from where its output says when it is given again.
"""

import argparse
import io
import json
import logging
import multiprocessing as mp
import os
import queue
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

MEMORY = 1 << 30
SECONDS = 60
SAMPLE = 20  # sentences of each format that are kept
KEPT = 200  # inputs between two writings of the report, and in the life of a child
SHARED_MEMORY = Path("/dev/shm")  # where there is one, files cost no disk
Options = dict[str, object]
Task = tuple[str, str, str, Options]


# ---------------------------------------------------------------- the formats


def _nsd(root: Path) -> None:
    from tests.preprocessing import nsd_tree

    nsd_tree.build(root, {4: [2]}, hdf5=())


def _nsd_hdf5(root: Path) -> None:
    from tests.preprocessing import nsd_tree

    nsd_tree.build(root, {4: [2]}, hdf5=(2,))


def _mindeye2(root: Path) -> None:
    from tests.preprocessing import nsd_tree

    nsd_tree.mindeye2(root, 2, {"train": [(5, 760), (9, 3)], "new_test": [(40, 2), (40, 751)]})


def _things(root: Path) -> None:
    from tests.preprocessing import things_tree

    things_tree.volumes(root)


def _things_tables(root: Path) -> None:
    from tests.preprocessing import things_tree

    things_tree.tables(root)


def _haxby(root: Path) -> None:
    from tests.preprocessing import nilearn_trees

    nilearn_trees.haxby(root, (2,))


def _miyawaki(root: Path) -> None:
    from tests.preprocessing import nilearn_trees

    nilearn_trees.miyawaki(root)


def _bids(root: Path, form: str = "*_space-T1w_*") -> None:
    """One session of two runs, and of what fMRIPrep derived one form alone, which is then read."""
    from tests.preprocessing import fmriprep_tree

    fmriprep_tree.build(root)
    for folder in list(root.rglob("ses-b")):
        shutil.rmtree(folder)
    for path in (root / "derivatives").rglob("*_bold.*"):
        if not path.match(form):
            path.unlink()


def _glmsingle(root: Path) -> None:
    from tests.preprocessing import fmriprep_tree

    _bids(root)
    fmriprep_tree.write_betas(root / "g", fmriprep_tree.betas(6, 5))


def _god(root: Path) -> None:
    from tests.preprocessing import god_files

    god_files.bdata_folder(root)


def _god_npz(root: Path) -> None:
    from tests.preprocessing import god_files

    god_files.npz_folder(root)


def _bold5000(root: Path, other: str) -> None:
    """One subject; the files of the other are gone, its pictures are not."""
    from tests.preprocessing import bold5000_files

    bold5000_files.build(root)
    for path in list(root.rglob(f"{other}*")):
        if path.is_file():
            path.unlink()


def _hcp(root: Path) -> None:
    from tests.preprocessing import hcp_files

    hcp_files.build(root, {"100307": 2})
    hcp_files.write_atlas(root / "atlas.dlabel.nii")


def _arrays(suffix: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        from tests.preprocessing.test_arrays import content, save

        root.mkdir(parents=True)
        save(root / f"a{suffix}", content())

    return make


_BIDS: Options = {"derivatives": "derivatives/fmriprep", "lag_end": 8.0, "detrend": False}
_KEYS: Options = {
    f"{split}_{option}": f"{split}_{key}"
    for split in ("train", "test")
    for option, key in (("responses", "fmri"), ("images", "images"), ("labels", "class"))
}
#: name -> maker, command, file or folder below the source, options
FORMATS: dict[str, tuple[Callable[[Path], None], str, str, Options]] = {
    "nsd": (_nsd, "nsd", "", {"subjects": "4", "sessions": [2], "image_size": 8}),
    "nsd_hdf5": (_nsd_hdf5, "nsd", "", {"subjects": "4", "sessions": [2], "image_size": 8}),
    "mindeye2": (_mindeye2, "nsd", "", {"subjects": "2", "image_size": 8}),
    "things": (_things, "things", "", {"subjects": "1"}),
    "things_tables": (_things_tables, "things", "", {"subjects": "1"}),
    "haxby": (_haxby, "haxby", "", {"subjects": "2"}),
    "miyawaki": (_miyawaki, "miyawaki", "", {}),
    "bids": (_bids, "bids", "", {**_BIDS, "space": "T1w"}),
    "bids_gifti": (
        partial(_bids, form="*_hemi-*"),
        "bids",
        "",
        {**_BIDS, "form": "gifti", "response": "lsa"},
    ),
    "bids_cifti": (partial(_bids, form="*_den-91k_*"), "bids", "", {**_BIDS, "form": "cifti"}),
    "glmsingle": (_glmsingle, "bids", "", {**_BIDS, "space": "T1w", "glmsingle": "g"}),
    "god": (_god, "god", "", {"subjects": "sub-01,sub-03"}),
    "god_npz": (_god_npz, "god", "", {"subjects": "sub-02", "form": "npz"}),
    "bold5000": (partial(_bold5000, other="CSI4"), "bold5000", "", {"subjects": "CSI1"}),
    "bold5000_volumes": (
        partial(_bold5000, other="CSI1"),
        "bold5000",
        "",
        {"subjects": "CSI4", "form": "volumes"},
    ),
    "hcp": (_hcp, "hcp", "", {"atlas": "atlas.dlabel.nii"}),
    "npz": (_arrays(".npz"), "arrays", "a.npz", _KEYS),
    "mat": (_arrays(".mat"), "arrays", "a.mat", _KEYS),
    "h5": (_arrays(".h5"), "arrays", "a.h5", _KEYS),
}


# ---------------------------------------------------------------- the damage


def truncate(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, int(rng.integers(0, max(path.stat().st_size, 1))))


def flip_bits(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        # the first bytes are headers, which is where damage does most
        end = min(len(data), 600) if rng.random() < 0.7 else len(data)
        data[int(rng.integers(end))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def overwrite_numbers(path: Path, rng: np.random.Generator) -> None:
    """Absurd sizes in a header: eight bytes that count something are made huge or negative."""
    data = bytearray(path.read_bytes())
    if len(data) >= 16:
        place = int(rng.integers(0, min(len(data), 600) - 8))
        value = int(rng.choice([2**31 - 1, 2**62, 2**63 - 1, -1, 0, 32767, 2**40]))
        width = int(rng.choice([2, 4, 8]))
        data[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    path.write_bytes(data)


def insert_noise(path: Path, rng: np.random.Generator) -> None:
    data = path.read_bytes()
    place = int(rng.integers(0, len(data) + 1))
    path.write_bytes(data[:place] + rng.bytes(int(rng.integers(1, 200))) + data[place:])


def replace_content(path: Path, rng: np.random.Generator) -> None:
    contents = [
        b"",
        b"\x00" * 4096,
        b"something else\n" * 50,
        b"\x89HDF\r\n\x1a\n" + rng.bytes(900),
    ]
    contents += [b"PK\x03\x04" + rng.bytes(400), b"\x1f\x8b\x08\x00" + rng.bytes(400), b"{}", b"[1"]
    path.write_bytes(contents[int(rng.integers(len(contents)))])


def rename_away(path: Path, rng: np.random.Generator) -> None:
    path.rename(path.with_name(path.name + ".gone"))


def change_text(path: Path, rng: np.random.Generator) -> None:
    """Wrong columns, rows, numbers, encodings, and names that lead out of the folder."""
    text = path.read_text(encoding="utf-8", errors="replace")
    words = ["../../../../escape", "/etc/passwd", "nan", "-1", "1e400", "9" * 40, "", "\x00", "é\t"]
    lines = text.split("\n")
    row = int(rng.integers(len(lines)))
    kind = int(rng.integers(4))
    if kind == 0:
        lines[row] = words[int(rng.integers(len(words)))]
    elif kind == 1:
        lines = lines[:row] + lines[row + 1 :]
    elif kind == 2:
        parts = lines[row].replace(",", "\t").split("\t")
        parts[int(rng.integers(len(parts)))] = words[int(rng.integers(len(words)))]
        lines[row] = ("," if "," in lines[row] else "\t").join(parts)
    else:
        lines = [*lines, *lines]
    path.write_text("\n".join(lines), encoding="utf-16" if rng.random() < 0.1 else "utf-8")


def change_image(path: Path, rng: np.random.Generator) -> None:
    """An image of another type, order of axes, size, with NaN, or of too many dimensions."""
    import nibabel as nib

    image = nib.load(path)
    data = np.asarray(image.dataobj)
    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a.astype(np.float64) / 3,
        lambda a: a.T,
        lambda a: np.where(rng.random(a.shape) < 0.01, np.nan, a.astype(np.float32)),
        lambda a: a[..., :1],
        lambda a: a[:-1],
        lambda a: np.stack([a, a], axis=-1),
        lambda a: np.full(a.shape, np.inf, np.float32),
        lambda a: np.zeros_like(a),
        lambda a: (a * 1j).astype(np.complex64),
    ]
    made = changes[int(rng.integers(len(changes)))](data)
    nib.save(nib.Nifti1Image(made, image.affine), path)


def change_hdf5(path: Path, rng: np.random.Generator) -> None:
    """An array of another type or order, with NaN, missing, a text, or of absurd size."""
    import h5py

    names: list[str] = []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda n, item: names.append(n) if isinstance(item, h5py.Dataset) else None)
        name = names[int(rng.integers(len(names)))]
        shape = file[name].shape
        if not shape or np.prod(shape, dtype=float) > 1e7:
            del file[name]
            file[name] = np.zeros((3, 2))
            return
        values = file[name][()]
        kind = int(rng.integers(8))
        del file[name]
        if kind == 0:
            file[name] = values.T
        elif kind == 1:
            file[name] = np.array([b"text"] * 3)
        elif kind == 2:
            file[name] = values[..., None]
        elif kind == 3:
            huge = (2**40, *shape[1:])
            file.create_dataset(
                name,
                huge,
                values.dtype if values.dtype.kind in "iuf" else "f8",
                chunks=(1, *shape[1:]),
            )
        elif kind == 4 and values.dtype.kind in "iuf":
            file[name] = np.full(shape, np.nan)
        elif kind == 5 and values.dtype.kind in "iuf":
            file[name] = values.astype(np.float64) - 1e9
        elif kind == 6:
            file.create_group(name)


def change_archive(path: Path, rng: np.random.Generator) -> None:
    """A member of absurd size, a bomb, a name that leads out, objects, or one that is gone."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(members)
    name = names[int(rng.integers(len(names)))]
    kind = int(rng.integers(6))
    if kind == 0:
        members[name] = _header((2**40, 11), "<f8")
    elif kind == 1:
        members[name] = _header((2**28, 11), "<f8") + b"\x00" * (64 << 20)  # deflates to little
    elif kind == 2:
        members[f"../../../escape-{name}"] = members.pop(name)
    elif kind == 3:
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        members[name] = buffer.getvalue()
    elif kind == 4:
        members[name] = _header((-5, 11), "<f8")
    else:
        del members[name]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


def change_tar(path: Path, rng: np.random.Generator) -> None:
    """Members that lead out, links, and arrays of another kind."""
    import tarfile

    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("../../../escape.behav.npy")
        kind = int(rng.integers(4))
        if kind == 0:
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
        else:
            arrays = [np.full((1, 17), np.nan), np.ones((1, 3)), np.array([["x"] * 17])]
            buffer = io.BytesIO()
            np.save(buffer, arrays[kind - 1])
            member.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(member, buffer)


GENERAL = (truncate, flip_bits, overwrite_numbers, insert_noise, replace_content, rename_away)
SPECIAL: dict[str, Callable[[Path, np.random.Generator], None]] = {
    ".nii.gz": change_image,
    ".nii": change_image,
    ".hdf5": change_hdf5,
    ".h5": change_hdf5,
    ".npz": change_archive,
    ".tar": change_tar,
    ".tsv": change_text,
    ".csv": change_text,
    ".txt": change_text,
    ".json": change_text,
    ".gii": change_text,
}


def damage(root: Path, rng: np.random.Generator) -> list[str]:
    """Damage one to three files; returns what was done."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    # small tables and headers as often as the many images
    kinds = sorted({"".join(path.suffixes[-2:]) for path in files})
    done = []
    for _ in range(int(rng.integers(1, 4))):
        kind = kinds[int(rng.integers(len(kinds)))]
        some = [p for p in files if "".join(p.suffixes[-2:]) == kind and p.is_file()]
        if not some:
            continue
        path = some[int(rng.integers(len(some)))]
        _detach(path)
        special = next((f for end, f in SPECIAL.items() if path.name.endswith(end)), None)
        if path.name.endswith(".dtseries.nii"):
            special = None
        function = GENERAL[int(rng.integers(len(GENERAL)))]
        if special is not None and rng.random() < 0.5:
            function = special
        try:
            function(path, rng)
        except Exception as error:  # noqa: BLE001  (already damaged beyond this damage)
            done.append(f"{function.__name__} failed on {path.name}: {error}")
            continue
        done.append(f"{function.__name__} {path.relative_to(root)}")
    return done


def _detach(path: Path) -> None:
    """Make a link a file of its own, so that what is linked stays whole."""
    if path.stat().st_nlink > 1:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


# ---------------------------------------------------------------- the run


def prepare(command: str, source: str, store: str, options: Options) -> str:
    """What it came to: "stored", "refused: SENTENCE", or "traceback: TRACEBACK"."""
    from importlib import import_module

    from mindvis.errors import MindVisError

    function = getattr(import_module(f"preprocessing.{command}"), f"prepare_{command}")
    try:
        function(source=source, store=store, **options)
    except MindVisError as error:
        sentence = str(error)
        said = sentence.replace(source, "SOURCE")
        return f"refused: {said}" if said.endswith(".") else f"traceback: no sentence: {said}"
    except Exception:  # noqa: BLE001  (which is what is looked for)
        return f"traceback: {traceback.format_exc()}"
    return "stored"


#: imported once, before children are forked
IMPORTS = ["joblib", "nibabel", "nilearn.signal", "scipy.io", "mindvis.provenance"]
IMPORTS += [
    f"preprocessing.{name}"
    for name in ("arrays", "bids", "bold5000", "god", "haxby", "hcp", "miyawaki", "nsd", "things")
]


def child(tasks: "mp.Queue[Task | None]", results: "mp.Queue[str]") -> None:
    """Prepare what comes, in a process whose memory is limited."""
    from preprocessing import write

    write.software_versions = cache(write.software_versions)  # 40 ms, of what is not in the source
    sys.stdout = sys.stderr = io.StringIO()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    results.put("ready")
    while (task := tasks.get()) is not None:
        results.put(prepare(*task))


class Worker:
    """A child that is started again when it dies, hangs or is old."""

    def __init__(self) -> None:
        self.context = mp.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTS)
        self.start()

    def start(self) -> None:
        self.tasks, self.results = self.context.Queue(), self.context.Queue()
        self.process = self.context.Process(
            target=child, args=(self.tasks, self.results), daemon=True
        )
        self.process.start()
        self.results.get(timeout=300)
        self.age = 0

    def run(self, task: Task) -> str:
        if self.age == KEPT:
            self.close()
            self.start()
        self.age += 1
        self.tasks.put(task)
        for _ in range(SECONDS):  # waits, not a clock: it may be this process that was stopped
            try:
                return self.results.get(timeout=1)
            except queue.Empty:
                if not self.process.is_alive():
                    code = self.process.exitcode
                    self.start()
                    return f"died with exit code {code}"
        self.process.kill()
        self.process.join()
        self.start()
        return f"no end after {SECONDS} s"

    def close(self) -> None:
        self.tasks.put(None)
        self.process.join(10)


def listing(folder: Path) -> set[str]:
    """All names below a folder."""
    return {f"{at}/{name}" for at, below, files in os.walk(folder) for name in below + files}


def run_input(
    name: str, number: int, seed: int, space: Path, worker: Worker
) -> tuple[list[str], str]:
    """Damage and prepare one input; what was done to it, and what came of it."""
    _, command, below, options = FORMATS[name]
    rng = np.random.default_rng([seed, sorted(FORMATS).index(name), number])
    nest = space / "nest"
    source, out = nest / "a" / str(number) / "source", nest / "a" / str(number) / "out"
    shutil.copytree(space / "whole", source, copy_function=os.link)
    out.mkdir()
    done = damage(source, rng)
    before = listing(nest)
    end = worker.run((command, str(source / below), str(out / "s.h5"), options))
    inside = f"{out}/"
    written = sorted(path for path in listing(nest) ^ before if not path.startswith(inside))
    strange = [path.name for path in out.iterdir() if not path.name.startswith(("s.h5", ".s.h5"))]
    shutil.rmtree(nest)
    return done, f"wrote {written[:3]} {strange[:3]}" if written or strange else end


def run_format(
    name: str, numbers: Sequence[int], seed: int, worker: Worker, entry: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Fuzz one format; yields the counts of each end and the findings, from time to time."""
    start, before = time.monotonic(), entry["seconds"]
    ends, findings, said = Counter(entry["ends"]), entry["findings"], entry["sentences"]
    root = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as space:
        FORMATS[name][0](Path(space) / "whole")
        for done, number in enumerate(numbers, start=1):
            damages, end = run_input(name, number, seed, Path(space), worker)
            kind = end.split(":")[0]
            ends[kind] += 1
            if kind == "refused" and len(said) < SAMPLE:
                said.append(end)
            if kind not in {"stored", "refused"}:
                findings.append({"number": number, "damage": damages, "end": end[-2000:]})
            entry |= {"inputs": entry["inputs"] + 1, "ends": dict(ends)}
            entry["seconds"] = round(before + time.monotonic() - start, 1)
            if done % KEPT == 0 or done == len(numbers):
                yield entry


def main() -> int:
    """Run all formats and write what was found."""
    if "--planted" in sys.argv:
        from benchmarks.planted.__main__ import main as planted

        return planted()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="inputs of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--only", default="", help="numbers of the inputs, instead of a count")
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz.json"))
    arguments = parser.parse_args()
    only = [int(number) for number in arguments.only.split(",") if number]
    worker, output, seed = Worker(), arguments.output, arguments.seed
    report: dict[str, Any] = {"seed": seed, "formats": {}}
    if output.is_file() and not only:
        report = json.loads(output.read_text())
        if report["seed"] != seed:
            parser.error(f"{output} is of seed {report['seed']}")
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = {"inputs": 0, "ends": {}, "seconds": 0.0, "findings": [], "sentences": []}
    for name in arguments.formats.split(","):
        entry = report["formats"].setdefault(name, deepcopy(fresh))
        numbers = only or range(entry["inputs"], arguments.count)
        for _ in run_format(name, numbers, seed, worker, entry):
            output.write_text(json.dumps(report, indent=2) + "\n")
        found = [finding["number"] for finding in entry["findings"]]
        print(f"{name}: {entry['inputs']} inputs, {entry['ends']}, findings {found}", flush=True)
    worker.close()
    return int(any(entry["findings"] for entry in report["formats"].values()))


if __name__ == "__main__":
    sys.exit(main())
