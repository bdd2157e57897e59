"""Which picture of a set is most like another one: memorised pictures, duplicates, retrieval."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mindvis.metrics.functional import standardised_features
from mindvis.metrics.pairing import fit_size

Bytes = NDArray[np.uint8]
Pictures = Bytes | Sequence[Bytes]
SIDE: Final = 32  # pixels; details below a thirtieth of the picture make no other picture
NEAR_DUPLICATE: Final = 0.98  # correlation of thumbnails from which two pictures are one


def thumbnails(pictures: Pictures, block: int = 1024) -> NDArray[np.float32]:
    """Pictures as rows whose products are correlations of their 32-pixel RGB thumbnails.

    Args:
        pictures: uint8 (n, height, width, 3), or a sequence of such pictures of any size.
        block: Pictures at once.

    Returns:
        float32 (n, 3072); zeros for a picture of one colour.
    """
    rows = [np.empty((0, 3 * SIDE * SIDE), dtype=np.float32)]
    for start in range(0, len(pictures), block):
        small = fit_size(pictures[start : start + block], SIDE, SIDE)
        rows.append(standardised_features(torch.from_numpy(small)).to(torch.float32).numpy())
    return np.concatenate(rows)


def nearest(
    queries: NDArray[np.float32], candidates: NDArray[np.float32], block: int = 512
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The most similar candidate of each query.

    Args:
        queries: (n, d) rows of unit length.
        candidates: (m, d) rows of unit length, at least one.
        block: Queries at once.

    Returns:
        Its number (n,), the first of several, and their correlation (n,).
    """
    places, likeness = [], []
    for start in range(0, len(queries), block):
        products = queries[start : start + block] @ candidates.T
        places.append(products.argmax(1))
        likeness.append(products.max(1))
    return np.concatenate(places), np.concatenate(likeness)


def near_duplicates(pictures: Pictures, others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each picture is also among others, or nearly.

    Args:
        pictures: n of them.
        others: (m, 3072), as `thumbnails` gives them.

    Returns:
        bool (n,).
    """
    if not len(others):
        return np.zeros(len(pictures), dtype=bool)
    return nearest(thumbnails(pictures), others)[1] >= NEAR_DUPLICATE
