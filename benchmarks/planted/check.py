"""Prepare a planted tree and compare the store with what was planted."""

import contextlib
import io
import logging
import shutil
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted.naming import Entities
from benchmarks.planted.others import run_order
from benchmarks.planted.recipe import ACCEPT, REFUSE, Recipe, draw
from benchmarks.planted.tree import Expected, Mask, Store, affine, build

#: what may become of a tree; the first two are right, depending on the verdict
STORED, REFUSED, WRONG, BROKEN = "stored", "refused", "wrong", "broken"


@dataclass(frozen=True)
class Outcome:
    """What became of a tree.

    Args:
        recipe: Its ingredients.
        end: One of stored, refused, wrong (other numbers), broken (another exception).
        text: The sentence, the difference, or the traceback.
    """

    recipe: Recipe
    end: str
    text: str = ""

    @property
    def failed(self) -> bool:
        """Whether that is not what the recipe allows."""
        if self.end in {WRONG, BROKEN}:
            return True
        must = {ACCEPT: STORED, REFUSE: REFUSED}.get(self.recipe.verdict, self.end)
        return self.end != must

    def __str__(self) -> str:
        return f"{self.end}: {self.recipe}\n    {self.text}"


def check_tree(number: int, space: Path, seed: int = 0, *, show: bool = False) -> Outcome:
    """Write, prepare and compare the tree of a number below an empty folder; may list its files."""
    recipe = draw(number, seed)
    root = space / "tree"
    expected = build(root, recipe, seed)
    if show:
        print("\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())))
    sentence = prepare(root, space / "s.h5", recipe)
    if sentence is None:
        found = sorted(set(differences(recipe, space / "s.h5", expected)))
        end = Outcome(recipe, WRONG if found else STORED, "; ".join(found[:8]))
    else:
        end = Outcome(recipe, BROKEN if sentence.startswith("Traceback") else REFUSED, sentence)
    shutil.rmtree(space)
    return end


def prepare(root: Path, store: Path, recipe: Recipe) -> str | None:
    """Run `prepare bids` in this process: None, its sentence, or a traceback."""
    from mindvis.errors import MindVisError
    from preprocessing.bids import prepare_bids

    logging.disable(logging.CRITICAL)
    silent = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
        ):
            warnings.simplefilter("ignore")
            prepare_bids(str(root), str(store), **recipe.options)
    except MindVisError as error:
        return str(error).replace(f"{root}/", "")
    except Exception:  # noqa: BLE001  (which is what is looked for)
        return traceback.format_exc()
    finally:
        logging.disable(logging.NOTSET)
    return None


def differences(recipe: Recipe, store: Path, expected: Store) -> Iterator[str]:
    """What in a store is not as it was planted."""
    from mindvis.data.store import VoxelStore

    with VoxelStore(store) as opened:
        if sorted(opened.subjects) != sorted(expected.masks):
            yield f"subjects {opened.subjects}"
            return
        for name, mask in expected.masks.items():
            subject = opened[name]
            if not np.array_equal(subject.ijk, np.argwhere(mask)):
                yield "voxels"
                continue
            if not np.allclose(subject.affine, affine()):
                yield "affine"
            if name in expected.rois:
                roi = subject.rois.get("V1")
                if roi is None or not np.array_equal(roi, expected.rois[name][mask]):
                    yield "ROI"
            yield from _trials(recipe, subject, expected.responses[name], mask)
        yield from _pictures(opened.stimuli, expected)


def _pictures(stimuli: Any, expected: Store) -> Iterator[str]:
    keys = sorted(expected.pictures)
    if list(stimuli.ids) != keys:
        yield f"pictures {list(stimuli.ids)}, expected {keys}"
        return
    for number, key in enumerate(keys):
        pixels, tolerance, label = expected.pictures[key]
        found = stimuli.images([number])[0]
        if found.shape != pixels.shape:
            yield f"picture of {found.shape}"
        elif np.abs(found.astype(float) - pixels).mean() > tolerance:
            yield f"pixels: {np.abs(found.astype(float) - pixels).mean():.3g} apart"
        if stimuli.labels[number] != label:
            yield f"label {stimuli.labels[number]!r}, expected {label!r}"


def _trials(recipe: Recipe, subject: Any, expected: list[Expected], mask: Mask) -> Iterator[str]:
    table, responses = subject.trials, subject.responses()
    if len(table) != len(expected):
        yield f"{len(table)} trials, expected {len(expected)}"
        return
    seen: dict[tuple[int, int, str], set[str]] = {}
    rest = iter(e for e in expected if e.trial is None)
    by_onset = {round(e.onset, 3): e for e in expected if e.trial}
    found: list[tuple[Expected, int, int, float]] = []
    for row, values in zip(table.itertuples(index=False), responses, strict=True):
        e = next(rest, None) if row.kind == "rest" else by_onset.pop(round(row.onset, 3), None)
        if e is None or abs(e.onset - row.onset) > 1e-3:
            yield f"a {row.kind} trial at {row.onset}"
            continue
        worst = float(np.abs(values - e.values.reshape(mask.shape)[mask]).max())
        if not worst <= e.tolerance:
            yield f"responses of {row.kind} trials differ by more than {e.tolerance:.2g}"
        if e.trial is not None:
            got = (row.stimulus, row.condition, row.split)
            wanted = (e.trial.picture.key, e.trial.picture.condition, e.trial.split)
            if got != wanted:
                yield f"trial {got}, expected {wanted}"
            found.append((e, row.session, row.run, row.repeat))
        yield from _numbers(e.run, row.session, row.run)
        key = (row.session, row.run, row.kind)
        seen.setdefault(key, set()).add(repr(sorted(e.run.items())))
    if any(len(names) > 1 for names in seen.values()):
        yield "two runs have one number"
    if found:
        yield from _repeats(recipe, found)


def _numbers(run: Entities, session: int, number: int) -> Iterator[str]:
    """A session that is a number has that number."""
    if run.get("ses", "x").isdecimal() and int(run["ses"]) != session:
        yield f"session {session} for {run['ses']}"


def _repeats(recipe: Recipe, found: list[tuple[Expected, int, int, float]]) -> Iterator[str]:
    """Repeats count a picture's trials in order of session, run and onset, where that is known."""
    first = found[0][0].run
    if any(e.run["task"] != first["task"] or "dir" in e.run for e, *_ in found):
        return
    if not first.get("ses", "1").isdecimal():
        return
    counts: Counter[str] = Counter()
    keys = [(int(e.run.get("ses", 1)), run_order(recipe, e.run), e.onset) for e, *_ in found]
    for place in sorted(range(len(found)), key=keys.__getitem__):
        e, _, number, repeat = found[place]
        assert e.trial is not None
        if repeat != counts[e.trial.picture.key]:
            yield f"repeat {repeat}, expected {counts[e.trial.picture.key]}"
        if "run" in e.run and number != int(e.run["run"]):
            yield f"run {number} for {e.run['run']}"
        counts[e.trial.picture.key] += 1
