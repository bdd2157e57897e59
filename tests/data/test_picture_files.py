"""The reader of picture files, against pixels that were planted in every mode and format."""

import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mindvis.data.picture_files import PictureReader, colour_of, picture_size, read_picture
from mindvis.data.pixels import PictureError
from mindvis.errors import ConfigError, DataError, SourceError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (5, 7)).astype(np.uint8)
GREY[0, :2] = 0, 255
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
THREE = np.repeat(GREY[..., None], 3, axis=2)


def saved(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "ppm", "jp2"])
def test_eight_bits_are_bytes_as_they_are(tmp_path, suffix):
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", RGB, **lossless)
    np.testing.assert_array_equal(read_picture(path), RGB)
    assert picture_size(path) == (7, 5)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("scale", ["words", "unit", "bytes"])
def test_deep_grey_is_scaled(tmp_path, suffix, scale):
    if suffix == "png" and scale != "words":
        pytest.skip("PNG has no floats")
    pixels = {
        "words": GREY.astype(np.uint16) * 257,
        "unit": (GREY / 255).astype(np.float32),
        "bytes": GREY.astype(np.float32),
    }[scale]
    np.testing.assert_array_equal(read_picture(saved(tmp_path / f"a.{suffix}", pixels)), THREE)


def png16(path, pixels, colour):
    """A 16-bit PNG with 2 (grey and alpha, colour 4), 3 (RGB, 2) or 4 (RGBA, 6) channels."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width = pixels.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_deep_colours(tmp_path):
    deep = RGB.astype(np.uint16) * 257
    opaque = np.full((5, 7, 1), 65535, np.uint16)
    np.testing.assert_array_equal(read_picture(png16(tmp_path / "a.png", deep, 2)), RGB)
    rgba = np.concatenate([deep, opaque], axis=2)
    np.testing.assert_array_equal(read_picture(png16(tmp_path / "b.png", rgba, 6)), RGB)
    grey = np.concatenate([THREE[..., :1].astype(np.uint16) * 257, opaque], axis=2)
    np.testing.assert_array_equal(read_picture(png16(tmp_path / "c.png", grey, 4)), THREE)
    with pytest.raises(PictureError, match=r"d.png has 16 bits and no value above 4095; save it"):
        read_picture(png16(tmp_path / "d.png", RGB.astype(np.uint16), 2))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (GREY.astype(np.uint16), "has 16 bits and no value above 255; expected values up to 65535"),
        (GREY.astype(np.int32), "holds 32-bit or signed values; expected 8 or 16 bits"),
        (GREY.astype(np.float32) - 128, "has values from -128; expected 0 and above"),
        (GREY.astype(np.float32) / 100, "is float32 with values from 0 to 2.55; expected values"),
        (np.where(GREY > 9, np.nan, 1).astype(np.float32), "values that are NaN or infinite"),
    ],
)
def test_deep_grey_of_no_certain_range_is_refused(tmp_path, pixels, said):
    with pytest.raises(PictureError, match=f"a.tif.* {said}.*; save it with 8 bits a channel"):
        read_picture(saved(tmp_path / "a.tif", pixels))


def test_one_bit_palette_cmyk(tmp_path):
    bits = GREY > 127
    np.testing.assert_array_equal(read_picture(saved(tmp_path / "a.png", bits))[..., 0], bits * 255)
    few = np.stack([GREY // 64 * 64] * 3, axis=2)
    path = tmp_path / "b.gif"
    Image.fromarray(few).quantize(16).save(path)
    np.testing.assert_array_equal(read_picture(path), few)
    ink = Image.fromarray(RGB).convert("CMYK")
    ink.save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "c.tif"), np.asarray(ink.convert("RGB")))


SILHOUETTE = np.zeros((5, 7, 4), np.uint8)
SILHOUETTE[1:3, 2:5, 3] = 255


def silhouettes(folder):
    """A black shape on a transparent ground, in four modes."""
    shape = SILHOUETTE[..., 3] > 0
    saved(folder / "rgba.png", SILHOUETTE)
    Image.fromarray(SILHOUETTE).save(folder / "rgba.webp", lossless=True)
    Image.fromarray(SILHOUETTE).convert("LA").save(folder / "la.png")
    palette = Image.fromarray(shape.astype(np.uint8))
    palette.putpalette([0, 0, 0] * 256)
    palette.save(folder / "palette.png", transparency=0)
    key = Image.fromarray(np.where(shape, 0, 9).astype(np.uint8))
    key.save(folder / "key.png", transparency=9)
    return shape, sorted(folder.iterdir())


def test_transparency_is_seen_on_the_background(tmp_path):
    shape, paths = silhouettes(tmp_path)
    said = []
    reader = PictureReader(colour_of("#8000ff"), "--background", said.append)
    assert len(paths) == 5
    for path in paths:
        seen = reader.read(path)
        assert (seen[shape] == 0).all()
        assert (seen[~shape] == (128, 0, 255)).all()
        assert (read_picture(path)[~shape] == 255).all()
    assert said == [
        "key.png is transparent in parts: on #8000ff (--background chooses another background); "
        "other pictures of this kind likewise"
    ]
    with pytest.raises(ConfigError, match="'blurple' is no colour; expected a name"):
        colour_of("blurple")


def test_half_transparent_and_wholly_transparent(tmp_path):
    half = np.full((2, 2, 4), (100, 0, 200, 51), np.uint8)
    seen = read_picture(saved(tmp_path / "a.png", half))
    assert seen[0, 0].tolist() == [224, 204, 244]  # a fifth of the colour, four of white
    half[..., 3] = 0
    with pytest.raises(PictureError, match=r"a.png is transparent everywhere"):
        read_picture(saved(tmp_path / "a.png", half))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(tmp_path, suffix, orientation):
    """EXIF's eight orientations, by the definition of where row 0 and column 0 are."""
    top_bottom, left_right, swapped = [
        (0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 1),
    ][orientation - 1]  # fmt: skip
    upright = np.repeat(np.repeat(np.array([[0, 80], [160, 240], [40, 200]], "u1"), 8, 0), 8, 1)
    stored = upright[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
    stored = stored.T if swapped else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    options = {"exif": exif} if suffix != "tif" else {"tiffinfo": {0x0112: orientation}}
    Image.fromarray(np.stack([stored] * 3, axis=2)).save(path, quality=100, **options)
    seen = read_picture(path)
    assert seen.shape == (24, 16, 3)
    assert np.abs(seen[..., 0].astype(int) - upright).max() < 8
    assert picture_size(path) == (16, 24)


def test_colour_profiles(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = saved(tmp_path / "a.png", RGB, icc_profile=srgb)
    np.testing.assert_array_equal(read_picture(same), RGB)
    said = []
    wide = "sRGB".encode("utf-16-be"), "wRGB".encode("utf-16-be")
    exchanged = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1)
    other = exchanged.replace(b"????", b"bXYZ", 1).replace(*wide)  # its red is sRGB's blue
    turned = saved(tmp_path / "c.png", RGB, icc_profile=other)
    seen = PictureReader(tell=said.append).read(turned)
    assert np.abs(seen.astype(int) - RGB[..., ::-1]).max() < 4
    assert said.pop().startswith("c.png has the colour profile 'wRGB built-in': converted to sRGB")
    broken = saved(tmp_path / "b.png", RGB, icc_profile=b"no profile")
    np.testing.assert_array_equal(PictureReader(tell=said.append).read(broken), RGB)
    assert said == [
        "b.png has an unusable colour profile: ignored; other pictures of this kind likewise"
    ]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_animations_and_pages_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [Image.fromarray(np.roll(RGB, step, axis=0)) for step in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match=rf"a.{suffix} has 3 frames or pages; expected one"):
        read_picture(path)


def test_postscript_is_no_picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, format="EPS")
    with pytest.raises(SourceError, match=r"a.png is not a readable picture \(cannot identify"):
        read_picture(path)


