"""Faults put back one at a time: each must make a planted tree fail that passes without it.

python -m benchmarks.planted.breaks [--trees 400]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.planted.check import Outcome, check_tree
from benchmarks.planted.recipe import Recipe, draw


@dataclass(frozen=True)
class Break:
    """A fault: what is replaced by what, and the trees in which it shows."""

    name: str
    replaced: dict[str, Any]
    shows: Callable[[Recipe], bool]

    @contextmanager
    def made(self) -> Iterator[None]:
        """The fault inside of the block."""
        with ExitStack() as stack:
            for target, value in self.replaced.items():
                module, _, attribute = target.rpartition(".")
                stack.enter_context(patch.object(_owner(module), attribute, value))
            yield


def _owner(name: str) -> Any:
    """A module, or a class in one."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(import_module(module), attribute)


def _has(kind: str, *names: str) -> Callable[[Recipe], bool]:
    return lambda recipe: recipe.is_(kind, *names) and recipe.verdict != "refuse"


def _refused(kind: str, *names: str) -> Callable[[Recipe], bool]:
    return lambda recipe: recipe.is_(kind, *names)


def _without_cosines(
    count: int, tr: float, options: Any, confounds: Any, **_: Any
) -> np.ndarray[Any, Any] | None:
    """All cosines are left out where a confound resembles one of them."""
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    drifts = create_cosine_drift(options.high_pass or 0.0, tr * np.arange(count))[:, :-1]
    if confounds is None or not drifts.shape[1]:
        return drifts if confounds is None else confounds
    alike = np.corrcoef(confounds.T, drifts.T)[: confounds.shape[1], confounds.shape[1] :]
    return confounds if np.nanmax(np.abs(alike)) > 0.9 else np.hstack([confounds, drifts])


def _by_pandas(path: Any, columns: Any = (), delimiter: Any = None) -> pd.DataFrame:
    return pd.read_csv(path, sep=delimiter or "\t", dtype=str, keep_default_na=False)


def _with_types(path: Any, columns: Any = (), delimiter: Any = None) -> pd.DataFrame:
    table = pd.read_csv(path, sep=delimiter or "\t", keep_default_na=False, index_col=False)
    return table.map(str)


def _unscaled(values: Any, *_: Any) -> Any:
    return values


def _none_or_number(path: Any, sidecar: dict[str, Any], key: str) -> float | None:
    value = sidecar.get(key)
    return float(value) if isinstance(value, int | float) else None


def _by_row(table: pd.DataFrame) -> Any:
    return np.arange(len(table))


def _to_rgb(path: Any, *_: Any) -> Any:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.convert("RGB")


