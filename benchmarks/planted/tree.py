"""Write a planted tree, and say what its store must hold."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.planted import truth
from benchmarks.planted.naming import Entities, folder, of_image, runs, stem, variants
from benchmarks.planted.others import write_others, write_scans
from benchmarks.planted.pictures import FORMATS, Pixels, write_picture
from benchmarks.planted.recipe import Recipe
from benchmarks.planted.sidecars import Clock, write_clock
from benchmarks.planted.signals import Planted, plant, write_confounds
from benchmarks.planted.trials import Picture, Trial, draw_trials, pictures_of, write_events
from benchmarks.planted.volumes import AFFINE, write_mask, write_series

Mask = NDArray[np.bool_]


@dataclass
class Expected:
    """A response, and what the store says of it.

    Args:
        run: Entities of its run.
        trial: What was shown; None for a window of rest.
        onset: In seconds.
        values: (voxels of the grid,), those outside of the mask too.
        tolerance: Largest difference of a value.
    """

    run: Entities
    trial: Trial | None
    onset: float
    values: truth.Floats
    tolerance: float


@dataclass
class Store:
    """What must be in a store: a mask and responses by subject, pictures by id."""

    masks: dict[str, Mask] = field(default_factory=dict)
    responses: dict[str, list[Expected]] = field(default_factory=dict)
    pictures: dict[str, tuple[Pixels, float, str]] = field(default_factory=dict)
    rois: dict[str, Mask] = field(default_factory=dict)


def build(root: Path, recipe: Recipe, seed: int = 0) -> Store:
    """Write the tree of a recipe below `root` and return what it must give."""
    rng = np.random.default_rng([seed, recipe.number, 1])
    (root / "sub-01").mkdir(parents=True)
    about = {"Name": "Planted", "BIDSVersion": "1.9.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    store = Store()
    pictures = pictures_of(recipe, int(rng.integers(2, 5)))
    for picture in pictures:
        path = root / "stimuli" / picture.file
        form = recipe.chosen["pictures"]
        pixels = write_picture(path, form, rng)
        label = "" if picture.label == "n/a" else picture.label
        if recipe.is_("picture size", "one, cropped to squares"):
            pixels = pixels[:, 1:-1]
        store.pictures[picture.key] = (pixels, FORMATS[form][1], label)
    if recipe.is_("picture size", "several"):
        for picture in pictures[1:]:
            path = root / "stimuli" / picture.file
            Image.new("RGB", (9, 7)).save(path)
    shape = tuple(int(size) for size in rng.permutation([3, 4, 5]))
    for subject in ["01", "02"][: 1 + (recipe.number % 5 == 0)]:
        _write_subject(root, recipe, subject, pictures, shape, rng, store)
    _assign_splits(recipe, store)
    shown = {e.trial.picture.key for es in store.responses.values() for e in es if e.trial}
    store.pictures = {key: value for key, value in store.pictures.items() if key in shown}
    if recipe.is_("other files", "of BIDS and fMRIPrep"):
        write_others(root)
    if recipe.is_("hidden files", "of a Mac"):
        for path in [p for p in root.rglob("*") if p.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    return store


def _write_subject(
    root: Path,
    recipe: Recipe,
    subject: str,
    pictures: list[Picture],
    shape: tuple[int, ...],
    rng: np.random.Generator,
    store: Store,
) -> None:
    images = root / str(recipe.options.get("derivatives", "."))
    count = int(rng.integers(2, 4) if recipe.is_("split", "runs") else rng.integers(1, 4))
    planned = runs(recipe, count)
    count = count if len(planned) <= 6 else 1
    planned = planned if len(planned) <= 6 else planned[:6]
    if recipe.is_("rest", "one run"):
        session = {k: v for k, v in planned[0].items() if k == "ses"}
        planned.append({**session, "task": "rest"})
    mask, responses = np.ones(shape, dtype=bool), []
    whole = rng.random(shape) < 0.5
    whole[:2, :2, :2] = True
    for place, run in enumerate(planned):
        run = {"sub": subject, **run}
        wanted = "tasks" not in recipe.options or run["task"] in recipe.options["tasks"]
        own = whole.copy()
        if recipe.is_("mask", "one a run"):
            own &= rng.random(shape) < 0.9
            own[0, 0, :2] = True
        found = _write_run(root, images, recipe, run, place, pictures, own, rng)
        if wanted:
            mask &= own
            responses += found
    if recipe.is_("mask", "named", "of another grid"):
        larger = np.pad(mask, 1) if recipe.is_("mask", "of another grid") else mask
        write_mask(root / "masks" / f"brain_sub-{subject}.nii.gz", larger)
    if recipe.is_("rois", "found"):
        region = rng.random(shape) < 0.5
        region[0, 0] = True
        space = next(
            (e["space"] for e in [variants(recipe)[0][variants(recipe)[1]]] if "space" in e), ""
        )
        name = f"sub-{subject}{f'_space-{space}' * bool(space)}_label-V1_mask.nii.gz"
        write_mask(root / "derivatives" / "rois" / f"sub-{subject}" / name, region)
        store.rois[f"sub-{subject}"] = region
    write_scans(root, recipe, subject, planned)
    store.masks[f"sub-{subject}"], store.responses[f"sub-{subject}"] = mask, responses


def _write_run(
    root: Path,
    images: Path,
    recipe: Recipe,
    run: Entities,
    place: int,
    pictures: list[Picture],
    mask: Mask,
    rng: np.random.Generator,
) -> list[Expected]:
    """Write the images and tables of a run; its responses."""
    rest = run["task"] == "rest"
    trials = [] if rest else draw_trials(recipe, pictures, place, rng)
    tr = float(rng.choice([0.8, 1.5, 2.0, 2.5]))
    last = max([t.onset + t.duration for t in trials], default=40.0)
    clock = Clock.draw(recipe, tr, int((last + 16) / tr) + 3, rng)
    there, wanted = variants(recipe)
    here = of_image(recipe, run)
    signal = plant(recipe, clock, trials, mask.shape, rng)
    for n, extra in enumerate(there):
        entities = {**here, **extra}
        planted = signal if n == wanted else plant(recipe, clock, trials, mask.shape, rng)
        path = folder(images, entities) / f"{stem(entities)}_bold.nii"
        kinds = recipe.chosen["image"], recipe.chosen["file"]
        if not recipe.is_("values", "finite"):
            spoiled = mask if recipe.is_("values", "NaN inside") else ~mask
            planted.values[tuple(np.argwhere(spoiled)[0])] = np.nan
        held = write_series(path, planted.values, *kinds, clock.header)
        if n == wanted:
            signal = replace(planted, values=held)
        write_clock(root, path.with_suffix(".json"), entities, recipe, clock)
        ours = n == wanted or images == root
        _write_mask_of(root, images, recipe, entities, mask if ours else ~mask, last=n == wanted)
    extra = there[wanted]
    kept = {k: v for k, v in extra.items() if k in {"acq", "dir", "rec"} and len(there) == 1}
    if not rest and not (place == 0 and recipe.is_("event tables", "missing for a run")):
        path = folder(root, run) / f"{stem({**run, **kept})}_events.tsv"
        write_events(path, recipe, trials, rng)
    if signal.table is not None:
        begin = stem({**here, **extra}, "space", "res", "desc", "echo", "part")
        begin = begin if len(there) == 1 else stem(here, "space", "res", "desc")
        write_confounds(folder(images, here) / begin, recipe, signal.table)
    return _expected(recipe, run, trials, clock, signal)


def _write_mask_of(
    root: Path, images: Path, recipe: Recipe, entities: Entities, mask: Mask, *, last: bool
) -> None:
    """The mask that fMRIPrep writes beside an image, and that of the anatomy on another grid."""
    if recipe.is_("mask", "none", "named"):
        return
    derived = root / "derivatives" / "fmriprep" if images == root else images
    without = ("echo", "part", "desc") if images != root else ("echo", "part", "rec")
    name = f"{stem(entities, *without)}_desc-brain_mask.nii.gz"
    if recipe.is_("mask", "of another grid"):
        mask = np.pad(mask, 1)
    scaled = recipe.is_("mask", "scaled")
    path = folder(derived, entities) / name
    if last or not path.exists():
        write_mask(path, mask, scaled)
    anatomy = path.parents[1] / "anat" / f"sub-{entities['sub']}_desc-brain_mask.nii.gz"
    write_mask(anatomy, np.ones((6, 6, 6), dtype=bool))


def _expected(
    recipe: Recipe, run: Entities, trials: list[Trial], clock: Clock, signal: Planted
) -> list[Expected]:
    """The responses of a run, over the whole grid."""
    series = signal.values.reshape(-1, signal.values.shape[-1]).T
    options = {k: recipe.options[k] for k in ("detrend", "high_pass", "standardise")}
    if recipe.options["response"] != "average":
        values = signal.betas(series, clock, trials, recipe)
        tolerance = 0.1 * float(np.nanmax(np.abs(values)))
        pairs = zip(trials, values, strict=True)
        return [Expected(run, t, t.onset, row, tolerance) for t, row in pairs]
    clean = truth.cleaned(series, clock.tr, **options, confounds=signal.confounds)
    tolerance = 2e-4 if options["standardise"] else 0.02
    if run["task"] == "rest":
        rows = truth.rest_means(clean, clock.tr)
        width = int(8 / clock.tr + 1e-6)
        onsets = clock.times[: len(rows) * width : width]
        pairs = zip(onsets, rows, strict=True)
        return [Expected(run, None, float(at), row, tolerance) for at, row in pairs]
    return [
        Expected(
            run,
            t,
            t.onset,
            truth.window_mean(clean, clock.times, t.onset, t.duration),
            tolerance,
        )
        for t in trials
    ]


def _assign_splits(recipe: Recipe, store: Store) -> None:
    """Give each trial the split that column and options say."""
    repeated: set[str] = set()
    for expected in store.responses.values():
        counts = Counter(e.trial.picture.key for e in expected if e.trial)
        repeated |= {key for key, count in counts.items() if count >= 2}
    for expected in store.responses.values():
        for e in expected:
            if e.trial is None:
                continue
            test = {
                "repeated": e.trial.picture.key in repeated,
                "runs": e.run.get("run", "").lstrip("0") == "2",
            }.get(recipe.chosen["split"], False)
            split = e.trial.split if recipe.chosen["split"].startswith("column") else ""
            e.trial = replace(e.trial, split=split or ("test" if test else "train"))


def affine() -> truth.Floats:
    """Of all planted images."""
    return AFFINE
