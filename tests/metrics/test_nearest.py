"""The most similar picture of a set, whatever the sizes."""

import numpy as np
import pytest
from PIL import Image

from mindvis.metrics.nearest import near_duplicates, nearest, thumbnails


@pytest.fixture
def pictures(rng):
    """Smooth colour fields, which keep their likeness at any size."""
    small = rng.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize((48, 40), Image.Resampling.BICUBIC)) for p in small]
    )


def test_products_of_thumbnails_are_correlations(pictures):
    rows = thumbnails(pictures, block=4)
    small = [np.asarray(Image.fromarray(p).resize((32, 32), 3)).ravel() for p in pictures]
    np.testing.assert_allclose(rows @ rows.T, np.corrcoef(small), atol=1e-5)


def test_a_resized_and_slightly_changed_picture_is_a_duplicate(pictures, rng):
    changed = Image.fromarray(pictures[2]).resize((96, 80))
    changed = np.clip(np.asarray(changed) + rng.normal(0, 3, (80, 96, 3)), 0, 255).astype(np.uint8)
    queries = [changed, pictures[4][:, ::-1]]
    others = thumbnails(pictures)
    assert near_duplicates(queries, others).tolist() == [True, False]
    assert nearest(thumbnails(queries), others)[0][0] == 2
    assert not near_duplicates(queries, others[:0]).any()


def test_nearest_is_the_same_in_blocks(rng):
    queries, candidates = rng.normal(size=(2, 9, 5)).astype(np.float32)
    whole, parts = nearest(queries, candidates), nearest(queries, candidates, block=2)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[0], (queries @ candidates.T).argmax(1))


def test_a_picture_of_one_colour_is_like_nothing(pictures):
    grey = np.full((1, 9, 9, 3), 77, dtype=np.uint8)
    assert nearest(thumbnails(grey), thumbnails(pictures))[1][0] == 0
