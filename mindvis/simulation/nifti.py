"""NIfTI-1 files whose bytes are a pure function of their content: no date in the gzip header."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mindvis.files import atomic_path

COMPRESSION = 1  # of 9; noise compresses no better at the slower levels
HEADER_SIZE = 352  # bytes up to the data: the header and four bytes that say "no extension"


def write_nifti(
    path: Path,
    image: npt.NDArray[np.integer[Any]],
    affine: npt.NDArray[np.floating[Any]],
    *,
    repetition_time: float | None = None,
    step: float = 1.0,
) -> None:
    """Write a compressed image atomically.

    Args:
        path: File name that ends in ".nii.gz".
        image: Integers (z, y, x) or (time, z, y, x), the order of the file.
        affine: Voxel indices (x, y, z) to millimetres (4, 4).
        repetition_time: Seconds between volumes, for images with time.
        step: What one integer stands for.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(image.dtype)
    header.set_data_shape(image.shape[::-1])
    zooms = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    header.set_zooms(zooms if repetition_time is None else [*zooms, repetition_time])
    header.set_xyzt_units("mm", None if repetition_time is None else "sec")
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header["scl_slope"], header["scl_inter"] = step, 0
    header["magic"], header["vox_offset"] = b"n+1", HEADER_SIZE
    with (
        atomic_path(path) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file,
    ):
        file.write(header.binaryblock.ljust(HEADER_SIZE, b"\0"))
        file.write(np.ascontiguousarray(image).data)
