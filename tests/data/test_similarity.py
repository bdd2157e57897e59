"""Perceptual hashes find copies and nothing else."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mindvis.data.similarity import difference_hash, near_duplicates, signatures


def natural(rng, count, height=48, width=60):
    """Smooth random pictures: blurred noise, with the slow spectrum of photographs."""
    coarse = rng.integers(0, 256, (count, 6, 7, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(c).resize((width, height), Image.BICUBIC)) for c in coarse]
    )


def recompressed(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(picture):
    image = Image.fromarray(picture)
    return np.asarray(image.resize((30, 24), Image.BICUBIC).resize(image.size, Image.BICUBIC))


def brightened(picture):
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(1.03))


def test_by_hand():
    """Brightness rises at one place of the grid alone: one bit in each of the eight rows."""
    picture = np.zeros((16, 18, 3), np.uint8)
    picture[:, 6:] = 200  # cells of 2 x 2 pixels: the rise is from cell 2 to cell 3
    assert int(difference_hash(picture)) == int("00100000" * 8, 2)


def test_plain_pictures_with_noise_have_no_bits(rng):
    noisy = (120 + rng.integers(-1, 2, (40, 45, 3))).astype(np.uint8)
    assert difference_hash(noisy) == 0


@pytest.mark.parametrize("change", [lambda p: p, recompressed, resized, brightened])
def test_copies_are_found_and_only_they(rng, change):
    train = natural(rng, 300)
    test = natural(rng, 20)
    for row, copied in ((3, 250), (11, 7)):
        test[row] = change(train[copied])
    pairs = near_duplicates(signatures(train, range(300)), signatures(test, range(20)))
    assert pairs.tolist() == [[7, 11], [250, 3]]


def test_pictures_that_differ_in_colour_alone_are_not_copies():
    shapes = np.zeros((2, 32, 32, 3), np.uint8)
    shapes[0, 8:24, 8:24] = (200, 0, 0)
    shapes[1, 8:24, 8:24] = (0, 90, 90)  # about as bright
    both = signatures(shapes, [0, 1])
    assert near_duplicates(both, both).tolist() == [[0, 0], [1, 1]]


def test_no_pictures(rng):
    some, none = signatures(natural(rng, 3), range(3)), signatures(natural(rng, 3), [])
    assert near_duplicates(some, none).shape == (0, 2)
