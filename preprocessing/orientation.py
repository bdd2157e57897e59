"""Pictures out of arrays of any axis order and range into uint8 (n, height, width, 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindvis.console import say
from mindvis.data.picture_files import square
from mindvis.data.pixels import BYTES, OVERSHOOT, SIGNED, UNIT, WORDS, find_range, to_levels
from mindvis.errors import SourceError
from preprocessing.formats import Array

Layout = Literal["auto", "hwc", "chw", "hwcn", "flat-rows", "flat-columns"]
Scale = Literal["auto", "0-1", "signed", "0-255", "0-65535"]
CHANNELS = frozenset({1, 3})
_RANGES: dict[tuple[float, float], Scale] = {
    UNIT: "0-1", SIGNED: "signed", BYTES: "0-255", WORDS: "0-65535",
}  # fmt: skip
_DECLARE = "give --image_scale 0-1, signed (-1 to 1), 0-255 or 0-65535"


@dataclass(frozen=True)
class ImageOptions:
    """How pictures lie in their arrays.

    Args:
        layout: Order of the axes.
        shape: Height, width and channels of flat pictures; None: square and grey.
        scale: Range of the values.
        size: Side in pixels to which they are resized; None keeps them.
    """

    layout: Layout = "auto"
    shape: tuple[int, ...] | None = None
    scale: Scale = "auto"
    size: int | None = None


def orient(
    pictures: Array, layout: Layout, shape: tuple[int, ...] | None, name: str = "the pictures"
) -> Array:
    """Bring the axes in order: (n, height, width, 3), grey repeated.

    Args:
        pictures: In the given layout.
        layout: "hwc" (n, H, W[, C]); "chw" (n, C, H, W); "hwcn" (H, W[, C], n); "flat-rows" and
            "flat-columns" (n, H W C), the last or the first axis of a picture fastest.
        shape: (H, W) or (H, W, C) of flat pictures; None takes them as square and grey.
        name: What the message calls them.

    Raises:
        SourceError: If the array has no such layout.
    """
    if pictures.dtype.kind not in "biuf" or not pictures.size:
        raise SourceError(f"{name} is {pictures.dtype} of shape {pictures.shape}", "numbers")
    if layout.startswith("flat"):
        ordered = _unflatten(pictures, layout, shape, name)
    elif pictures.ndim not in {3, 4}:
        ordered = pictures
    elif layout == "hwcn":
        ordered = np.moveaxis(pictures, -1, 0)
    else:
        ordered = np.moveaxis(pictures, 1, -1) if layout == "chw" else pictures
    if ordered.ndim == 3:
        ordered = ordered[..., None]
    if ordered.ndim != 4 or ordered.shape[-1] not in CHANNELS:
        raise SourceError(
            f"{name} has the shape {pictures.shape}",
            f"1 or 3 channels in the layout {layout}",
            "choose another --image_layout",
        )
    return np.broadcast_to(ordered, (*ordered.shape[:3], 3))


def _unflatten(pictures: Array, layout: Layout, shape: tuple[int, ...] | None, name: str) -> Array:
    if pictures.ndim != 2:
        raise SourceError(f"{name} has the shape {pictures.shape}", f"(n, pixels) for {layout}")
    side = isqrt(pictures.shape[1])
    size = shape or (side, side)
    if int(np.prod(size)) != pictures.shape[1] or len(size) not in {2, 3}:
        raise SourceError(
            f"{name} has {pictures.shape[1]} values a picture",
            f"{' x '.join(map(str, size))} of them",
            "give height, width and channels with --image_shape",
        )
    if layout == "flat-rows":
        return pictures.reshape(-1, *size)
    backwards = pictures.reshape(-1, *size[::-1])
    return backwards.transpose(0, *range(len(size), 0, -1))


def to_uint8(pictures: Array, scale: Scale, name: str = "the pictures") -> NDArray[np.uint8]:
    """Values as 0-255.

    Args:
        pictures: Of any number type.
        scale: Range of the values; "auto" finds it out, see `shared_range`.
        name: What the message calls them.

    Raises:
        SourceError: If values lie outside the range.
    """
    if scale == "auto":
        scale = shared_range({name: pictures})
    low, high = next(ends for ends, known in _RANGES.items() if known == scale)
    slack = OVERSHOOT * (high - low)
    least, most = float(pictures.min()), float(pictures.max())
    if not (least >= low - slack and most <= high + slack):
        raise SourceError(
            f"{name} has values from {least:g} to {most:g}",
            f"{low:g} to {high:g}",
            "rescale the pictures, or choose another --image_scale",
        )
    return to_levels(pictures, low, high)


def shared_range(arrays: Mapping[str, Array]) -> Scale:
    """The range of the values of all pictures, which is said unless they are plain bytes.

    Args:
        arrays: By what a message calls them.

    Raises:
        SourceError: If none is certain, or arrays differ.
    """
    found = {key: find_range(array, repr(key), _DECLARE) for key, array in arrays.items()}
    scales = {_RANGES[one.low, one.high] for one in found.values()}
    if len(scales) > 1:
        each = ", ".join(f"{key!r} {one.low:g} to {one.high:g}" for key, one in found.items())
        raise SourceError(f"the pictures seem to have different ranges: {each}", "one", _DECLARE)
    for key, one in found.items():
        if arrays[key].dtype != np.uint8 or scales != {"0-255"}:
            say(f"values of {key!r} are read as {one.low:g} to {one.high:g} ({one.why})")
    return scales.pop()


def resize(pictures: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """The centre square of each picture, brought to `size` pixels a side; None keeps them."""
    if size is None or pictures.shape[1:3] == (size, size):
        return pictures
    return np.stack([square(picture, size) for picture in pictures])
