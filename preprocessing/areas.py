"""Areas of an atlas by name or number, and the voxels that belong to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError, one_of

#: numbers of both hemispheres in the multi-modal parcellation (Glasser et al., 2016)
GLASSER: Mapping[str, tuple[int, ...]] = {
    "V1": (1, 181),
    "V2": (4, 184),
    "V3": (5, 185),
    "V4": (6, 186),
}
#: name of the union of all chosen areas
UNION = "VC"


@dataclass(frozen=True)
class AreaChoice:
    """Which areas of which atlas.

    Args:
        atlas: The file.
        areas: Their names, in the order in which voxels are stored.
        labels: Numbers of each area, where the atlas does not name it.
    """

    atlas: Path
    areas: tuple[str, ...]
    labels: Mapping[str, Sequence[int]] = field(default_factory=dict, hash=False)


def area_numbers(area: str, choice: AreaChoice, names: Mapping[int, str]) -> list[int]:
    """Numbers of an area's labels: as given, as the atlas names it, or those of Glasser.

    Args:
        area: Such as "V1".
        choice: With the numbers that were given.
        names: Of the atlas' labels, such as {1: "R_V1_ROI"}.

    Raises:
        SourceError: If the area is unknown.
    """
    if area in choice.labels:
        return list(choice.labels[area])
    plain = {key: plain_name(name) for key, name in names.items()}
    found = [key for key, name in plain.items() if name == area and key]
    if found:
        return found
    if area in GLASSER and not set(plain.values()) & set(GLASSER):
        return list(GLASSER[area])
    known = set(plain.values()) - {"???", ""} or set(GLASSER)
    raise SourceError(
        f"{choice.atlas} has no area {area!r}",
        one_of("it", area, known),
        "name its numbers with --labels",
    )


def plain_name(label: str) -> str:
    """An area's name without hemisphere: "V1" of "R_V1_ROI", "L_V1" and "V1_L"."""
    name = label.removesuffix("_ROI")
    for side in ("L", "R"):
        name = name.removeprefix(f"{side}_").removesuffix(f"_{side}")
    return name


def columns_of_areas(
    labels: NDArray[np.int64], choice: AreaChoice, names: Mapping[int, str]
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.bool_]]]:
    """Voxels of the areas, area by area, and each area as a mask over them.

    Args:
        labels: (places,), the label of each.
        choice: The areas.
        names: Of the labels, by number.

    Returns:
        (voxels,) numbers of places, and bool (voxels,) by area, with the union "VC".

    Raises:
        SourceError: If an area has no place, or two areas share a label.
    """
    parts = []
    for area in choice.areas:
        numbers = area_numbers(area, choice, names)
        inside = np.flatnonzero(np.isin(labels, numbers))
        if not len(inside):
            raise SourceError(
                f"no place in the data has a label {', '.join(map(str, numbers))} of {area}",
                f"some, by {choice.atlas}",
                "check --areas and --labels",
            )
        parts.append(inside)
    columns = np.concatenate(parts)
    if len(np.unique(columns)) < len(columns):
        raise SourceError("two areas share a label", "areas that do not overlap", "check --labels")
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rois = {area: owner == number for number, area in enumerate(choice.areas)}
    return columns, {**rois, UNION: np.ones(len(columns), dtype=np.bool_)}