def test_bombs_damage_and_absence(tmp_path, recwarn):
    path = tmp_path / "a.png"
    Image.new("1", (8192, 8193)).save(path)
    with pytest.raises(DataError, match="has 8192 x 8193 pixels; expected at most 67,108,864"):
        read_picture(path)
    saved(path, RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"a.png is not a readable picture \(.*truncated.*replace"):
        read_picture(path)
    with pytest.raises(DataError, match=r"there is no picture .*gone.png"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(DataError, match="is no file; expected a picture file"):
        picture_size(tmp_path)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    with pytest.raises(DataError, match=r"xff.png is not UTF-8; expected a name in UTF-8; rename"):
        read_picture(odd)
    assert not recwarn.list


MODES = {
    "L": lambda p: p[..., 0],
    "RGB": lambda p: p,
    "words": lambda p: p[..., 0].astype(np.uint16) * 257,
    "unit": lambda p: (p[..., 0] / 255).astype(np.float32),
    "RGBA": lambda p: np.concatenate([p, np.full((*p.shape[:2], 1), 255, np.uint8)], axis=2),
    "bits": lambda p: p[..., 0] > 127,
    "half": lambda p: p[..., 0].astype(np.float32) / 100,
    "dim": lambda p: p[..., 0].astype(np.uint16),
}


@given(
    mode=st.sampled_from(sorted(MODES)),
    suffix=st.sampled_from(["png", "tif", "bmp", "webp", "gif"]),
    seed=st.integers(0, 99),
)
def test_what_is_read_is_what_was_planted(tmp_path_factory, mode, suffix, seed):
    planted = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("a") / f"a.{suffix}"
    if MODES[mode](planted).dtype.itemsize > 1 and suffix not in {"png", "tif"}:
        return  # Pillow would clip when it writes
    try:
        Image.fromarray(MODES[mode](planted)).save(path, lossless=True)
    except OSError:
        return  # no such file exists
    try:
        found = read_picture(path)
    except PictureError:
        assert mode in {"half", "dim"}
        return
    truth = planted if mode.startswith("RGB") else np.repeat(planted[..., :1], 3, axis=2)
    truth = np.where(truth > 127, 255, 0) if mode == "bits" else truth
    if suffix != "gif" or mode not in {"RGB", "RGBA"}:  # GIF has 256 colours
        np.testing.assert_array_equal(found, truth)
