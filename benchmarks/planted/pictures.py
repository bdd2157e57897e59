"""Pictures in the formats that people have, with the pixels that they show."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 12, 10

#: the suffix of each format, and how much its pixels may differ (a mean, of 255)
FORMATS = {
    "PNG": (".png", 0.0),
    "grey PNG": (".png", 0.0),
    "16-bit PNG": (".png", 1.0),
    "16-bit TIFF": (".tif", 1.0),
    "float TIFF": (".tiff", 1.0),
    "palette PNG": (".png", 0.0),
    "opaque alpha PNG": (".png", 0.0),
    "transparent PNG": (".png", 1.0),
    "transparent palette PNG": (".png", 1.0),
    "black and white PNG": (".png", 0.0),
    "CMYK TIFF": (".tif", 1.0),
    "JPEG": (".jpg", 6.0),
    "turned JPEG": (".JPG", 6.0),
    "BMP": (".bmp", 0.0),
    "GIF": (".gif", 0.0),
    "WebP": (".webp", 0.0),
}
#: Pillow's operation that stores an upright picture for each EXIF orientation
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def write_picture(path: Path, form: str, rng: np.random.Generator) -> Pixels:
    """Write a picture of the form; its pixels as they are seen, (H, W, 3), on white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form in {"JPEG", "turned JPEG"}:
        return _write_jpeg(path, form, rng)
    colours = rng.integers(0, 256, (6, 3), dtype=np.uint8)
    codes = rng.integers(0, 6, (HEIGHT, WIDTH))
    rgb = colours[codes]
    grey = np.repeat(rgb[..., :1], 3, axis=-1)
    if form == "grey PNG":
        Image.fromarray(grey[..., 0]).save(path)
        return grey
    if form in {"16-bit PNG", "16-bit TIFF"}:
        Image.fromarray(grey[..., 0].astype(np.uint16) * 257).save(path)
        return grey
    if form == "float TIFF":
        Image.fromarray(grey[..., 0].astype(np.float32)).save(path)
        return grey
    if form == "black and white PNG":
        black = Image.fromarray(np.where(grey[..., 0] > 127, 255, 0).astype(np.uint8))
        black.convert("1", dither=Image.Dither.NONE).save(path)
        return np.where(grey > 127, 255, 0).astype(np.uint8)
    if form == "CMYK TIFF":
        ink = np.concatenate([255 - rgb, np.zeros_like(rgb[..., :1])], axis=-1)
        Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes()).save(path)
        return rgb
    if "palette" in form or form == "GIF":
        return _write_palette(path, form, colours, codes)
    if "alpha" in form or form == "transparent PNG":
        opaque = np.full(codes.shape, 255) if "opaque" in form else np.where(codes > 2, 255, 0)
        rgba = np.concatenate([rgb, opaque[..., None].astype(np.uint8)], axis=-1)
        Image.fromarray(rgba).save(path)
        return np.where(opaque[..., None] == 255, rgb, 255).astype(np.uint8)
    Image.fromarray(rgb).save(path, **({"lossless": True} if form == "WebP" else {}))
    return rgb


def _write_palette(path: Path, form: str, colours: Pixels, codes: NDArray[np.int64]) -> Pixels:
    picture = Image.frombytes("P", (WIDTH, HEIGHT), codes.astype(np.uint8).tobytes())
    picture.putpalette(colours.tobytes())
    if form == "transparent palette PNG":
        picture.save(path, transparency=0)
        return np.where(codes[..., None] == 0, 255, colours[codes]).astype(np.uint8)
    picture.save(path)
    return colours[codes]


def _write_jpeg(path: Path, form: str, rng: np.random.Generator) -> Pixels:
    """A smooth picture, which JPEG hardly changes, upright or with an EXIF orientation."""
    corners = Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8))
    upright = corners.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    orientation = int(rng.integers(2, 9)) if form == "turned JPEG" else 1
    operation = _STORED[orientation]
    stored = upright if operation is None else upright.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, "JPEG", quality=98, subsampling=0, exif=exif)
    return np.asarray(upright)
