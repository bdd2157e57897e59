"""Controls that paint nothing: training pictures, found by the response or by what was decoded."""

import numpy as np
from numpy.typing import NDArray

from mindvis.data.reader import VoxelStore
from mindvis.decoding.baseline import BaselineUnavailableError, TrainAndTest
from mindvis.metrics.nearest import SIDE, nearest, thumbnails

Bytes = NDArray[np.uint8]
BLOCK = 512  # pictures in memory at once


class TrainingPictures:
    """The pictures of a subject's training stimuli, read when they are asked for.

    Args:
        store: Where they are.
        data: The subject's responses, with the training stimuli.

    Raises:
        BaselineUnavailableError: The store has no pictures.
    """

    def __init__(self, store: VoxelStore, data: TrainAndTest) -> None:
        if store.stimuli is None:
            raise BaselineUnavailableError(f"{store.path} has no pictures")
        self.stimuli = store.stimuli
        self.data = data
        self.rows = store.stimuli.index(data.names)
        self._known: dict[int, NDArray[np.float32]] = {}

    def nearest_by_brain(self) -> Bytes:
        """The picture whose standardised response correlates most, (test stimuli, H, W, 3)."""
        train, test = self.data.train, self.data.test
        mean, spread = train.mean(0), train.std(0)
        spread = np.where(spread > 0, spread, 1.0)
        queries, candidates = (_unit_rows((part - mean) / spread) for part in (test, train))
        return self.stimuli.images(self.rows[nearest(queries, candidates)[0]])

    def nearest_by_picture(
        self, decoded: Bytes, side: int = SIDE
    ) -> tuple[Bytes, NDArray[np.float32]]:
        """The picture most like each decoded one, (stimuli, draws, H, W, 3), and how like.

        Args:
            decoded: uint8 (stimuli, draws, ., ., 3).
            side: Pixels of the thumbnails that are compared.
        """
        flat = decoded.reshape(-1, *decoded.shape[2:])
        places, likeness = nearest(thumbnails(flat, side=side), self._thumbnails(side))
        found = self.stimuli.images(self.rows[places])
        shape = decoded.shape[:2]
        return found.reshape(*shape, *found.shape[1:]), likeness.reshape(shape)

    def likeness(self, truths: Bytes, side: int = SIDE) -> NDArray[np.float32]:
        """How like each true picture the most similar of them is, (stimuli,)."""
        return nearest(thumbnails(truths, side=side), self._thumbnails(side))[1]

    def _thumbnails(self, side: int) -> NDArray[np.float32]:
        """(training stimuli, 3 side^2), as `mindvis.metrics.nearest` compares them."""
        if side not in self._known:
            starts = range(0, len(self.rows), BLOCK)
            blocks = (self.stimuli.images(self.rows[start : start + BLOCK]) for start in starts)
            self._known[side] = np.concatenate([thumbnails(block, side=side) for block in blocks])
        return self._known[side]


def _unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows about their mean, of unit length: their products are correlations."""
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.where(length > 0, length, 1.0)).astype(np.float32)
