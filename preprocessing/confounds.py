"""Confounds of fMRIPrep: columns that are named, or a strategy of nilearn."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.layout import Scan, inherited
from preprocessing.series import files_of
from preprocessing.signal import Floats

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: presets of `nilearn.interfaces.fmriprep.load_confounds_strategy`
STRATEGIES = ("simple", "scrubbing", "compcor", "ica_aroma")


@dataclass(frozen=True)
class Confounds:
    """What is regressed out of a run, and which of its volumes are used.

    Args:
        values: (time, regressors), or None.
        kept: bool (time,), false where motion spoils a volume.
    """

    values: Floats | None
    kept: NDArray[np.bool_]


def read_confounds(
    scan: Scan, folders: Sequence[Path], count: int, choice: str | Sequence[str]
) -> tuple[Confounds, Path | None]:
    """Confounds of a run and their file; gaps in a column take its mean.

    Args:
        scan: The run.
        folders: Data sets that may hold the file, in order of preference.
        count: Volumes of the run.
        choice: "motion" where there is such a file, "none", columns (patterns with *), or one of
            `STRATEGIES`.

    Raises:
        SourceError: If the file or a column is missing, or its length is another.
    """
    everything = np.ones(count, dtype=np.bool_)
    if choice in STRATEGIES:
        return strategy_confounds(scan, count, str(choice))
    derived = [path for f in folders for path in sorted(f.glob("derivatives/*/")) if path.is_dir()]
    found = inherited(scan, [*folders, *derived], "_desc-confounds_timeseries.tsv")
    if choice == "none" or (choice == "motion" and not found):
        return Confounds(None, everything), None
    if not found:
        raise SourceError(
            f"{scan.bold} has no *_desc-confounds_timeseries.tsv",
            f"one with {choice}",
            "name the folder with --derivatives, or pass --confounds none",
        )
    try:
        table = pd.read_csv(found[0], sep="\t", na_values=["n/a"])
        names = _chosen_columns(found[0], list(table.columns), choice)
        values = table[names].astype(float)
    except BROKEN as error:
        raise SourceError(
            f"{found[0]} cannot be read ({error})", "numbers in columns divided by tabs"
        ) from None
    if len(table) != count:
        raise SourceError(
            f"{found[0]} has {len(table)} rows", f"{count}, the volumes of {scan.bold.name}"
        )
    filled = values.fillna(values.mean()).fillna(0.0).to_numpy()
    if not np.isfinite(filled).all():
        raise SourceError(f"{found[0]} has infinite values", "finite numbers, or n/a")
    return Confounds(filled, everything), found[0]


def strategy_confounds(scan: Scan, count: int, strategy: str) -> tuple[Confounds, Path | None]:
    """Confounds by a preset of nilearn, which also leaves out volumes that motion spoils.

    nilearn looks for the table and its .json beside the image, by fMRIPrep's names.

    Raises:
        SourceError: If nilearn finds no such files, or lacks what the strategy wants.
    """
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    images = [str(path) for path in files_of(scan.bold)]
    try:
        table, sample = load_confounds_strategy(
            images if len(images) > 1 else images[0], denoise_strategy=strategy
        )
    except BROKEN as error:
        raise SourceError(
            f"{scan.bold} has no confounds for the strategy {strategy} ({error})",
            "fMRIPrep's *_desc-confounds_timeseries.tsv and .json beside it",
            "choose another of --confounds " + ", ".join((*STRATEGIES, "motion", "none")),
        ) from None
    if len(table) != count:
        raise SourceError(
            f"the confounds of {scan.bold} have {len(table)} rows", f"{count}, its volumes"
        )
    kept = np.ones(count, dtype=np.bool_)
    if sample is not None:
        kept = np.isin(np.arange(count), sample)
    if kept.sum() < 2:
        raise SourceError(
            f"{scan.bold} keeps {int(kept.sum())} of {count} volumes by the strategy {strategy}",
            "two or more",
            "choose another of --confounds, or leave this run out",
        )
    beside = sorted(scan.bold.parent.glob("*_desc-confounds_*.tsv"))
    stem = scan.bold.name.split("_space-")[0].split("_hemi-")[0].split("_desc-")[0]
    path = next((file for file in beside if file.name.startswith(f"{stem}_desc-")), None)
    return Confounds(table.to_numpy(float), kept), path


def _chosen_columns(path: Path, present: list[str], choice: str | Sequence[str]) -> list[str]:
    patterns = list(_MOTION) if choice == "motion" else _words(choice)
    names: list[str] = []
    for pattern in patterns:
        fitting = [name for name in present if fnmatchcase(name, pattern)]
        if not fitting:
            raise SourceError(
                f"{path} has no column {pattern!r}",
                f"some among {', '.join(present)}",
                "check --confounds",
            )
        names += [name for name in fitting if name not in names]
    return names


def _words(choice: str | Sequence[str]) -> list[str]:
    return choice.replace(",", " ").split() if isinstance(choice, str) else list(choice)
