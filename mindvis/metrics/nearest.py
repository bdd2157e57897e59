"""Which picture of a set is most like another one: memorised pictures, duplicates, retrieval."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mindvis.metrics.functional import standardised_features
from mindvis.metrics.pairing import fit_size

Bytes = NDArray[np.uint8]
Pictures = Bytes | Sequence[Bytes]
SIDE: Final = 32  # pixels; details below a thirtieth of the picture make no other picture
COARSE: Final = 8  # pixels; at this size a copy is one with noise, blur or a codec's traces too
LARGEST_SIDE: Final = 64  # pixels, of pictures that are blurred
BLURS: Final = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)  # deviation, of the side
NEAR_DUPLICATE: Final = 0.98  # correlation of thumbnails from which two pictures are one


def thumbnails(pictures: Pictures, block: int = 1024, side: int = SIDE) -> NDArray[np.float32]:
    """Pictures as rows whose products are correlations of their RGB thumbnails.

    Args:
        pictures: uint8 (n, height, width, 3), or a sequence of such pictures of any size.
        block: Pictures at once.
        side: Pixels of a thumbnail's side.

    Returns:
        float32 (n, 3 side^2), 3072 by default; zeros for a picture of one colour.
    """
    rows = [np.empty((0, 3 * side * side), dtype=np.float32)]
    for start in range(0, len(pictures), block):
        small = fit_size(pictures[start : start + block], side, side)
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


def told_beyond(decoded: Bytes, known: Sequence[Bytes], truths: Bytes) -> NDArray[np.float64]:
    """What decoded pictures tell of the true ones that known pictures do not.

    Partial correlation over pixels of the decoded and the true picture, given the known pictures
    and their blurred forms. A copy of a known picture has none, whatever noise, blur or contrast
    was added to it; one that paints what was seen has some, however badly it does.

    Args:
        decoded: uint8 (n, H, W, 3).
        known: Pictures that each of them may be a copy of, uint8 (n, ., ., 3) each.
        truths: uint8 (n, ., ., 3).

    Returns:
        (n,); zero where the known pictures explain a picture wholly.
    """
    height, width = (min(LARGEST_SIDE, side) for side in decoded.shape[1:3])
    small = [fit_size(part, height, width) for part in (decoded, truths, *known)]
    pairs = zip(*small, strict=True)
    return np.array([_partial_correlation(one, true, given) for one, true, *given in pairs])


def _partial_correlation(one: Bytes, other: Bytes, given: Sequence[Bytes]) -> float:
    """Correlation of two pictures (H, W, 3) given others and their blurred forms."""
    levels = [0.0, *(share * min(one.shape[:2]) for share in BLURS)]
    blurred = [gaussian_filter(p.astype(np.float64), (s, s, 0)) for p in given for s in levels]
    basis = np.linalg.qr(np.stack([np.ones(one.size), *(b.ravel() for b in blurred)], axis=1))[0]
    left, right = (
        _unexplained(picture.ravel().astype(np.float64), basis) for picture in (one, other)
    )
    return float(left @ right)


def _unexplained(values: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an orthonormal basis (pixels, k) leaves of values (pixels,), at unit length; or zero."""
    rest = values - basis @ (basis.T @ values)
    length = np.linalg.norm(rest)
    return rest / length if length > 1e-6 * np.linalg.norm(values) else np.zeros_like(rest)
