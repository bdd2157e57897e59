"""Pictures: uint8 (height, width, 3) in files, float (3, height, width) in networks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from mindvis.data.picture_files import Picture, refuse_odd_name, resize, square
from mindvis.data.pixels import find_range, to_levels
from mindvis.errors import DataError

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def to_float(pictures: npt.ArrayLike) -> torch.Tensor:
    """Turn uint8 (..., height, width, 3) into float32 (..., 3, height, width) in [-1, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, -3)
    return values.to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1


def to_uint8(pictures: torch.Tensor) -> Picture:
    """Turn float (..., 3, height, width) in [-1, 1] into uint8 (..., height, width, 3).

    Values outside are clipped; the inverse of `to_float`.
    """
    levels = (pictures.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).movedim(-3, -1).contiguous().numpy()


def augment(picture: Picture, rng: np.random.Generator, *, flip: bool, crop: float) -> Picture:
    """Mirror with probability one half, and cut a random square out and resize it.

    Args:
        picture: Square.
        rng: Two or four draws are taken.
        flip: Whether to mirror at all; positions of left and right are then lost.
        crop: Largest part of the side to cut off, in [0, 1); MinD-Vis cuts .2 of half the pictures.

    Returns:
        A picture of the same size.
    """
    size = len(picture)
    if flip and rng.random() < 0.5:
        picture = picture[:, ::-1]
    if crop and rng.random() < 0.5:
        side = size - round(size * crop)
        top, left = rng.integers(0, size - side + 1, 2)
        picture = resize(picture[top : top + side, left : left + side], size)
    return picture


@dataclass(frozen=True)
class PictureFiles:
    """Picture files with the name of the class of each."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]


def list_pictures(folder: str | os.PathLike[str]) -> PictureFiles:
    """Pictures of a folder, sorted: one folder for each class, or all in one.

    Args:
        folder: `<class>/<name>.png`, or `<name>.png` alone, which makes a single class "picture".

    Raises:
        DataError: The folder is absent or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", "a folder of pictures")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if len(path.relative_to(root).parts) <= 2]
    if not paths:
        raise DataError(
            f"{root} holds no pictures", f"<class>/<name> with a suffix of {', '.join(SUFFIXES)}"
        )
    for path in paths:
        refuse_odd_name(path)
    labels = [path.parent.name if path.parent != root else "picture" for path in paths]
    return PictureFiles(tuple(paths), tuple(labels))


def read_arrays(path: str | os.PathLike[str]) -> tuple[Picture, tuple[str, ...]]:
    """Pictures and labels of an .npz file with the arrays `images` and `labels`.

    Args:
        path: `images` is uint8 (n, height, width) or (n, height, width, 3); `labels` is (n,), of
            numbers or text; without it all are of one class "picture".

    Raises:
        DataError: The file or its arrays do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
            labels = arrays["labels"] if "labels" in arrays else np.full(len(images), "picture")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error})", "an .npz file with `images`") from error
    if images.ndim == 3:
        images = np.broadcast_to(images[..., None], (*images.shape, 3))
    if images.dtype != np.uint8 or images.shape[3:] != (3,) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path} holds {images.dtype} images {images.shape} and labels {labels.shape}",
            "uint8 (n, height, width[, 3]) and (n,)",
        )
    low, high, _ = find_range(images, f"images of {path}", "save them as uint8 from 0 to 255")
    return to_levels(images, low, high), tuple(str(label) for label in labels.tolist())


def stack_squares(pictures: Sequence[Picture] | Picture, size: int) -> Picture:
    """The centred squares of pictures as uint8 (n, size, size, 3)."""
    out = np.empty((len(pictures), size, size, 3), dtype=np.uint8)
    for row, picture in enumerate(pictures):
        out[row] = square(picture, size)
    return out
