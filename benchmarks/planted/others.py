"""Files that a tree has beside images, events and masks."""

from pathlib import Path

import numpy as np

from benchmarks.planted.naming import Entities, of_image, stem
from benchmarks.planted.recipe import Recipe
from benchmarks.planted.tables import write_table
from benchmarks.planted.volumes import write_mask


def write_scans(root: Path, recipe: Recipe, subject: str, runs: list[dict[str, str]]) -> None:
    """The *_scans.tsv of each session, which says when its runs were acquired."""
    if recipe.is_("scans table", "none"):
        return
    for session in {run.get("ses", "") for run in runs}:
        own = [{"sub": subject, **run} for run in runs if run.get("ses", "") == session]
        names = [f"func/{stem(of_image(recipe, run))}_bold.nii.gz" for run in own]
        times = [f"2026-01-02T1{n}:30:00" for n in range(len(own))]
        if recipe.is_("scans table", "in reverse order"):
            times.reverse()
        columns = {"filename": names, "acq_time": times}
        if recipe.is_("scans table", "without times"):
            columns = {"filename": names, "operator": ["n/a"] * len(names)}
        place = root / f"sub-{subject}" / (f"ses-{session}" if session else "")
        begin = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        write_table(place / f"{begin}_scans.tsv", columns, "usual")


def acquired_in_reverse(recipe: Recipe) -> bool:
    """Whether the runs of a session were acquired in the reverse order of their numbers."""
    return recipe.is_("scans table", "in reverse order")


def write_others(root: Path) -> None:
    """References, anatomy, segmentations, sidecars of tables: nothing that is to be prepared."""
    for image in list(root.rglob("*_bold.nii*")):
        begin = image.name.split("_bold.nii")[0]
        for suffix in ("sbref", "boldref"):
            write_mask(image.with_name(f"{begin}_{suffix}.nii.gz"), np.ones((2, 2, 2), dtype=bool))
        write_mask(
            image.with_name(f"{begin}_desc-aseg_dseg.nii.gz"), np.ones((2, 3, 2), dtype=bool)
        )
        image.with_name(f"{begin}_physio.tsv.gz").write_bytes(b"")
    for table in list(root.rglob("*.tsv")):
        table.with_suffix(".json").write_text("{}")
    for subject in root.glob("sub-*"):
        anatomy = subject / "anat" / f"{subject.name}_T1w.nii.gz"
        write_mask(anatomy, np.ones((6, 6, 6), dtype=bool))
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\tn/a\n")
    (root / "README").write_text("planted\n")


def run_order(recipe: Recipe, run: Entities) -> int:
    """The place of a run within its session, by its number or the time of its acquisition."""
    number = int(run.get("run", 1))
    return -number if acquired_in_reverse(recipe) else number
