"""Confounds of fMRIPrep: columns that are named, or a strategy of nilearn."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.errors import SourceError
from mindvis.records import read_table
from preprocessing.damage import BROKEN
from preprocessing.layout import Scan, applies, inherited, the_one, visible
from preprocessing.series import files_of
from preprocessing.signal import Floats
from preprocessing.trials import MISSING

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: names of the motion columns before fMRIPrep 1.2
_OLD_MOTION = ("X", "Y", "Z", "RotX", "RotY", "RotZ")
#: ends of the table's name: now, from fMRIPrep 1.2 to 20.1, and before
ENDINGS = (
    "_desc-confounds_timeseries.tsv",
    "_desc-confounds_regressors.tsv",
    "_bold_confounds.tsv",
)
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
        SourceError: If the file or a column is missing or is not understood, or its length is
            another.
    """
    everything = np.ones(count, dtype=np.bool_)
    if choice in STRATEGIES:
        return strategy_confounds(scan, count, str(choice))
    if choice == "none":
        return Confounds(None, everything), None
    path = find_confounds(scan, folders)
    if path is None and choice == "motion":
        _refuse_unknown_names(scan, folders)
        return Confounds(None, everything), None
    if path is None:
        raise SourceError(
            f"{scan.bold} has no *{ENDINGS[0]}",
            f"one with {choice}",
            "name the folder with --derivatives, or pass --confounds none",
        )
    table = read_table(path)
    values = _numbers(table[_chosen_columns(path, list(table.columns), choice)], path)
    if len(table) != count:
        raise SourceError(
            f"{path} has {len(table)} rows", f"{count}, the volumes of {scan.bold.name}"
        )
    return Confounds(values.fillna(values.mean()).fillna(0.0).to_numpy(), everything), path


def find_confounds(scan: Scan, folders: Sequence[Path]) -> Path | None:
    """The table of confounds of a run, under any of the names that fMRIPrep gave it.

    Args:
        scan: The run.
        folders: Data sets that may hold the file, in order of preference; their derivatives follow.

    Raises:
        SourceError: If several derivatives have one.
    """
    derived = [path for f in folders for path in sorted(f.glob("derivatives/*/")) if path.is_dir()]
    derived = [path for path in derived if path not in folders]
    for places in (*([folder] for folder in folders), derived):
        for ending in ENDINGS:
            found = the_one(inherited(scan, places, ending), scan, "choose with --derivatives")
            if found is not None:
                return found
    return None


def _refuse_unknown_names(scan: Scan, folders: Sequence[Path]) -> None:
    """Refuse a table that seems to hold a run's confounds under a name that is not known.

    Raises:
        SourceError: If there is one beside the image.
    """
    for path in sorted(scan.bold.parent.glob("*confound*")):
        if not path.name.startswith(".") and path.suffix != ".json" and applies(path, scan):
            raise SourceError(
                f"{path} may hold the confounds of {scan.bold.name}, but its name is none of "
                "fMRIPrep's",
                f"a name that ends in {' or '.join(ENDINGS)}",
                "rename it, or pass --confounds none",
            )


def _numbers(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Text as numbers, missing values as NaN."""
    values = cells.mask(cells.isin(MISSING))
    for name in values:
        numbers = pd.to_numeric(values[name], errors="coerce")
        broken = np.flatnonzero(
            (numbers.isna() & values[name].notna()) | np.isinf(numbers.to_numpy(float))
        )
        if broken.size:
            raise SourceError(
                f"{path} has {cells[name].iloc[broken[0]]!r} in the column {name}, row "
                f"{int(broken[0]) + 2}",
                "finite numbers, or n/a",
            )
        values[name] = numbers
    return values.astype(float)


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
    beside = visible(sorted(scan.bold.parent.glob("*_desc-confounds_*.tsv")))
    stem = scan.bold.name.split("_space-")[0].split("_hemi-")[0].split("_desc-")[0]
    path = next((file for file in beside if file.name.startswith(f"{stem}_desc-")), None)
    return Confounds(table.to_numpy(float), kept), path


def _chosen_columns(path: Path, present: list[str], choice: str | Sequence[str]) -> list[str]:
    motion = _OLD_MOTION if set(_OLD_MOTION) <= set(present) else _MOTION
    patterns = list(motion) if choice == "motion" else _words(choice)
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
