"""Mean and variance of rows that need not fit into memory at once."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mindvis.errors import DataError


class Moments:
    """Mean and variance of each voxel, gathered block by block in float64.

    Blocks are joined by the pairwise update of Chan, Golub and LeVeque (1983), which loses no
    digits to large means.

    Args:
        blocks: Arrays (rows, voxels), together the rows to describe.
    """

    def __init__(self, blocks: Iterable[npt.ArrayLike]) -> None:
        self.count = 0
        self.mean: npt.NDArray[np.float64] = np.zeros(0)
        self.squares: npt.NDArray[np.float64] = np.zeros(0)
        for block in blocks:
            self.update(np.asarray(block, dtype=np.float64))
        if not self.count:
            raise DataError("there are no rows to standardise by", "at least one training row")

    def update(self, block: npt.NDArray[np.float64]) -> None:
        """Add rows."""
        mean = block.mean(axis=0)
        squares = ((block - mean) ** 2).sum(axis=0)
        total = self.count + len(block)
        if not self.count:
            self.mean, self.squares = mean, squares
        else:
            shift = mean - self.mean
            self.mean = self.mean + shift * len(block) / total
            self.squares = self.squares + squares + shift**2 * self.count * len(block) / total
        self.count = total

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Of each voxel over all rows (divided by their number)."""
        return self.squares / self.count