P = "preprocessing."
BREAKS = [
    Break(
        "cosines left out beside a drifting head",
        {f"{P}signal.nuisance_regressors": _without_cosines},
        lambda r: r.is_("motion", "drift") and r.is_("cleaning", "all"),
    ),
    Break(
        "run-01 is not run-1",
        {f"{P}layout.comparable": lambda _, value: value},
        _has("labels", "01 there, 1 here", "1 there, 01 here"),
    ),
    Break(
        "tables by pandas, an index column where rows end in a tab",
        {f"{P}events.read_table": _by_pandas, f"{P}confounds.read_table": _by_pandas},
        lambda r: (
            r.is_("table", "tab at the end of rows")
            or r.is_("confounds table", "tab at the end of rows")
        ),
    ),
    Break(
        "tables by pandas, with types",
        {f"{P}events.read_table": _with_types},
        _has("label words", "like numbers and nulls"),
    ),
    Break("repeats by row", {f"{P}trials.time_order": _by_row}, _has("rows", "backwards")),
    Break(
        "the scans table is passed over",
        {f"{P}layout.acquisition_times": lambda _: {}},
        _has("scans table", "in reverse order"),
    ),
    Break(
        "confounds of old names count as absent",
        {
            f"{P}confounds.ENDINGS": ("_desc-confounds_timeseries.tsv",),
            f"{P}confounds._refuse_unknown_names": lambda *_: None,
        },
        _has("confounds", "old", "regressors", "unknown name"),
    ),
    Break(
        "milliseconds are seconds",
        {f"{P}reader.LONGEST": 1e9},
        _has("repetition time", "milliseconds", "header without unit, in milliseconds"),
    ),
    Break(
        "a repetition time that is text counts as absent",
        {f"{P}reader._number": _none_or_number},
        lambda r: r.is_("repetition time", "text") and r.verdict == "either",
    ),
    Break(
        "StartTime is passed over",
        {f"{P}reader.Timing.times": lambda self, count: self.tr * np.arange(count)},
        _has("repetition time", "start time"),
    ),
    Break(
        "echoes are runs",
        {f"{P}layout._SAME_ACQUISITION": frozenset()},
        _refused("structure", "echoes", "reconstructions"),
    ),
    Break(
        "hidden files are files",
        {f"{P}{module}.visible": list for module in ("layout", "confounds", "roi")},
        _has("hidden files", "of a Mac"),
    ),
    Break(
        "the window passes over the duration",
        {f"{P}signal.window_end": lambda _, options: options.lag_end},
        _has("durations", "long"),
    ),
    Break(
        "n/a is a class",
        {f"{P}events.MISSING": frozenset({""})},
        _has("label words", "n/a among them"),
    ),
    Break(
        "names compare as they are spelled",
        {f"{P}pictures.normalize": lambda _, text: text},
        _has("names", "composed in the table, decomposed on disk", "both forms in the table"),
    ),
    Break(
        "16-bit pictures are cut to white",
        {"mindvis.data.picture_files._deep": lambda *_: None},
        _has("pictures", "16-bit PNG", "16-bit TIFF", "float TIFF"),
    ),
    Break(
        "the orientation of a picture is passed over",
        {"PIL.ImageOps.exif_transpose": lambda image: image},
        _has("pictures", "turned JPEG"),
    ),
    Break(
        "transparent pictures are black",
        {"mindvis.data.picture_files.on_background": lambda rgba, _: rgba[..., :3]},
        _has("pictures", "transparent PNG", "transparent palette PNG"),
    ),
    Break(
        "scaling of images is passed over",
        {"nibabel.arrayproxy.apply_read_scaling": _unscaled},
        _has("image", "scaled int16", "scaled uint8"),
    ),
    Break(
        "the number of a run is its place",
        {f"{P}layout.Scan.run_label": property(lambda scan: scan.run)},
        lambda r: r.is_("split", "runs") and r.is_("tasks", "two"),
    ),
    Break(
        "masks of every space",
        {f"{P}roi.most_specific": lambda files, _: [f for f in files if "func" in f.parts]},
        _has("structure", "spaces, one chosen", "spaces, none chosen"),
    ),
]


def caught(fault: Break, trees: int, space: Path) -> Outcome | None:
    """The first tree that passes without a fault and fails with it."""
    for number in range(trees):
        if not fault.shows(draw(number)):
            continue
        with fault.made():
            outcome = check_tree(number, space / "broken")
        if outcome.failed and not check_tree(number, space / "whole").failed:
            return outcome
    return None


def _short(text: str) -> str:
    """The sentence, or the last line of a traceback."""
    return text.strip().splitlines()[-1][:90]


def main() -> int:
    """Say for each fault which tree catches it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=600)
    trees, missed = parser.parse_args().trees, 0
    for fault in BREAKS:
        with tempfile.TemporaryDirectory() as space:
            outcome = caught(fault, trees, Path(space))
        missed += outcome is None
        found = (
            f"tree {outcome.recipe.number}: {outcome.end}, {_short(outcome.text)}"
            if outcome
            else ""
        )
        print(f"{fault.name} | {found or 'NOT CAUGHT'}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
