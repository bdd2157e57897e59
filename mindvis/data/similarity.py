"""Pictures that are the same to the eye: perceptual hashes, confirmed on thumbnails."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from mindvis.data.hdf5 import Rows, gather

#: bits in which two hashes may differ, and grey levels in which thumbnails may (root mean square)
MAX_BITS: Final = 10
MAX_LEVELS: Final = 10.0
_SIDE, _MARGIN, _BLOCK = 16, 2, 256


def thumbnail(picture: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture averaged down to a few pixels, uint8 (height, width, 3)."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def difference_hash(picture: npt.NDArray[np.uint8]) -> np.uint64:
    """64 bits: where brightness rises from left to right in a grid of 8 rows of 9 cells.

    The dHash of Krawetz (2013, hackerfactor.com); a rise of two grey levels or less counts as none,
    so that noise in a plain background sets no bits.

    Args:
        picture: uint8 (height, width, 3).
    """
    grey = thumbnail(picture, 9, 8).astype(np.float64) @ (0.299, 0.587, 0.114)
    bits = np.diff(grey, axis=1) > _MARGIN
    return np.packbits(bits.ravel()).view(">u8").astype(np.uint64)[0]


class Signatures(NamedTuple):
    """What pictures are compared by: hashes, uint64 (n,), and thumbnails, float32 (n, 768)."""

    hashes: npt.NDArray[np.uint64]
    thumbnails: npt.NDArray[np.float32]


def signatures(images: Rows, rows: npt.ArrayLike) -> Signatures:
    """The signatures of some pictures, read in blocks.

    Args:
        images: uint8 (pictures, height, width, 3).
        rows: Which of them, increasing.
    """
    wanted = np.asarray(rows, dtype=np.intp)
    hashes = np.empty(len(wanted), dtype=np.uint64)
    small = np.empty((len(wanted), _SIDE * _SIDE * 3), dtype=np.float32)
    for start in tqdm(range(0, len(wanted), _BLOCK), "Hashing pictures", delay=2, leave=False):
        block = gather(images, wanted[start : start + _BLOCK])
        for place, picture in enumerate(block, start=start):
            hashes[place] = difference_hash(picture)
            small[place] = thumbnail(picture, _SIDE, _SIDE).ravel()
    return Signatures(hashes, small)


def near_duplicates(first: Signatures, second: Signatures) -> npt.NDArray[np.intp]:
    """Pairs of pictures, one of each group, that are the same to the eye.

    Hashes that differ in `MAX_BITS` bits or fewer are candidates; a pair counts when the root mean
    square difference of its colour thumbnails is `MAX_LEVELS` grey levels or less. Recompressed,
    resized and slightly brightened copies are found, mirrored and cropped ones are not.

    Returns:
        (pairs, 2), positions in the first and in the second group, in that order.
    """
    pairs = []
    for place, (code, small) in enumerate(zip(*first, strict=True)):
        near = np.flatnonzero(np.bitwise_count(second.hashes ^ code) <= MAX_BITS)
        error = np.sqrt(((second.thumbnails[near] - small) ** 2).mean(axis=1))
        pairs += [(place, int(other)) for other in near[error <= MAX_LEVELS]]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)
