"""Arrays of others, for `prepare arrays`: orientations, types, ranges and files of all kinds.

python -m benchmarks.planted.arrays [--count 2000] [--only 133]
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.planted.check import BROKEN, REFUSED, STORED, WRONG, Outcome
from benchmarks.planted.recipe import ACCEPT, EITHER, REFUSE, Items, Recipe, drawn

KINDS: dict[str, Items] = {
    "file": [
        ("npz", 3, ACCEPT),
        ("MATLAB 5", 3, ACCEPT),
        ("MATLAB 7.3", 3, ACCEPT),
        ("h5", 1, ACCEPT),
    ],
    "responses": [
        ("float32", 4, ACCEPT),
        ("float64", 2, ACCEPT),
        ("int16", 1, ACCEPT),
        ("float16", 0.5, EITHER),
        ("beyond float32", 0.5, REFUSE),
        ("NaN", 0.5, REFUSE),
        ("infinite", 0.5, REFUSE),
    ],
    "turned": [("no", 8, ACCEPT), ("voxels by trials", 1, EITHER), ("a trial short", 0.5, REFUSE)],
    "layout": [
        ("hwc", 3, ACCEPT),
        ("hwc grey", 1, ACCEPT),
        ("chw", 1, ACCEPT),
        ("hwcn", 1, ACCEPT),
        ("flat-rows", 1, ACCEPT),
        ("flat-columns", 1, ACCEPT),
        ("pixels by pictures", 1, EITHER),
    ],
    "values": [
        ("bytes", 4, ACCEPT),
        ("0 to 1", 2, ACCEPT),
        ("0 to 255", 1, ACCEPT),
        ("logical", 1, ACCEPT),
        ("int32", 1, ACCEPT),
        ("a little above 1", 1, EITHER),
        ("-1 to 1", 0.5, EITHER),
        ("16 bits", 0.5, EITHER),
        ("0 to 1, declared", 1, ACCEPT),
        ("NaN", 0.5, REFUSE),
    ],
    "pictures": [
        ("one a trial", 2, ACCEPT),
        ("by number", 2, ACCEPT),
        ("by number from 1", 2, ACCEPT),
    ],
    "labels": [
        ("none", 2, ACCEPT),
        ("numbers", 2, ACCEPT),
        ("words", 2, ACCEPT),
        ("n/a among them", 1, ACCEPT),
        ("rows of letters", 1, ACCEPT),
        ("named numbers", 1, ACCEPT),
        ("one too few", 0.5, REFUSE),
    ],
    "split": [("words", 2, ACCEPT), ("numbers", 2, ACCEPT), ("two arrays", 1, ACCEPT)],
}
Arrays = dict[str, Any]


class Letters(list[str]):
    """A matrix of letters, one text a row, as MATLAB's char makes it."""

    def __getitem__(self, rows: Any) -> Any:
        return Letters(list(self)[rows])


def build(path: Path, recipe: Recipe, seed: int) -> tuple[Path, dict[str, Any], Arrays]:
    """Write a file of arrays; its path, the options, and what each trial must be."""
    rng = np.random.default_rng([seed, recipe.number, 2])
    trials, voxels, kinds = int(rng.integers(7, 12)), int(rng.integers(13, 19)), 5
    responses = np.round(rng.normal(0, 100, (trials, voxels)), 3)
    shown = rng.integers(0, kinds, trials)
    shown[:kinds] = rng.permutation(kinds)
    values, pixels = _pictures(recipe, kinds, rng)
    truth: Arrays = {"responses": _typed(responses, recipe), "pixels": pixels[shown]}
    arrays: Arrays = {"betas": truth["responses"]}
    options: dict[str, Any] = {"responses": "betas", "images": "pictures"}
    if recipe.is_("turned", "voxels by trials"):
        arrays["betas"] = arrays["betas"].T
    if recipe.is_("turned", "a trial short"):
        arrays["betas"] = arrays["betas"][:-1]
    if recipe.is_("pictures", "one a trial"):
        values = values[shown]
    else:
        first = int(recipe.is_("pictures", "by number from 1"))
        arrays["number"] = (shown + first).astype(np.float64 if recipe.number % 2 else np.int64)
        options |= {"index": "number", "first_index": first}
    layout = recipe.chosen["layout"].removesuffix(" grey")
    turned = layout == "pixels by pictures"
    arrays["pictures"] = _laid_out(values, "flat-rows" if turned else layout)
    if turned:
        arrays["pictures"] = arrays["pictures"].T
    options["image_layout"] = "flat-rows" if turned else layout
    if "flat" in options["image_layout"]:
        options["image_shape"] = list(values.shape[1:])
    if recipe.is_("values", "0 to 1, declared"):
        options["image_scale"] = "0-1"
    truth["labels"] = _labels(recipe, shown, arrays, options)
    truth["splits"] = _splits(recipe, trials, arrays, options, rng)
    return write(path, recipe.chosen["file"], arrays), options, truth


