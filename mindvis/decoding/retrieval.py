"""Controls that paint nothing: training pictures, found by the response or by what was decoded."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mindvis.data.reader import VoxelStore
from mindvis.decoding.baseline import BaselineUnavailableError, TrainAndTest
from mindvis.metrics.nearest import nearest, thumbnails

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

    @cached_property
    def thumbnails(self) -> NDArray[np.float32]:
        """(training stimuli, 3072), as `mindvis.metrics.nearest` compares them."""
        starts = range(0, len(self.rows), BLOCK)
        blocks = (self.stimuli.images(self.rows[start : start + BLOCK]) for start in starts)
        return np.concatenate([thumbnails(block) for block in blocks])

    def nearest_by_brain(self) -> Bytes:
        """The picture whose standardised response correlates most, (test stimuli, H, W, 3)."""
        train, test = self.data.train, self.data.test
        mean, spread = train.mean(0), train.std(0)
        spread = np.where(spread > 0, spread, 1.0)
        queries, candidates = (_unit_rows((part - mean) / spread) for part in (test, train))
        return self.stimuli.images(self.rows[nearest(queries, candidates)[0]])

    def nearest_by_picture(self, decoded: Bytes) -> tuple[Bytes, NDArray[np.float32]]:
        """The picture most like each decoded one, (stimuli, draws, H, W, 3), and how like."""
        flat = decoded.reshape(-1, *decoded.shape[2:])
        places, likeness = nearest(thumbnails(flat), self.thumbnails)
        found = self.stimuli.images(self.rows[places])
        shape = decoded.shape[:2]
        return found.reshape(*shape, *found.shape[1:]), likeness.reshape(shape)

    def likeness(self, truths: Bytes) -> NDArray[np.float32]:
        """How like each true picture the most similar of them is, (stimuli,)."""
        return nearest(thumbnails(truths), self.thumbnails)[1]


def _unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows about their mean, of unit length: their products are correlations."""
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.where(length > 0, length, 1.0)).astype(np.float32)
