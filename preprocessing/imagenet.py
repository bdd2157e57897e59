"""Names of ImageNet pictures as the Kamitani data sets write them, and the pictures of a folder."""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mindvis.console import say
from mindvis.errors import SourceError
from preprocessing.damage import BROKEN
from preprocessing.pictures import PICTURE_SUFFIXES

CLASS_INDEX = "imagenet_class_index.json"
_MILLION = 1_000_000


def picture_name(stimulus: float | str) -> str:
    """The picture that a stimulus id means: synset before the point, picture number behind it.

    Args:
        stimulus: In double precision, or as it is written.

    Raises:
        SourceError: If it is no such id.

    Examples:
        >>> picture_name(3626115.019498)
        'n03626115_19498'
        >>> picture_name("1518878.00601")
        'n01518878_6010'
    """
    try:
        exact = Decimal(stimulus.strip() if isinstance(stimulus, str) else repr(float(stimulus)))
        synset, picture = divmod(round(exact * _MILLION), _MILLION)
    except (InvalidOperation, ValueError, OverflowError):
        synset, picture = -1, 0
    if not 0 < synset < 100 * _MILLION:
        raise SourceError(
            f"{stimulus!r} is no stimulus id", "one such as 3626115.019498, for n03626115_19498"
        )
    return f"n{synset:08d}_{picture}"


def synset_of(picture: str) -> str:
    """The class of a picture: "n03626115" of "n03626115_19498"."""
    return picture.split("_")[0]


def class_names(folder: Path) -> dict[str, str]:
    """Names of synsets, from imagenet_class_index.json where the folder has it.

    An entry lists one synset or several, and the name last.
    """
    path = folder / CLASS_INDEX
    if not path.is_file():
        return {}
    try:
        content: Mapping[str, Sequence[Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {str(synset): str(row[-1]) for row in content.values() for synset in row[:-1]}
    except BROKEN as error:
        raise SourceError(
            f"{path} is not a table of classes ({error})", 'rows such as ["n01440764", "tench"]'
        ) from None


def index_pictures(folder: Path) -> dict[str, Path]:
    """All picture files below a folder, by name without suffix."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURE_SUFFIXES)
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.stem, path)
    return found


def matched_pictures(names: Iterable[str], folder: Path, check: bool) -> list[Path]:
    """The file of each picture.

    Args:
        names: Without suffix.
        folder: Where they are, in any folders below it.
        check: Say every one that is missing.

    Raises:
        SourceError: If pictures are missing; the first five are named.
    """
    wanted, found = list(names), index_pictures(folder)
    missing = [name for name in wanted if name not in found]
    for name in missing if check else ():
        say(f"missing: {name} (a picture in {folder})")
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(wanted)} pictures are not in {folder}, "
            f"{', '.join(missing[:5])} the first",
            "each as a file of that name",
            "get them with the data set's request form, or pass --images none",
        )
    return [found[name] for name in wanted]
