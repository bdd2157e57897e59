"""NIfTI images in all number types and headers, with the values that they hold."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AFFINE = np.array([[2.0, 0, 0, -11], [0, 2.5, 0, -13], [0, 0, 3.0, -17], [0, 0, 0, 1]])
#: type and slope of each kind; a slope of 0 is none
_TYPES = {
    "int16": (np.int16, 0.0),
    "scaled int16": (np.int16, 0.0625),
    "scaled uint8": (np.uint8, 16.0),
    "uint16": (np.uint16, 0.0),
    "int32": (np.int32, 0.0),
    "float32": (np.float32, 0.0),
    "float64": (np.float64, 0.0),
}


def write_series(
    path: Path, values: Floats, kind: str, file: str, header: tuple[float, str | None]
) -> Floats:
    """Write a 4-D image; the values that it holds, which its number type rounds.

    Args:
        path: Without the suffix .gz.
        values: (X, Y, Z, time), between 500 and 3,500.
        kind: Number type, of `recipe.KINDS["image"]`.
        file: Version and byte order, of `recipe.KINDS["file"]`.
        header: Repetition time of the header, and its unit.
    """
    dtype, slope = _TYPES[kind]
    whole = np.issubdtype(dtype, np.integer)
    stored = (values - (300.0 if slope else 0.0)) / (slope or 1.0)
    stored = (np.rint(stored) if whole else stored).astype(dtype)
    held = stored.astype(np.float64) * (slope or 1.0) + (300.0 if slope else 0.0)
    image = _image(stored, file)
    if slope:
        image.header.set_slope_inter(slope, 300.0)
    if header[1] is not None:
        image.header.set_xyzt_units("mm", header[1])
    image.header["pixdim"][4] = header[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path.with_name(f"{path.name}.gz") if file == "NIfTI-1 gz" else path)
    return held


def _image(stored: NDArray[Any], file: str) -> Any:
    if file == "NIfTI-2":
        return nib.Nifti2Image(stored, AFFINE, dtype=stored.dtype)
    header = nib.Nifti1Header(endianness=">") if file == "big-endian" else None
    return nib.Nifti1Image(stored, AFFINE, header=header, dtype=stored.dtype)


def write_mask(path: Path, mask: NDArray[np.bool_], scaled: bool = False) -> None:
    """A mask as bytes, or with a slope that makes its ones 1."""
    image = nib.Nifti1Image(mask.astype(np.uint8) * (200 if scaled else 1), AFFINE)
    if scaled:
        image.header.set_slope_inter(1 / 200, 0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
