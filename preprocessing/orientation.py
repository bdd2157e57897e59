"""Pictures out of arrays of any axis order and range into uint8 (n, height, width, 3)."""

from math import isqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError
from mindvis.pictures import square
from preprocessing.formats import Array

Layout = Literal["hwc", "chw", "hwcn", "flat-rows", "flat-columns"]
Scale = Literal["auto", "0-1", "0-255"]


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
    if ordered.ndim != 4 or ordered.shape[-1] not in {1, 3}:
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
        scale: Range of the values; "auto" takes integers and values above 1 as 0-255, else 0-1.
        name: What the message calls them.

    Raises:
        SourceError: If values lie outside the range.
    """
    low, high = float(pictures.min()), float(pictures.max())
    unit = scale == "0-1" or (scale == "auto" and (pictures.dtype.kind == "b" or high <= 1.0))
    if pictures.dtype == np.uint8 and scale == "auto":
        unit = False
    limit = 1.0 if unit else 255.0
    if not (low >= 0.0 and high <= limit):
        raise SourceError(
            f"{name} has values from {low:g} to {high:g}",
            f"0 to {limit:g}",
            "rescale the pictures, or choose another --image_scale",
        )
    return np.rint(pictures.astype(np.float32) * (255.0 / limit)).astype(np.uint8)


def resize(pictures: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """The centre square of each picture, brought to `size` pixels a side; None keeps them."""
    if size is None or pictures.shape[1:3] == (size, size):
        return pictures
    return np.stack([square(picture, size) for picture in pictures])
