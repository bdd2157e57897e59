"""Which axis of somebody's arrays is the trials: found by the counts that must agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isqrt
from typing import Literal

import numpy as np

from mindvis.console import say
from mindvis.errors import SourceError
from preprocessing.formats import Array
from preprocessing.orientation import CHANNELS, ImageOptions, Layout
from preprocessing.sections import Section

ResponseLayout = Literal["auto", "trials-voxels", "voxels-trials"]
_AXES = {
    "hwc": "(n, height, width[, channels])",
    "chw": "(n, channels, height, width)",
    "hwcn": "(height, width[, channels], n)",
    "flat-rows": "(n, pixels)",
    "flat-columns": "(n, pixels)",
}


@dataclass(frozen=True)
class Reading:
    """One way to read the axes.

    Args:
        responses: Whether responses are (voxels, trials).
        layout: Order of the axes of the pictures.
        pictures: Whether flat pictures are (pixels, n).
    """

    responses: bool = False
    layout: Layout = "hwc"
    pictures: bool = False

    def words(self, shown: bool) -> str:
        """Such as "responses (trials, voxels), pictures (n, height, width[, channels])"."""
        axes = "(voxels, trials)" if self.responses else "(trials, voxels)"
        pictures = "(pixels, n)" if self.pictures else _AXES[self.layout]
        return f"responses {axes}" + (f", pictures {pictures}" if shown else "")


@dataclass(frozen=True)
class Known:
    """What is known beside the responses: keys of ROIs and coordinates, and the first index."""

    rois: Sequence[str] = ()
    coordinates: str | None = None
    first_index: int = 0


def turned(
    sections: Sequence[Section],
    arrays: Mapping[str, Array],
    how: ImageOptions,
    responses: ResponseLayout,
    known: Known,
) -> tuple[dict[str, Array], ImageOptions]:
    """The arrays with responses as (trials, voxels), and the layout of the pictures.

    Raises:
        SourceError: If no order of the axes fits the counts, or two do.
    """
    reading = _only_reading(sections, arrays, how, responses, known)
    shown = any(section.images for section in sections)
    if reading not in {Reading(), Reading(layout=how.layout if how.layout != "auto" else "hwc")}:
        say(f"read as {reading.words(shown)}")
    flip = {section.responses for section in sections if reading.responses}
    flip |= {section.images for section in sections if section.images and reading.pictures}
    straight = {key: array.T if key in flip else array for key, array in arrays.items()}
    if known.coordinates and straight[known.coordinates].ndim == 2:
        places = straight[known.coordinates]
        if places.shape[0] == 3 != places.shape[1]:
            straight[known.coordinates] = places.T
    return straight, replace(how, layout=reading.layout)


def _only_reading(
    sections: Sequence[Section],
    arrays: Mapping[str, Array],
    how: ImageOptions,
    responses: ResponseLayout,
    known: Known,
) -> Reading:
    for section in sections:
        _refuse_no_matrix(section.responses, arrays)
    ways = [False, True] if responses == "auto" else [responses == "voxels-trials"]
    readings = [
        Reading(way, *pictures)
        for way, pictures in product(ways, _picture_readings(sections, arrays, how))
    ]
    fitting = [reading for reading in readings if _counts_agree(reading, sections, arrays)]
    shown = any(section.images for section in sections)
    if not fitting:
        raise SourceError(
            f"no order of the axes fits all of {_shapes(sections, arrays)}",
            "as many trials in each, with responses (trials, voxels) or (voxels, trials)",
            "check the keys, and give --response_layout and --image_layout",
        )
    sharper = [reading for reading in fitting if _rest_agrees(reading, sections, arrays, known)]
    fitting = sharper or fitting
    if len(fitting) > 1:
        raise SourceError(
            f"{_shapes(sections, arrays)} may be read as "
            f"{' or as '.join(reading.words(shown) for reading in fitting)}",
            "one order of the axes",
            "give --response_layout and --image_layout",
        )
    return fitting[0]


def _refuse_no_matrix(key: str, arrays: Mapping[str, Array]) -> None:
    values = arrays[key]
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise SourceError(
            f"{key!r} is {values.dtype} of shape {values.shape}", "numbers (trials, voxels)"
        )


def _picture_readings(
    sections: Sequence[Section], arrays: Mapping[str, Array], how: ImageOptions
) -> list[tuple[Layout, bool]]:
    """Layouts that the shapes of all pictures allow, and whether flat ones are turned."""
    shapes = [arrays[section.images].shape for section in sections if section.images]
    if not shapes:
        return [("hwc", False)]
    if how.layout == "auto":
        flat = next((shape for shape in shapes if len(shape) == 2), None)
        if flat is not None:
            raise SourceError(
                f"the pictures have the shape {flat}, one number a pixel",
                "to know whether pixels go row by row or, as in MATLAB, column by column",
                "give --image_layout flat-rows or flat-columns",
            )
        every: tuple[Layout, ...] = ("hwc", "chw", "hwcn")
        fits = [name for name in every if all(_may_be(name, shape) for shape in shapes)]
        return [(name, False) for name in fits] or [("hwc", False)]
    if not how.layout.startswith("flat"):
        return [(how.layout, False)]
    ways = [way for way in (False, True) if all(_is_flat(s, way, how.shape) for s in shapes)]
    return [(how.layout, way) for way in ways or [False]]


def _may_be(layout: Layout, shape: tuple[int, ...]) -> bool:
    if len(shape) == 3:
        return layout != "chw"
    axis = {"hwc": 3, "chw": 1, "hwcn": 2}[layout]
    return len(shape) == 4 and shape[axis] in CHANNELS


def _is_flat(shape: tuple[int, ...], turned_round: bool, size: tuple[int, ...] | None) -> bool:
    if len(shape) != 2:
        return False
    pixels = shape[0 if turned_round else 1]
    return pixels == (int(np.prod(size)) if size else isqrt(pixels) ** 2)


def _number(reading: Reading, shape: tuple[int, ...]) -> int | None:
    """Pictures of an array; None where the layout is not of its shape, which is refused later."""
    flat = reading.layout.startswith("flat")
    if len(shape) not in ({2} if flat else {3, 4}) or not (flat or _may_be(reading.layout, shape)):
        return None
    last = reading.layout == "hwcn" or reading.pictures
    return shape[-1 if last else 0]


def _counts_agree(
    reading: Reading, sections: Sequence[Section], arrays: Mapping[str, Array]
) -> bool:
    """Whether trials agree in number within each section, and voxels in all."""
    widths = set()
    for section in sections:
        trials, voxels = _sizes(reading, arrays[section.responses])
        widths.add(voxels)
        keys = [section.labels, section.index, section.split_key]
        counts = {arrays[key].size for key in keys if key}
        if section.images and not section.index:
            counts.add(_number(reading, arrays[section.images].shape) or trials)
        if counts - {trials}:
            return False
    return len(widths) == 1


def _sizes(reading: Reading, responses: Array) -> tuple[int, int]:
    """Trials and voxels."""
    first, second = responses.shape
    return (second, first) if reading.responses else (first, second)


def _rest_agrees(
    reading: Reading, sections: Sequence[Section], arrays: Mapping[str, Array], known: Known
) -> bool:
    """Whether ROIs, coordinates and the numbers of pictures fit a reading as well."""
    voxels = _sizes(reading, arrays[sections[0].responses])[1]
    sizes = {arrays[key].size for key in known.rois}
    if known.coordinates:
        sizes.add(arrays[known.coordinates].size // 3)
    for section in sections:
        if section.images and section.index:
            count = _number(reading, arrays[section.images].shape)
            index = arrays[section.index]
            if count and index.dtype.kind in "iuf" and index.max() - known.first_index >= count:
                return False
    return not sizes - {voxels}


def _shapes(sections: Sequence[Section], arrays: Mapping[str, Array]) -> str:
    keys = dict.fromkeys(key for section in sections for key in section.named())
    return ", ".join(f"{key!r} {arrays[key].shape}" for key in keys)
