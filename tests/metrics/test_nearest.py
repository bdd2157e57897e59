"""The most similar picture of a set, whatever the sizes."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LinearRegression

from mindvis.metrics.nearest import BLURS, near_duplicates, nearest, thumbnails, told_beyond


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


def test_what_is_told_beyond_is_a_partial_correlation(pictures):
    """Against the residuals of two regressions, by scikit-learn."""
    decoded, truths, known = pictures[:2], pictures[2:4], pictures[4:]
    found = told_beyond(decoded, [known], truths)
    for one, true, given, value in zip(decoded, truths, known, found, strict=True):
        blurs = [gaussian_filter(given.astype(float), (40 * b, 40 * b, 0)) for b in (0, *BLURS)]
        x = np.stack([blur.ravel() for blur in blurs], axis=1)
        left, right = (y.ravel() - LinearRegression().fit(x, y.ravel()).predict(x)
                       for y in (one.astype(float), true.astype(float)))  # fmt: skip
        assert value == pytest.approx(np.corrcoef(left, right)[0, 1], abs=1e-9)


def test_a_copy_tells_nothing_beyond_its_original_and_the_truth_does(pictures, rng):
    truths, known = pictures[:3], pictures[3:]
    blurred = gaussian_filter(known, (0, 40 * BLURS[2], 40 * BLURS[2], 0))
    noise = rng.integers(0, 256, known.shape)
    for copy in (known, blurred, (0.5 * known + 0.5 * noise).astype(np.uint8)):
        assert np.abs(told_beyond(copy, [known], truths)).max() < 0.06
    seen = (0.3 * truths + 0.7 * noise).astype(np.uint8)
    assert told_beyond(seen, [known, pictures[1:4]], truths).min() > 0.1
