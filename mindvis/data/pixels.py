"""Values of pictures of any number type, brought to the levels 0 to 255."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import DataError, SourceError

Array = NDArray[Any]
#: part of a range by which values may lie outside of it: bicubic resizing overshoots
OVERSHOOT = 0.05
#: largest level of a set of pictures that is no longer taken for darkness
_DARK = 16
_SHARE = 0.1


class PictureError(SourceError, DataError):
    """A picture that is damaged, or whose values have more than one reading."""


class Range(NamedTuple):
    """The values that mean black and white, and how that is known."""

    low: float
    high: float
    why: str

    @property
    def name(self) -> str:
        """Such as "0-255"."""
        return f"{self.low:g}-{self.high:g}"


BOOLEANS = Range(0, 1, "they are booleans")
UNIT, SIGNED, BYTES, WORDS = (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0)


def find_range(values: Array, name: str, remedy: str) -> Range:
    """The range in which the values of a set of pictures lie, from their type and all of them.

    Args:
        values: Numbers of any shape.
        name: What a message calls them.
        remedy: What to do where two ranges are plausible.

    Raises:
        PictureError: If none fits, or two do.
    """
    if values.dtype.kind == "b":
        return BOOLEANS
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError(f"{name} has values that are NaN or infinite", "finite values", remedy)
    whole = values.dtype.kind in "iu"
    found = _whole(values, low, high) if whole else _fractions(values, low, high)
    if found is None:
        raise PictureError(
            f"{name} is {values.dtype} with values from {low:g} to {high:g}",
            "values that fill one of the ranges 0 to 1, -1 to 1, 0 to 255 and 0 to 65535",
            remedy,
        )
    return found


def _whole(values: Array, low: float, high: float) -> Range | None:
    """The range of whole numbers: 0 and 1, bytes, or 16 bits."""
    said = f"{values.dtype} from {low:g} to {high:g}"
    if low == high == 0:
        return Range(*BYTES, said)
    if low >= 0 and high == 1:
        return Range(*UNIT, f"{values.dtype} with no values but 0 and 1")
    if low < 0 or high > 65535 or high < _DARK:
        return None
    if high <= 255:
        return Range(*BYTES, said)
    # values of 10 or 12 bits, or one outlier among bytes, are no dark pictures of 16 bits
    return Range(*WORDS, said) if high >= 4096 and _share_above(values, 255) > _SHARE else None


def _fractions(values: Array, low: float, high: float) -> Range | None:
    """The range of floats: 0 to 1, -1 to 1, or 0 to 255, with some overshoot."""
    said = f"{values.dtype} from {low:.6g} to {high:.6g}"
    if high <= 1 + OVERSHOOT:
        if low >= -OVERSHOOT:
            return Range(*UNIT, said)
        return Range(*SIGNED, said) if -1 - 2 * OVERSHOOT <= low <= -0.5 else None
    edge = 255 * OVERSHOOT
    if low < -edge or high > 255 + edge or high < _DARK:
        return None
    return Range(*BYTES, said) if _share_above(values, 1 + OVERSHOOT) > 0.5 else None


def _share_above(values: Array, limit: float) -> float:
    """Part of the values other than 0 that are above a limit."""
    return float((values > limit).sum()) / max(int((values != 0).sum()), 1)


def to_levels(values: Array, low: float, high: float) -> NDArray[np.uint8]:
    """Values from `low` to `high` as the levels 0 to 255, rounded; values outside are clipped."""
    if values.dtype == np.uint8 and (low, high) == BYTES:
        return values
    single: NDArray[np.float32] = values.astype(np.float32)
    scaled = (single - np.float32(low) if low else single) * np.float32(255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def on_background(rgba: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pixels with transparency (H, W, 4) as seen before a colour, uint8 (H, W, 3)."""
    share = rgba[..., 3:].astype(np.float32) / 255
    seen = rgba[..., :3] * share + np.asarray(colour, np.float32) * (1 - share)
    return np.rint(seen).astype(np.uint8)
