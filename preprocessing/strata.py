"""`mindvis prepare strata`: which pictures of a store other data sets show too."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindvis.console import say
from mindvis.data.leaks import look_alikes, members
from mindvis.data.schema import StimulusData
from mindvis.data.store import VoxelStore
from mindvis.data.writer import write_store
from mindvis.errors import ConfigError, SourceError
from mindvis.files import atomic_path
from preprocessing.damage import BROKEN
from preprocessing.nsd_pictures import read_stim_info

_COCO = re.compile(r"COCO_(?:train|val|test)20\d\d_(\d{12})")
_IMAGENET = re.compile(r"(?<![A-Za-z0-9])n(\d{8})(?:_(\d+))?(?![A-Za-z0-9])")


def prepare_strata(
    source: str, store: str | None = None, nsd: str | None = None, ilsvrc: str | None = None
) -> None:
    """Mark the pictures of a store that were seen elsewhere, so that scores can leave them out.

    Strata are kept beside the pictures: `in_nsd`, the same COCO photograph is shown by NSD (for
    BOLD5000); `ilsvrc_class` and `ilsvrc_train`, the ImageNet synset is one that networks were
    trained on, or the picture itself was (for GOD); `look_alike`, a picture of the other split
    looks the same. NSD's own store has `in_bold5000` from the start.

    Args:
        source: The store.
        store: File to write; the store itself by default.
        nsd: nsd_stim_info_merged.csv of NSD.
        ilsvrc: What a network was trained on: a folder of synset folders (n01440764/...), a text
            list of pictures or synsets, or imagenet_class_index.json.

    Raises:
        SourceError: If the store has no pictures, or a list cannot be read.
    """
    with VoxelStore(source) as opened:
        stimuli = opened.stimuli
        if stimuli is None:
            raise SourceError(f"{source} holds no pictures", "pictures to mark")
        found = {"look_alike": _marked(stimuli.ids, look_alikes(opened))}
        if nsd is not None:
            found["in_nsd"] = shown_by_nsd(stimuli.ids, Path(nsd))
        if ilsvrc is not None:
            found |= trained_on(stimuli.ids, Path(ilsvrc))
        marked = StimulusData(
            stimuli.rows, stimuli.ids, stimuli.labels, stimuli.categories, stimuli.strata | found
        )
        for name, inside in found.items():
            counts = [(split, *members(opened, inside, split)) for split in ("train", "test")]
            parts = (f"{count} of {total} {split} pictures" for split, count, total in counts)
            say(f"{name}: {', '.join(parts)}")
        target = Path(store or source)
        if target.resolve() != Path(source).resolve():
            with atomic_path(target) as partial:
                shutil.copyfile(source, partial)
        write_store(target, [], marked, opened.attrs)


def _marked(ids: Sequence[str], pairs: Iterable[tuple[str, str]]) -> NDArray[np.bool_]:
    names = {name for pair in pairs for name in pair}
    return np.array([name in names for name in ids], dtype=np.bool_)


def coco_number(name: str) -> int | None:
    """The COCO photograph that a picture's name says, or None.

    Examples:
        >>> coco_number("COCO_train2014_000000000036")
        36
        >>> coco_number("n03626115_19498")
    """
    found = _COCO.search(name)
    return int(found[1]) if found else None


def imagenet_name(name: str) -> tuple[str, str] | None:
    """Synset and picture ("" where it is not said) of a name, or None.

    The number of a picture is compared without leading zeros.

    Examples:
        >>> imagenet_name("n03626115_019498.JPEG")
        ('n03626115', 'n03626115_19498')
        >>> imagenet_name("n01440764 tench, Tinca tinca")
        ('n01440764', '')
    """
    found = _IMAGENET.search(name.split("/")[-1])
    if found is None:
        return None
    synset = f"n{found[1]}"
    return synset, f"{synset}_{int(found[2])}" if found[2] else ""


def shown_by_nsd(ids: Sequence[str], info: Path) -> NDArray[np.bool_]:
    """Which pictures NSD shows too, by the number of the COCO photograph; bool (stimuli,).

    Raises:
        SourceError: If the table cannot be read.
        ConfigError: If no picture is named after a COCO photograph.
    """
    known = set(read_stim_info(info, ["cocoId"])["cocoId"].astype(np.int64))
    numbers = [coco_number(name) for name in ids]
    if not any(numbers):
        raise ConfigError(
            f"none of the {len(ids)} pictures is named after COCO, {ids[0]!r} the first",
            "names such as COCO_train2014_000000000036",
            "leave --nsd out for this store",
        )
    return np.array([number in known for number in numbers], dtype=np.bool_)


def trained_on(ids: Sequence[str], source: Path) -> dict[str, NDArray[np.bool_]]:
    """Which pictures, and which of their classes, a network was trained on; bool (stimuli,).

    Returns:
        `ilsvrc_class`, and `ilsvrc_train` where the source names pictures.

    Raises:
        SourceError: If the source names no synsets.
        ConfigError: If no picture of the store is named after a synset.
    """
    names = [imagenet_name(name) for name in ids]
    if not any(names):
        raise ConfigError(
            f"none of the {len(ids)} pictures is named after ImageNet, {ids[0]!r} the first",
            "names such as n03626115_19498",
            "leave --ilsvrc out for this store",
        )
    synsets, pictures = read_training_set(source)
    strata = {"ilsvrc_class": [name is not None and name[0] in synsets for name in names]}
    if pictures:
        strata["ilsvrc_train"] = [name is not None and name[1] in pictures for name in names]
    return {name: np.array(inside, dtype=np.bool_) for name, inside in strata.items()}


def read_training_set(source: Path) -> tuple[set[str], set[str]]:
    """Synsets and pictures that a folder or a list names.

    Raises:
        SourceError: If it names no synsets.
    """
    try:
        if source.is_dir():
            lines = [path.name for path in source.rglob("n*")]
        elif source.suffix == ".json":
            lines = [str(row) for row in json.loads(source.read_text()).values()]
        else:
            lines = source.read_text(encoding="utf-8").splitlines()
    except BROKEN as error:
        raise SourceError(f"{source} cannot be read ({error})", "a list of synsets") from None
    found = [name for name in map(imagenet_name, lines) if name is not None]
    if not found:
        raise SourceError(f"{source} names no synsets", "names such as n01440764")
    return {synset for synset, _ in found}, {picture for _, picture in found} - {""}
