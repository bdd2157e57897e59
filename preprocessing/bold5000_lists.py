"""What was shown in BOLD5000 when: presentation lists by session and run, and picture names."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.pictures import picture_id
from preprocessing.trials import count_repeats

STIMULI = "BOLD5000_Stimuli"
LISTS = "Stimuli_Presentation_Lists"
REPEATED = "Scene_Stimuli/repeated_stimuli_113_list.txt"
#: seconds from one picture to the next: one of picture, nine of fixation
_SPACING = 10.0


def read_names(path: Path) -> list[str]:
    """Pictures of a list, one a line, without `rep_` in front and without suffix.

    Raises:
        SourceError: If it cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "a list of pictures") from None
    names = [picture_id(line.strip().removeprefix("rep_")) for line in lines if line.strip()]
    if not names or not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        raise SourceError(f"{path} is no list of pictures", "a file name in each line")
    return names


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key that takes runs of digits as numbers: sess2 before sess10."""
    return [(int(n or 0), text) for text, n in re.findall(r"(\D*)(\d*)", path.name)]


def read_lists(folder: Path, name: str, repeated: set[str]) -> pd.DataFrame:
    """A row for each trial of a subject, in order of session, run and time.

    Args:
        folder: Of all presentation lists, with a folder for each subject, in it one a session.
        name: Such as "sub-CSI1".
        repeated: The test pictures.

    Raises:
        SourceError: If there are no lists.
    """
    top = folder / name.removeprefix("sub-")
    folders = sorted((path for path in top.glob("[!.]*") if path.is_dir()), key=natural)
    tables = []
    for session, sub in enumerate(folders, start=1):
        files = sorted(sub.glob("[!.]*.txt"), key=natural)
        for run, path in enumerate(files, start=1):
            shown = read_names(path)
            table = pd.DataFrame({"stimulus": shown, "session": session, "run": run})
            tables.append(table.assign(onset=_SPACING * np.arange(len(shown))))
    if not tables:
        raise SourceError(f"{top} has no presentation lists", "files such as sess01/run01.txt")
    trials = pd.concat(tables, ignore_index=True)
    test = trials["stimulus"].isin(repeated)
    trials["split"] = np.where(test, "test", "train")
    trials["condition"] = [label_of(picture)[0] for picture in trials["stimulus"]]
    trials["kind"] = "task"
    count_repeats(trials)
    return trials


def label_of(picture: str) -> tuple[str, str]:
    """Class and source of a picture.

    ImageNet pictures have their synset, scenes their name without number; those of COCO show many
    things and are a class of their own each.

    Examples:
        >>> label_of("n01833805_1411")
        ('n01833805', 'ImageNet')
        >>> label_of("concert5")
        ('concert', 'Scene')
        >>> label_of("COCO_train2014_000000000036")
        ('COCO_train2014_000000000036', 'COCO')
    """
    if picture.startswith("COCO_"):
        return picture, "COCO"
    if re.fullmatch(r"n\d{8}_\d+", picture):
        return picture.split("_")[0], "ImageNet"
    return re.sub(r"\d+$", "", picture) or picture, "Scene"
