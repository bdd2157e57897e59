"""Which voxels are kept, and which of them belong to a region of interest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError
from preprocessing.layout import Scan, applies, parse_entities, visible
from preprocessing.reader import Grid, read_mask

Mask = NDArray[np.bool_]


def find_masks(
    source: Path, choice: str | None, scans: Sequence[Scan], folders: Sequence[Path]
) -> list[Path]:
    """Brain masks of a subject's runs.

    Args:
        source: The BIDS folder; `choice` is relative to it.
        choice: A file or pattern, where {subject} and {session} are filled in; None looks for
            `*_desc-brain_mask.nii.gz` in the folders.
        scans: The runs.
        folders: Data sets that may hold masks, in order of preference.

    Raises:
        SourceError: If a choice was made and nothing fits.
    """
    if choice is not None:
        found = [path for scan in scans for path in _matching(source, choice, scan, "mask")]
        return list(dict.fromkeys(found))
    for folder in folders:
        files = sorted(folder.glob(f"**/{scans[0].subject}/**/*_desc-brain_mask.nii*"))
        found = [path for scan in scans for path in most_specific(files, scan)]
        if found:
            return list(dict.fromkeys(found))
    return []


def most_specific(files: Sequence[Path], scan: Scan) -> list[Path]:
    """Files that apply to a run, those that name most of its entities: not the anatomy's mask."""
    fitting = [path for path in visible(files) if applies(path, scan)]
    for key in ("space", "res"):
        value = scan.entities.get(key)
        fitting = [p for p in fitting if parse_entities(p).get(key) == value] or fitting
    most = max((len(parse_entities(path)) for path in fitting), default=0)
    return [path for path in fitting if len(parse_entities(path)) == most]


def find_rois(source: Path, choice: str | None, scan: Scan, folders: Sequence[Path]) -> list[Path]:
    """ROI masks of a subject: `*_mask.nii.gz` with an entity `label-`.

    Args:
        source: The BIDS folder; `choice` is relative to it.
        choice: A folder, file or pattern, where {subject} is filled in; None looks in the folders.
        scan: A run of the subject.
        folders: Data sets that may hold masks.

    Raises:
        SourceError: If a choice was made and nothing fits.
    """
    if choice is not None:
        return _matching(source, choice, scan, "rois")
    files = [p for f in folders for p in f.glob(f"**/{scan.subject}/**/*_mask.nii*")]
    return [
        p for p in visible(sorted(set(files))) if "label" in parse_entities(p) and applies(p, scan)
    ]


def _matching(source: Path, choice: str, scan: Scan, option: str) -> list[Path]:
    """Files of an option's pattern; in a folder, those that name the subject or no subject."""
    pattern = filled_in(choice, scan)
    base, relative = (
        (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (source, pattern)
    )
    if (base / relative).is_dir():
        relative = f"{relative.rstrip('/')}/**/*_mask.nii*"
    files = [base / relative] if (base / relative).is_file() else sorted(base.glob(relative))
    files = [path for path in visible(files) if applies(path, scan)]
    if not files:
        raise SourceError(
            f"no file fits {base / relative} for {scan.bold.name}",
            "at least one NIfTI image",
            f"check --{option}; {{subject}} and {{session}} in it are filled in",
        )
    return files


def filled_in(pattern: str, scan: Scan) -> str:
    """A pattern with the names of a run for {subject} and {session}."""
    session = f"ses-{scan.entities['ses']}" if "ses" in scan.entities else ""
    return pattern.replace("{subject}", scan.subject).replace("{session}", session)


def roi_name(path: Path) -> str:
    """A region's name: the `label-` entity, else `desc-`, else the file's name."""
    entities = parse_entities(path)
    return entities.get("label") or entities.get("desc") or path.name.split(".")[0]


def load_rois(paths: Sequence[Path], grid: Grid) -> dict[str, Mask]:
    """ROI masks by name, (X, Y, Z); files of one name (two hemispheres, say) are united."""
    rois: dict[str, Mask] = {}
    for path in paths:
        mask = read_mask(path, grid)
        name = roi_name(path)
        rois[name] = rois[name] | mask if name in rois else mask
    return rois


def kept_voxels(
    masks: Sequence[Path],
    rois: Mapping[str, Mask],
    grid: Grid,
    voxels: Literal["mask", "rois"],
) -> Mask:
    """The voxels that a store keeps, (X, Y, Z).

    Args:
        masks: Brain masks of the runs; a voxel must be in all of them.
        rois: ROI masks by name.
        grid: The grid of the images.
        voxels: "mask" keeps the brain mask, "rois" those of its voxels that lie in an ROI.

    Raises:
        SourceError: If there is nothing to choose voxels by, or none is left.
    """
    if voxels == "rois" and not rois:
        raise SourceError(
            f"there are no ROI masks for {grid.source}", "some for --voxels rois", "give --rois"
        )
    if voxels == "mask" and not masks:
        raise SourceError(
            f"there is no brain mask for {grid.source}",
            "*_desc-brain_mask.nii.gz among the derivatives",
            "give --mask FILE, or --voxels rois where there are ROI masks",
        )
    inside = [read_mask(path, grid) for path in masks]
    if voxels == "rois":
        inside.append(np.logical_or.reduce(list(rois.values())))
    kept = np.logical_and.reduce(inside)
    if not kept.any():
        names = ", ".join(path.name for path in masks) or "the ROI masks"
        raise SourceError(f"no voxel is left for {grid.source} inside {names}", "at least one")
    return kept
