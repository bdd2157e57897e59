"""The one reader of picture files, and the one rule that makes pictures square."""

import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from mindvis.console import say
from mindvis.data.pixels import OVERSHOOT, PictureError, find_range, on_background, to_levels
from mindvis.errors import ConfigError

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
WHITE: Final[Colour] = (255, 255, 255)
#: PostScript, which would start another program, is none of them
_READ = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF")
_MOST_PIXELS: Final = 1 << 26
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262
_EIGHT: Final = "save it with 8 bits a channel"
#: what Pillow has been seen to raise of damaged files
_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, SyntaxError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass
class PictureReader:
    """Reads picture files as RGB, and says once what it had to decide of each kind.

    Args:
        background: Colour seen behind transparent pixels.
        option: What a message tells the user to pass for another background.
        tell: Takes each sentence; by default it is printed.
    """

    background: Colour = WHITE
    option: str = ""
    tell: Callable[[str], None] = say
    _said: set[str] = field(default_factory=set, repr=False)

    def read(self, path: str | os.PathLike[str]) -> Picture:
        """The pixels of a file as it is seen upright, uint8 (height, width, 3).

        16-bit and float grey is scaled to 8 bits, a colour profile is applied, and transparent
        pixels show the background.

        Raises:
            PictureError: The file is absent, damaged or animated, or has no single reading.
        """
        file = Path(path)
        loaded = _load(file)
        grey = _deep(loaded, file)
        if grey is not None:
            return np.repeat(grey[..., None], 3, axis=2)
        return self._rgb(self._in_srgb(loaded.image, file), file)

    def _rgb(self, image: Image.Image, path: Path) -> Picture:
        """Eight-bit pixels as RGB, on the background."""
        if not image.has_transparency_data:
            return np.asarray(image.convert("RGB"))
        rgba = np.asarray(image.convert("RGBA"))
        if (rgba[..., 3] == 255).all():
            return np.ascontiguousarray(rgba[..., :3])
        if not rgba[..., 3].any():
            raise PictureError(f"{path} is transparent everywhere", "a picture")
        self._say(f"{path.name} is transparent in parts: on {self._colour()}", "transparent")
        return on_background(rgba, self.background)

    def _colour(self) -> str:
        name = (
            "white" if self.background == WHITE else "#{:02x}{:02x}{:02x}".format(*self.background)
        )
        return f"{name} ({self.option} chooses another background)" if self.option else name

    def _in_srgb(self, image: Image.Image, path: Path) -> Image.Image:
        """The picture with its colour profile applied, where that is another than sRGB."""
        profile = image.info.get("icc_profile")
        if not profile or image.mode not in {"RGB", "RGBA", "CMYK"}:
            return image
        from PIL import ImageCms  # slow to import, and most pictures have no profile

        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            name = ImageCms.getProfileDescription(source).strip()
            if "srgb" in name.lower():
                return image
            target = ImageCms.createProfile("sRGB")
            mode = "RGB" if image.mode == "CMYK" else image.mode
            seen = ImageCms.profileToProfile(image, source, target, outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            self._say(f"{path.name} has an unusable colour profile: ignored", "profile")
            return image
        self._say(f"{path.name} has the colour profile {name!r}: converted to sRGB", "colours")
        return seen or image

    def _say(self, text: str, kind: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self.tell(f"{text}; other pictures of this kind likewise")


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """The pixels of one file, as `PictureReader` reads them, without a word about decisions."""
    return PictureReader(tell=lambda _: None).read(path)


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels of a picture that stands upright, from the file's header.

    Raises:
        PictureError: The file is absent, damaged or animated.
    """
    with _opened(Path(path)) as image:
        width, height = image.size
        # Pillow turns a TIFF while it is opened
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in range(5, 9)
    return (height, width) if turned else (width, height)


def square(picture: Picture, size: int) -> Picture:
    """The centred square of a picture, resized (bicubic, antialiased) to `size` pixels a side."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(picture[top : top + side, left : left + side], size)


def resize(picture: Picture, size: int) -> Picture:
    """Resize (bicubic, antialiased) to `size` pixels a side; the same array where it fits."""
    if picture.shape[:2] == (size, size):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def colour_of(text: str) -> Colour:
    """The colour that a name such as white or grey, or #rrggbb, means.

    Raises:
        ConfigError: It is no colour.
    """
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise ConfigError(
            f"{text!r} is no colour", "a name such as white, or #rrggbb such as #808080"
        ) from None


def refuse_odd_name(path: Path) -> None:
    """Refuse a file whose name is not UTF-8: no table and no store can hold it.

    Raises:
        PictureError: It is not.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise PictureError(
            f"the name of the file {shown} is not UTF-8", "a name in UTF-8", "rename it"
        ) from None


@dataclass(frozen=True)
class _Loaded:
    """A picture in memory, upright, with its format and the tags of a TIFF.

    Args:
        image: The picture.
        format: Pillow's name of it.
        tags: Bits and scale of a TIFF.
        halved: Whether Pillow kept the high byte alone of each 16-bit value.
    """

    image: Image.Image
    format: str
    tags: dict[int, Any]
    halved: bool


def _load(path: Path) -> _Loaded:
    with _opened(path) as image:
        tags = {key: getattr(image, "tag_v2", {}).get(key) for key in (_BITS, _PHOTOMETRIC)}
        halved = ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith("I")
        image.load()
        return _Loaded(ImageOps.exif_transpose(image), image.format or "", tags, halved)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture of a known format, one frame, and a size that memory can hold.

    Raises:
        PictureError: It is none, or the block meets damage.
    """
    refuse_odd_name(path)
    if not path.is_file():
        found = f"{path} is no file" if path.exists() else f"there is no picture {path}"
        raise PictureError(found, "a picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is checked here
            with Image.open(path, formats=[name for name in _READ if _known(name)]) as image:
                _refuse_large(image, path)
                _refuse_frames(image, path)
                yield image
    except UnidentifiedImageError:
        raise PictureError(
            f"{path} is not a readable picture (cannot identify image file: none of "
            f"{', '.join(_READ)} with 1, 8 or 16 bits a channel)",
            remedy="replace it",
        ) from None
    except _DAMAGE as error:
        said = str(error) or type(error).__name__
        raise PictureError(
            f"{path} is not a readable picture ({said})", remedy="replace it"
        ) from None


def _known(name: str) -> bool:
    """Whether this Pillow reads a format; older ones lack AVIF."""
    Image.init()
    return name in Image.OPEN


def _refuse_large(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise PictureError(
            f"{path} has {width} x {height} pixels", f"at most {_MOST_PIXELS:,}", "make it smaller"
        )


def _refuse_frames(image: Image.Image, path: Path) -> None:
    """Refuse animations and several pages; MPO, a camera's JPEG, has its picture first."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise PictureError(
            f"{path} has {frames} frames or pages", "one picture a file", "save the one shown"
        )


def _deep(loaded: _Loaded, path: Path) -> Picture | None:
    """Grey of more than 8 bits as (height, width) levels; None for pictures of 8 bits.

    Raises:
        PictureError: If the range of its values is not certain.
    """
    image, inverted = loaded.image, loaded.tags.get(_PHOTOMETRIC) == 0
    if not image.mode.startswith(("I", "F")):
        _refuse_deep_key(image, path)
        if loaded.halved and np.asarray(image.convert("RGB")).max() < 16:
            raise PictureError(f"{path} has 16 bits and no value above 4095", remedy=_EIGHT)
        return None
    if "transparency" in image.info or (image.mode == "F" and inverted):
        raise PictureError(f"{path} has an inverted or partly transparent scale", remedy=_EIGHT)
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "F":
        return _of_floats(values, path)
    if image.mode == "I" and loaded.format not in {"PNG", "PPM"}:
        raise PictureError(f"{path} holds 32-bit or signed values", "8 or 16 bits", _EIGHT)
    levels = _of_words(values, int(np.ravel(loaded.tags.get(_BITS) or 16)[0]), path)
    return 255 - levels if inverted else levels


def _of_floats(values: NDArray[Any], path: Path) -> Picture:
    if values.min() < -OVERSHOOT:  # one picture of a set from -1 to 1 may have no dark pixel
        raise PictureError(f"{path} has values from {values.min():g}", "0 and above", _EIGHT)
    low, high, _ = find_range(values, str(path), _EIGHT)
    return to_levels(values, low, high)


def _of_words(values: NDArray[Any], bits: int, path: Path) -> Picture:
    """16-bit grey; a TIFF may say that it has 12."""
    most = (1 << bits) - 1
    if 0 < values.max() < (most + 1) // 16:
        raise PictureError(
            f"{path} has {bits} bits and no value above {values.max()}",
            f"values up to {most}, which is white",
            _EIGHT,
        )
    return to_levels(values.astype(np.uint16), 0, most)


def _refuse_deep_key(image: Image.Image, path: Path) -> None:
    """Refuse one transparent colour of 16 bits: Pillow compares it with 8 bits."""
    key = image.info.get("transparency")
    numbers = key if isinstance(key, tuple) else (key,)
    if any(isinstance(number, int) and number > 255 for number in numbers):
        raise PictureError(f"{path} has a transparent colour of 16 bits", remedy=_EIGHT)
