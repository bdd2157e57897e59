"""Names of BIDS files, and which images of a run a structure has."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.planted.recipe import Recipe

Entities = Mapping[str, str]
ORDER = (
    "sub",
    "ses",
    "task",
    "acq",
    "ce",
    "rec",
    "dir",
    "run",
    "echo",
    "part",
    "space",
    "res",
    "desc",
)
MNI = "MNI152NLin2009cAsym"


def stem(entities: Entities, *without: str) -> str:
    """Entities in BIDS' order as the begin of a name, some of them left out."""
    return "_".join(f"{k}-{entities[k]}" for k in ORDER if k in entities and k not in without)


def folder(root: Path, entities: Entities) -> Path:
    """Where the files of a run lie: sub-01[/ses-1]/func."""
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    return root.joinpath(f"sub-{entities['sub']}", *session, "func")


def variants(recipe: Recipe) -> tuple[list[dict[str, str]], int]:
    """What the images of one run have beside its own entities, and which of them is wanted."""
    structure = recipe.chosen["structure"]
    found: dict[str, tuple[list[dict[str, str]], int]] = {
        "constant acq": ([{"acq": "hires"}], 0),
        "constant dir, rec and echo": ([{"dir": "AP", "rec": "norm", "echo": "1"}], 0),
        "echoes": ([{"echo": "1"}, {"echo": "2"}], 1),
        "reconstructions, none": ([{}, {"rec": "norm"}], 0),
        "reconstructions": ([{}, {"rec": "norm"}], 1),
        "magnitude": ([{"part": "mag"}, {"part": "phase"}], 0),
        "directions of": ([{"dir": "AP"}, {"dir": "PA"}], 0),
        "spaces, none": ([{}, {"space": "T1w"}], 0),
        "spaces": ([{"space": "T1w"}, {"space": MNI}], 0),
        "resolutions, none": ([{"space": MNI}, {"space": MNI, "res": "2"}], 0),
        "resolutions": ([{"space": MNI, "res": "1"}, {"space": MNI, "res": "2"}], 1),
        "smoothed": ([{"desc": "preproc"}, {"desc": "smoothed"}], 0),
    }
    images, wanted = next((v for k, v in found.items() if structure.startswith(k)), ([{}], 0))
    if recipe.is_("form", "fmriprep"):
        plain = {"desc": "preproc"} | ({"space": "T1w"} if recipe.number % 2 else {})
        chosen_space = any("space" in image for image in images)
        plain = {"desc": "preproc"} if chosen_space else plain
        images = [plain | image for image in images]
    return images, wanted


def runs(recipe: Recipe, count: int) -> list[dict[str, str]]:
    """Entities of the runs of a subject, without `sub`, as the event tables name them."""
    sessions: list[dict[str, str]] = {
        "none": [{}],
        "01": [{"ses": "01"}],
        "1 and 2": [{"ses": "1"}, {"ses": "2"}],
        "2 and 10": [{"ses": "2"}, {"ses": "10"}],
        "words": [{"ses": "post"}, {"ses": "pre"}],
    }[recipe.chosen["sessions"]]
    tasks = ["look"] if recipe.is_("tasks", "one") else ["look", "objects"]
    width = 2 if recipe.is_("labels", "01", "01 there, 1 here") else 1
    labels = [{"run": f"{n:0{width}d}"} for n in range(1, count + 1)]
    if count == 1 and recipe.number % 3:
        labels = [{}]
    each = recipe.is_("structure", "directions, a table each")
    directions: list[dict[str, str]] = [{"dir": "AP"}, {"dir": "PA"}] if each else [{}]
    return [
        {**session, "task": task, **label, **direction}
        for session in sessions
        for task in tasks
        for label in labels
        for direction in directions
    ]


def of_image(recipe: Recipe, entities: Entities) -> dict[str, str]:
    """A run's entities as its images write them: another number of zeros."""
    if "run" not in entities:
        return dict(entities)
    number = int(entities["run"])
    if recipe.is_("labels", "01 there, 1 here"):
        return {**entities, "run": str(number)}
    if recipe.is_("labels", "1 there, 01 here"):
        return {**entities, "run": f"{number:02d}"}
    return dict(entities)
