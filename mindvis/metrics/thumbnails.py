"""Pictures as data URIs, small enough together for one page."""

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BUDGET: Final = 8_000_000  # bytes of all pictures before base64, which adds a third
PNG_SIDE: Final = 64  # pixels; pictures up to this size are kept as they are where the budget lasts
# longest side in pixels and quality, from the best to the smallest: WebP is a third smaller than
# JPEG of as little error
STEPS: Final = ((None, None), (160, 85), (112, 80), (80, 75), (64, 70), (48, 60), (32, 50))


def encode(picture: NDArray[np.uint8], side: int | None, quality: int | None) -> bytes:
    """A picture (H, W, 3) as PNG where no quality is given, else as WebP of at most `side`."""
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if quality is None:
        image.save(buffer, "PNG")
        return buffer.getvalue()
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(buffer, "WEBP", quality=quality, method=2)  # more effort saves 4 % in twice the time
    return buffer.getvalue()


def choose_step(
    sample: Sequence[NDArray[np.uint8]], count: int, budget: int = BUDGET
) -> tuple[int | None, int | None]:
    """The best size and quality at which `count` pictures like the sample fit the budget.

    Args:
        sample: Some of the pictures.
        count: How many there will be.
        budget: Bytes of all together.

    Returns:
        Longest side and WebP quality; None and None for PNG in full size.
    """
    for side, quality in STEPS[:-1]:
        if quality is None and max(max(p.shape[:2]) for p in sample) > PNG_SIDE:
            continue
        mean = sum(len(encode(p, side, quality)) for p in sample) / len(sample)
        if mean * count <= budget:
            return side, quality
    return STEPS[-1]


def data_uri(picture: NDArray[np.uint8], step: tuple[int | None, int | None]) -> str:
    """A picture as the `src` of an image."""
    kind = "png" if step[1] is None else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(encode(picture, *step)).decode()}"
