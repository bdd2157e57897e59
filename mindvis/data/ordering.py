"""The order of voxels in a vector: as stored, or along a space-filling curve through the volume."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Order = Literal["stored", "hilbert"]


def order_voxels(ijk: npt.ArrayLike, order: Order) -> npt.NDArray[np.intp]:
    """The permutation that puts voxels into an order.

    Args:
        ijk: int (voxels, 3), indices into the volume.
        order: "stored" leaves them; "hilbert" follows a Hilbert curve, so that a patch of
            neighbours in the vector is a neighbourhood in the volume. Vertices of a surface, whose
            indices are all -1, come first, as stored.

    Returns:
        (voxels,) such that `values[permutation]` is in the order.
    """
    points = np.asarray(ijk)
    if order == "stored":
        return np.arange(len(points))
    return np.argsort(hilbert_index(points), kind="stable")


def hilbert_index(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Position of each point along a Hilbert curve.

    Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707 (2004): coordinates are turned
    into the "transposed" index by undoing the rotations of each level, from the coarsest, and a
    Gray code; its bits, interleaved, are the position.

    Args:
        points: Integers (n, dimensions), of any sign; only differences count.

    Returns:
        (n,) non-negative; consecutive positions in a filled cube of side 2**k are neighbours.
    """
    grid = np.asarray(points, dtype=np.int64)
    if not len(grid):
        return np.zeros(0, dtype=np.int64)
    axes = (grid - grid.min(axis=0)).T.copy()
    bits = max(1, int(axes.max()).bit_length())
    for level in reversed(range(1, bits)):
        _undo_rotation(axes, level)
    axes = np.bitwise_xor.accumulate(axes, axis=0)  # Gray code across the axes
    flips = np.zeros_like(axes[0])
    for level in range(1, bits):
        flips ^= ((axes[-1] >> level) & 1) * ((1 << level) - 1)
    return _interleave(axes ^ flips, bits)


def _undo_rotation(axes: npt.NDArray[np.int64], level: int) -> None:
    """Reflect the bits below `level`, or exchange them with those of the first axis; in place."""
    below = (1 << level) - 1
    for axis in axes:
        upper = ((axis >> level) & 1).astype(bool)
        exchanged = np.where(upper, 0, (axes[0] ^ axis) & below)
        axes[0] ^= np.where(upper, below, exchanged)
        axis ^= exchanged


def _interleave(axes: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """One number from the bits of all axes: highest bits first, the first axis leading."""
    position = np.zeros_like(axes[0])
    for level in reversed(range(bits)):
        for axis in axes:
            position = (position << 1) | ((axis >> level) & 1)
    return position
