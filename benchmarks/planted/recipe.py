"""Which ingredients a tree has, drawn from its number, and whether it must be accepted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: the planted values, or one sentence; never a sentence for "accept", never a store for "refuse"
ACCEPT, EITHER, REFUSE = "accept", "either", "refuse"

Items = list[tuple[str, float, str]]
#: what a tree may hold, by kind: (name, weight, what must become of it)
KINDS: dict[str, Items] = {
    "form": [("raw", 4, ACCEPT), ("fmriprep", 5, ACCEPT)],
    "structure": [
        ("plain", 16, ACCEPT),
        ("constant acq", 1, ACCEPT),
        ("constant dir, rec and echo", 1, ACCEPT),
        ("echoes", 1, REFUSE),
        ("echoes, one chosen", 1, ACCEPT),
        ("reconstructions", 1, REFUSE),
        ("reconstructions, one chosen", 1, ACCEPT),
        ("reconstructions, none chosen", 1, ACCEPT),
        ("magnitude and phase", 1, ACCEPT),
        ("directions of one table", 1, REFUSE),
        ("directions, a table each", 1, ACCEPT),
        ("spaces", 1, REFUSE),
        ("spaces, one chosen", 1, ACCEPT),
        ("spaces, none chosen", 1, ACCEPT),
        ("resolutions", 1, REFUSE),
        ("resolutions, one chosen", 1, ACCEPT),
        ("resolutions, none chosen", 1, ACCEPT),
        ("smoothed beside preprocessed", 1, EITHER),
    ],
    "labels": [
        ("01", 4, ACCEPT),
        ("1", 2, ACCEPT),
        ("01 there, 1 here", 2, ACCEPT),
        ("1 there, 01 here", 1, ACCEPT),
    ],
    "sessions": [
        ("none", 4, ACCEPT),
        ("01", 1, ACCEPT),
        ("1 and 2", 1, ACCEPT),
        ("2 and 10", 1, ACCEPT),
        ("words", 1, ACCEPT),
    ],
    "tasks": [("one", 4, ACCEPT), ("two", 2, ACCEPT), ("two, one chosen", 1, ACCEPT)],
    "rest": [("none", 4, ACCEPT), ("one run", 1, ACCEPT)],
    "rows": [("in order", 1, ACCEPT), ("shuffled", 1, ACCEPT), ("backwards", 1, ACCEPT)],
    "columns": [("usual", 2, ACCEPT), ("shuffled, with others", 1, ACCEPT)],
    "numbers": [
        ("decimal", 6, ACCEPT),
        ("exponent", 1, ACCEPT),
        ("fixed", 1, ACCEPT),
        ("padded", 1, EITHER),
        ("decimal comma", 1, EITHER),
    ],
    "table": [
        ("usual", 12, ACCEPT),
        ("CRLF", 1, ACCEPT),
        ("CR", 1, EITHER),
        ("BOM", 1, ACCEPT),
        ("UTF-16", 1, EITHER),
        ("Latin-1", 1, EITHER),
        ("blank line at the end", 1, ACCEPT),
        ("no newline at the end", 1, ACCEPT),
        ("tab at the end of rows", 1, EITHER),
        ("tab at the end of all lines", 1, EITHER),
        ("commas", 1, EITHER),
        ("quoted", 1, EITHER),
    ],
    "durations": [
        ("brief", 5, ACCEPT),
        ("zero", 1, ACCEPT),
        ("n/a", 1, ACCEPT),
        ("long", 2, ACCEPT),
        ("various", 1, ACCEPT),
        ("negative", 1, REFUSE),
    ],
    "other rows": [
        ("none", 4, ACCEPT),
        ("no trials", 2, ACCEPT),
        ("no trials, no onsets", 1, ACCEPT),
        ("trial without onset", 0.5, REFUSE),
        ("only others", 0.5, REFUSE),
    ],
    "label words": [
        ("trial_type", 2, ACCEPT),
        ("words", 2, ACCEPT),
        ("n/a among them", 1, ACCEPT),
        ("like numbers and nulls", 1, ACCEPT),
        ("Unicode", 1, ACCEPT),
    ],
    "conditions": [("usual", 3, ACCEPT), ("like numbers and nulls", 1, ACCEPT)],
    "onsets": [("usual", 8, ACCEPT), ("before the run", 1, EITHER), ("after it", 0.5, REFUSE)],
    "event tables": [("one a run", 12, ACCEPT), ("missing for a run", 0.5, REFUSE)],
    "scans table": [
        ("none", 3, ACCEPT),
        ("in order of runs", 1, ACCEPT),
        ("in reverse order", 1, ACCEPT),
        ("without times", 1, ACCEPT),
    ],
    "names": [
        ("plain", 5, ACCEPT),
        ("folders", 1, ACCEPT),
        ("backslashes", 0.5, ACCEPT),
        ("without suffix", 1, ACCEPT),
        ("composed in the table, decomposed on disk", 1, ACCEPT),
        ("decomposed in the table, composed on disk", 1, ACCEPT),
        ("both forms in the table", 1, ACCEPT),
        ("two suffixes of one name", 0.5, REFUSE),
        ("of another case", 0.5, EITHER),
    ],
    "pictures": [
        ("PNG", 6, ACCEPT),
        ("grey PNG", 1, ACCEPT),
        ("16-bit PNG", 1, EITHER),
        ("16-bit TIFF", 1, EITHER),
        ("float TIFF", 1, EITHER),
        ("palette PNG", 1, ACCEPT),
        ("opaque alpha PNG", 1, ACCEPT),
        ("transparent PNG", 1, EITHER),
        ("transparent palette PNG", 1, EITHER),
        ("black and white PNG", 1, ACCEPT),
        ("CMYK TIFF", 1, EITHER),
        ("JPEG", 1, ACCEPT),
        ("turned JPEG", 2, ACCEPT),
        ("BMP", 0.5, ACCEPT),
        ("GIF", 0.5, ACCEPT),
        ("WebP", 0.5, ACCEPT),
    ],
    "picture size": [
        ("one", 6, ACCEPT),
        ("several", 0.5, REFUSE),
        ("one, cropped to squares", 1, ACCEPT),
    ],
    "repetition time": [
        ("sidecar", 8, ACCEPT),
        ("sidecar at the root", 1, ACCEPT),
        ("text", 1, EITHER),
        ("milliseconds", 1, EITHER),
        ("null", 0.5, EITHER),
        ("header", 1, ACCEPT),
        ("header in milliseconds", 1, ACCEPT),
        ("header without unit, in milliseconds", 1, EITHER),
        ("nowhere", 1, REFUSE),
        ("another in the header", 1, EITHER),
        ("equal volume times", 1, EITHER),
        ("unequal volume times", 1, EITHER),
        ("start time", 1, ACCEPT),
    ],
    "image": [
        ("int16", 4, ACCEPT),
        ("scaled int16", 2, ACCEPT),
        ("scaled uint8", 1, ACCEPT),
        ("uint16", 1, ACCEPT),
        ("int32", 1, ACCEPT),
        ("float32", 2, ACCEPT),
        ("float64", 1, ACCEPT),
    ],
    "file": [
        ("NIfTI-1 gz", 5, ACCEPT),
        ("NIfTI-1", 1, ACCEPT),
        ("NIfTI-2", 2, ACCEPT),
        ("big-endian", 1, ACCEPT),
    ],
    "mask": [
        ("found", 6, ACCEPT),
        ("named", 2, ACCEPT),
        ("scaled", 1, ACCEPT),
        ("one a run", 1, ACCEPT),
        ("none", 0.5, REFUSE),
        ("of another grid", 0.5, REFUSE),
    ],
    "values": [
        ("finite", 8, ACCEPT),
        ("NaN outside of the mask", 1, ACCEPT),
        ("NaN inside", 0.5, REFUSE),
    ],
    "rois": [("none", 3, ACCEPT), ("found", 1, ACCEPT)],
    "hidden files": [("none", 3, ACCEPT), ("of a Mac", 1, ACCEPT)],
    "other files": [("none", 2, ACCEPT), ("of BIDS and fMRIPrep", 1, ACCEPT)],
    "cleaning": [("none", 2, ACCEPT), ("all", 4, ACCEPT), ("without detrending", 1, ACCEPT)],
    "confounds": [
        ("none", 3, ACCEPT),
        ("timeseries", 3, ACCEPT),
        ("regressors", 2, ACCEPT),
        ("old", 2, ACCEPT),
        ("unknown name", 1, EITHER),
    ],
    "motion": [("walk", 1, ACCEPT), ("drift", 1, ACCEPT), ("still", 0.5, ACCEPT)],
    "confounds table": [
        ("usual", 8, ACCEPT),
        ("CRLF", 1, ACCEPT),
        ("tab at the end of rows", 1, EITHER),
        ("a gap", 1, EITHER),
        ("a row too few", 0.5, REFUSE),
        ("text in a column", 0.5, REFUSE),
        ("without motion", 0.5, REFUSE),
    ],
    "confounds chosen": [
        ("motion", 6, ACCEPT),
        ("by name", 1, ACCEPT),
        ("by pattern", 1, ACCEPT),
        ("none of them", 1, ACCEPT),
    ],
    "response": [("average", 6, ACCEPT), ("lsa", 1, ACCEPT), ("lss", 1, ACCEPT)],
    "split": [
        ("none", 3, ACCEPT),
        ("column", 1, ACCEPT),
        ("column with n/a", 1, ACCEPT),
        ("repeated", 1, ACCEPT),
        ("runs", 2, ACCEPT),
    ],
}

#: ingredients that only images of fMRIPrep have
_PREPROCESSED = ("spaces", "resolutions", "smoothed", "01 there", "1 there")


@dataclass(frozen=True)
class Recipe:
    """The ingredients of one tree.

    Args:
        number: Of the tree; all random draws follow from it.
        chosen: An ingredient by kind.
        verdict: What must become of it.
        options: Of `prepare bids`, as the ingredients need them.
        kinds: What there was to choose from.
    """

    number: int
    chosen: dict[str, str]
    verdict: str
    options: dict[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, Items] = field(default_factory=lambda: KINDS, repr=False)

    def is_(self, kind: str, *names: str) -> bool:
        """Whether the ingredient of a kind is one of some."""
        return self.chosen[kind] in names

    def __str__(self) -> str:
        """The ingredients that are not the first of their kind."""
        unusual = [f"{k}: {v}" for k, v in self.chosen.items() if v != self.kinds[k][0][0]]
        return f"{self.number} [{self.verdict}] " + "; ".join(unusual)


def draw(number: int, seed: int = 0) -> Recipe:
    """The recipe of a tree: up to half of its kinds are unusual."""
    rng = np.random.default_rng([seed, number])
    chosen = _choose(rng, KINDS)
    _make_consistent(chosen)
    return Recipe(number, chosen, verdict_of(chosen, KINDS), options_of(chosen, rng))


def drawn(number: int, seed: int, kinds: Mapping[str, Items]) -> Recipe:
    """A recipe of other kinds, without options."""
    chosen = _choose(np.random.default_rng([seed, number]), kinds)
    return Recipe(number, chosen, verdict_of(chosen, kinds), kinds=kinds)


def verdict_of(chosen: Mapping[str, str], kinds: Mapping[str, Items]) -> str:
    """The strictest of what must become of the ingredients."""
    found = [v for k, items in kinds.items() for n, _, v in items if n == chosen[k]]
    return REFUSE if REFUSE in found else EITHER if EITHER in found else ACCEPT


def _choose(rng: np.random.Generator, kinds: Mapping[str, Items]) -> dict[str, str]:
    calm = rng.random() * 0.7 + 0.3  # how many kinds keep their first, ordinary ingredient
    return {kind: _pick(rng, items, calm) for kind, items in kinds.items()}


def _pick(rng: np.random.Generator, items: Items, calm: float) -> str:
    if rng.random() < calm and items[0][1] > 1:
        return items[0][0]
    weights = np.array([weight for _, weight, _ in items])
    return items[int(rng.choice(len(items), p=weights / weights.sum()))][0]


def _make_consistent(chosen: dict[str, str]) -> None:
    """Replace what has no meaning beside the rest."""
    if chosen["structure"].startswith(_PREPROCESSED) or chosen["labels"].startswith(
        ("01 there", "1 there")
    ):
        chosen["form"] = "fmriprep"
    if chosen["form"] == "raw":
        chosen["confounds"] = "none"
    if chosen["confounds"] == "none":
        chosen["motion"], chosen["confounds table"] = "walk", "usual"
        chosen["confounds chosen"] = "motion"
    if chosen["confounds"] == "old":
        chosen["confounds chosen"] = "motion"
    if chosen["confounds chosen"] == "none of them":
        chosen["confounds table"] = "usual"
    if chosen["values"] != "finite":
        chosen["image"] = "float32"
    if chosen["structure"].startswith("directions"):
        chosen["tasks"] = "one"
    _make_signal_consistent(chosen)
    if chosen["table"] == "Latin-1":
        chosen["label words"], chosen["names"] = "Unicode", "plain"
    if chosen["names"] == "two suffixes of one name":
        chosen["pictures"] = "PNG"


def _make_signal_consistent(chosen: dict[str, str]) -> None:
    if chosen["response"] != "average":
        chosen["durations"] = "brief"
        chosen["cleaning"] = "none" if chosen["cleaning"] == "none" else "all"
        chosen["rest"] = "none"
        if chosen["repetition time"] == "unequal volume times":
            chosen["repetition time"] = "sidecar"
    if chosen["repetition time"] == "unequal volume times":
        chosen["cleaning"], chosen["rest"] = "none", "none"


def options_of(chosen: dict[str, str], rng: np.random.Generator) -> dict[str, Any]:
    """Options of `prepare bids` that the ingredients call for."""
    options: dict[str, Any] = {"response": chosen["response"], "rois": "none"}
    cleaned = {"none": (False, None), "all": (True, 0.008), "without detrending": (False, 0.02)}
    options["detrend"], options["high_pass"] = cleaned[chosen["cleaning"]]
    if chosen["cleaning"] == "all" and rng.random() < 0.5:
        options["high_pass"] = 0.021
    options["standardise"] = chosen["cleaning"] == "all" and chosen["response"] == "average"
    if chosen["form"] == "fmriprep":
        options["derivatives"] = "derivatives/fmriprep"
    options |= {
        "echoes, one chosen": {"entities": "echo-2"},
        "reconstructions, one chosen": {"entities": ["rec-norm"]},
        "reconstructions, none chosen": {"entities": "rec-none"},
        "spaces, one chosen": {"space": "T1w"},
        "spaces, none chosen": {"space": "none"},
        "resolutions, one chosen": {"resolution": "2"},
        "resolutions, none chosen": {"resolution": "none"},
    }.get(chosen["structure"], {})
    if chosen["tasks"] == "two, one chosen":
        options["tasks"] = ["look"]
    if chosen["split"] == "repeated":
        options["test"] = "repeated"
    if chosen["split"] == "runs":
        options |= {"test": "runs", "test_runs": [2]}
    if chosen["rois"] == "found":
        del options["rois"]
    if chosen["picture size"] == "one, cropped to squares":
        options["image_size"] = 10
    options |= {
        "by name": {"confounds": ["trans_y", "rot_z", "csf"]},
        "by pattern": {"confounds": "trans_*"},
        "none of them": {"confounds": "none"},
    }.get(chosen["confounds chosen"], {})
    if chosen["mask"] == "named":
        options["mask"] = "masks/brain_{subject}.nii.gz"
    return options
