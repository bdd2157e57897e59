"""The one opener of NIfTI images: version 1 or 2, one file or a pair, compressed or not."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
from nibabel.imageglobals import logger

from mindvis.errors import SourceError
from preprocessing.damage import readable

NIFTI = "a whole NIfTI image"
_GZIP, _PIECE = b"\x1f\x8b", 1 << 20
#: bytes of the header, which its first four bytes say, by version
_CLASSES = {348: nib.Nifti1Image, 540: nib.Nifti2Image}


def open_image(path: Path) -> Any:
    """An image of real numbers, its data still on disk.

    Raises:
        SourceError: If it is missing, damaged, or of complex or coloured values.
    """
    with readable(path, NIFTI), _quiet():
        image = nib.load(path) if _named_as_it_is(path) else _from_stream(_stream(path))
    return _of_numbers(image, path)


@contextmanager
def open_volumes(path: Path) -> Iterator[Any]:
    """The scaled values of a series, read slice by slice, and the file, gone through to its end.

    Raises:
        SourceError: If it is missing, damaged, or of complex or coloured values.
    """
    image = open_image(path)
    if path.name.lower().endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
        with readable(path, NIFTI):
            yield image.dataobj
        return
    with readable(path, NIFTI), _stream(path) as file:
        with _quiet():
            image = _from_stream(file)
        yield image.dataobj
        while file.read(_PIECE):  # gzip compares its checksum only when the end is reached
            pass


def _from_stream(file: IO[bytes]) -> Any:
    """A single-file image whose version its first bytes say."""
    first = file.read(4)
    file.seek(0)
    sizes = {int.from_bytes(first, "little"), int.from_bytes(first, "big")}
    kind = next((kind for size, kind in _CLASSES.items() if size in sizes), nib.Nifti1Image)
    holder = nib.FileHolder(fileobj=file)
    return kind.from_file_map({"header": holder, "image": holder})


def _stream(path: Path) -> Any:
    """The bytes of a file, unpacked where they are compressed, whatever its name says."""
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _named_as_it_is(path: Path) -> bool:
    """Whether nibabel, which goes by the name, opens a file in the right way."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        return True
    return name.endswith(".gz") == _is_packed(path)


def _of_numbers(image: Any, path: Path) -> Any:
    kind = image.get_data_dtype()
    if kind.kind not in "iufb":
        what = "complex" if kind.kind == "c" else "coloured"
        raise SourceError(
            f"{path} has {what} values ({kind})",
            "one real number a voxel",
            "write its magnitude" if what == "complex" else "choose another image",
        )
    return image


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence nibabel's log: an error is raised as well, and what it mends needs no word."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