def _typed(responses: NDArray[np.float64], recipe: Recipe) -> Any:
    kind = recipe.chosen["responses"]
    spoiled = {"beyond float32": 1e39, "NaN": np.nan, "infinite": np.inf}
    if kind in spoiled:
        responses[1, 2] = spoiled[kind]
        return responses
    return (np.rint(responses) if kind == "int16" else responses).astype(kind)


def _pictures(recipe: Recipe, count: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Values as they lie in the array (n, H, W[, 3]), and the bytes that they are."""
    grey = recipe.is_("layout", "hwc grey", "flat-rows", "flat-columns", "pixels by pictures")
    shape = (count, 6, 4) if grey else (count, 6, 4, 3)
    levels = rng.integers(0, 256, shape).astype(np.uint8)
    levels.reshape(count, -1)[:, :2] = [0, 255]
    kind = recipe.chosen["values"]
    if kind == "logical":
        levels = np.where(levels > 127, 255, 0).astype(np.uint8)
    unit = levels / 255
    values = {
        "bytes": levels,
        "0 to 1": unit,
        "0 to 255": levels.astype(np.float64),
        "logical": levels > 0,
        "int32": levels.astype(np.int32),
        "a little above 1": unit * 1.0001,
        "-1 to 1": unit * 2 - 1,
        "16 bits": levels.astype(np.uint16) * 257,
        "0 to 1, declared": unit.astype(np.float32),
        "NaN": np.where(levels == 255, np.nan, unit),
    }[kind]
    return values, np.repeat(levels[..., None], 3, axis=-1) if grey else levels


def _laid_out(values: Any, layout: str) -> Any:
    """Pictures (n, H, W[, C]) in a layout."""
    if layout == "chw" and values.ndim == 4:
        return np.moveaxis(values, -1, 1)
    if layout == "hwcn":
        return np.moveaxis(values, 0, -1)
    if layout == "flat-rows":
        return values.reshape(len(values), -1)
    if layout == "flat-columns":
        return np.stack([picture.ravel(order="F") for picture in values])
    return values


def _labels(recipe: Recipe, shown: Any, arrays: Arrays, options: dict[str, Any]) -> list[str]:
    kind = recipe.chosen["labels"]
    if kind == "none":
        return []  # each picture is a class of its own
    options["labels"] = "class"
    words = ["cat", "n/a" if kind == "n/a among them" else "dog", "tea cup", "cat", "K\u00e4se"]
    if kind in {"numbers", "named numbers"}:
        arrays["class"] = (shown + 1).astype(np.uint8)
        if kind == "named numbers":
            options["label_names"] = {str(n + 1): word for n, word in enumerate(words)}
            return [words[n] for n in shown]
        return [str(n + 1) for n in shown]
    if kind == "rows of letters" and recipe.chosen["file"].startswith("MATLAB"):
        arrays["class"] = Letters([words[n] for n in shown])
        return [words[n] for n in shown]
    arrays["class"] = np.array([words[n] for n in shown])[: -1 if kind == "one too few" else None]
    return ["" if words[n] == "n/a" else words[n] for n in shown]


def _splits(
    recipe: Recipe, trials: int, arrays: Arrays, options: dict[str, Any], rng: np.random.Generator
) -> list[str]:
    test = rng.random(trials) < 0.4
    test[:2] = [True, False]
    if recipe.is_("split", "two arrays"):
        count = trials // 2
        for name, rows in (("train", slice(0, count)), ("test", slice(count, None))):
            for key in ("betas", "pictures", "number", "class"):
                if key in arrays:
                    _part(arrays, key, name, rows, options, recipe)
        for key in ("betas", "pictures", "number", "class"):
            arrays.pop(key, None)
        for key in ("responses", "images", "index", "labels"):
            options.pop(key, None)
        return ["train"] * count + ["test"] * (trials - count)
    options["split"] = "part"
    words = recipe.is_("split", "words")
    arrays["part"] = np.array(["test" if t else "train" for t in test]) if words else test * 1 + 1
    options["test_values"] = ["test"] if words else ["2"]
    return ["test" if t else "train" for t in test]


def _part(
    arrays: Arrays, key: str, name: str, rows: slice, options: dict[str, Any], recipe: Recipe
) -> None:
    """The trials of one split of an array; all pictures where a number chooses among them."""
    option = {"betas": "responses", "pictures": "images", "number": "index", "class": "labels"}[key]
    array, last = arrays[key], False
    if key == "pictures":
        last = recipe.is_("layout", "hwcn", "pixels by pictures")
        rows = slice(None) if "number" in arrays else rows
    if key == "betas":
        last = recipe.is_("turned", "voxels by trials")
    arrays[f"{name}_{key}"] = array[..., rows] if last else array[rows]
    options[f"{name}_{option}"] = f"{name}_{key}"


def write(path: Path, form: str, arrays: Arrays) -> Path:
    """Write arrays to a file of a form."""
    if form == "npz":
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")
    if form == "MATLAB 5":
        from scipy.io import savemat

        path = path.with_suffix(".mat")
        cells = {k: _version5(v) for k, v in arrays.items()}
        savemat(path, cells, do_compression=True)
        return path
    path = path.with_suffix(".mat" if form == "MATLAB 7.3" else ".h5")
    with h5py.File(path, "w", userblock_size=512 if form == "MATLAB 7.3" else 0) as file:
        for key, array in arrays.items():
            _write_dataset(file, key, array, matlab=form == "MATLAB 7.3")
    if form == "MATLAB 7.3":
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def _version5(array: Any) -> Any:
    """Texts as cells, or as a matrix of letters."""
    if isinstance(array, Letters):
        return np.array(list(array))
    return array.astype(object) if array.dtype.kind == "U" else array


def _write_dataset(file: Any, key: str, array: Any, *, matlab: bool) -> None:
    """One array as h5py writes it, or as MATLAB does: axes backwards, vectors as one row."""
    if isinstance(array, Letters):
        width = max(map(len, array))
        codes = np.array([[ord(c) for c in text.ljust(width)] for text in array], dtype=np.uint16)
        file.create_dataset(key, data=codes.T).attrs["MATLAB_class"] = np.bytes_("char")
        return
    text = array.dtype.kind == "U"
    if not matlab:
        file[key] = array.astype(h5py.string_dtype()) if text else array
        return
    array = array[None] if array.ndim == 1 else array
    if not text:
        data = array.astype(np.uint8) if array.dtype == bool else array
        dataset = file.create_dataset(key, data=data.T)
        name = {"bool": "logical", "float64": "double", "float32": "single"}
        dataset.attrs["MATLAB_class"] = np.bytes_(name.get(str(array.dtype), str(array.dtype)))
        if array.dtype == bool:
            dataset.attrs["MATLAB_int_decode"] = np.int32(1)
        return
    cells = np.empty(array.T.shape, dtype=h5py.ref_dtype)
    for place, word in enumerate(array.ravel()):
        codes = np.array([[ord(letter)] for letter in word], dtype=np.uint16)
        cell = file.create_dataset(f"#refs#/{key}{place}", data=codes)
        cell.attrs["MATLAB_class"] = np.bytes_("char")
        cell.attrs["MATLAB_int_decode"] = np.int32(2)
        cells[place, 0] = cell.ref
    file.create_dataset(key, data=cells).attrs["MATLAB_class"] = np.bytes_("cell")


def check_arrays(number: int, space: Path, seed: int = 0) -> Outcome:
    """Write, prepare and compare the arrays of a number."""
    from mindvis.errors import MindVisError
    from preprocessing.arrays import prepare_arrays

    recipe = drawn(number, seed, KINDS)
    path, options, truth = build(space / "data", recipe, seed)
    silent = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
        ):
            warnings.simplefilter("ignore")
            prepare_arrays(str(path), str(space / "s.h5"), **options)
    except MindVisError as error:
        return Outcome(recipe, REFUSED, str(error).replace(f"{space}/", ""))
    except Exception as error:  # noqa: BLE001  (which is what is looked for)
        return Outcome(recipe, BROKEN, repr(error))
    found = sorted(set(differences(space / "s.h5", truth)))
    return Outcome(recipe, WRONG if found else STORED, "; ".join(found))


def differences(store: Path, truth: Arrays) -> Iterator[str]:
    """What in a store is not as it was planted."""
    from mindvis.data.store import VoxelStore

    with VoxelStore(store) as opened:
        subject = opened["sub-01"]
        responses, table = subject.responses(), subject.trials
        with np.errstate(over="ignore"):
            expected = np.asarray(truth["responses"], dtype=np.float32)
        if responses.shape != expected.shape or not np.array_equal(responses, expected):
            yield f"responses {responses.shape}"
            return
        if table["split"].tolist() != truth["splits"]:
            yield "splits"
        rows = opened.stimuli.index(table["stimulus"])
        images = opened.stimuli.images()[rows]
        if images.shape != truth["pixels"].shape:
            yield f"pictures {images.shape}"
        elif np.abs(images.astype(int) - truth["pixels"]).max() > 1:
            yield "pixels"
        labels = [opened.stimuli.labels[row] for row in rows]
        ids = [opened.stimuli.ids[row] for row in rows]  # of a picture without a class
        labels = ["" if label == key else label for label, key in zip(labels, ids, strict=True)]
        if truth["labels"] and labels != truth["labels"]:
            yield f"labels {labels}, expected {truth['labels']}"


def main() -> int:
    """Prepare many files, print those that fail, and count what became of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    numbers = range(arguments.count) if arguments.only is None else [arguments.only]
    ends: Counter[str] = Counter()
    start = time.monotonic()
    for number in numbers:
        with tempfile.TemporaryDirectory() as space:
            outcome = check_arrays(number, Path(space), arguments.seed)
        ends["FAILED" if outcome.failed else outcome.end] += 1
        if outcome.failed or arguments.only is not None:
            print(outcome, flush=True)
    print(f"{dict(ends)} in {time.monotonic() - start:.0f} s")
    return int(ends["FAILED"] > 0)


if __name__ == "__main__":
    sys.exit(main())
