"""What files that are broken make their readers raise, and the one sentence that it becomes."""

import struct
import tarfile
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile

from nibabel.cifti2 import Cifti2HeaderError
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from PIL.Image import DecompressionBombError
from scipy.io.matlab import MatReadError

from mindvis.errors import SourceError

#: all that h5py, nibabel, numpy, pandas, Pillow, SciPy and the standard library have been seen to
#: raise of files of random damage; mistakes of ours among them would be sentences too, which is
#: why tests compare values
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    BadZipFile,
    tarfile.TarError,
    ExpatError,
    DecompressionBombError,
    MatReadError,
    Cifti2HeaderError,
    HeaderDataError,
    HeaderTypeError,
    ImageFileError,
    WrapStructError,
)


@contextmanager
def readable(
    path: Path, what: str, remedy: str = "fetch or write this file again"
) -> Iterator[None]:
    """Turn every way in which a file can be broken into one sentence that names it.

    Args:
        path: The file that the block reads.
        what: What it should be, such as "a NIfTI image".
        remedy: What to do about it.

    Raises:
        SourceError: If the block meets a missing, truncated or malformed file.
    """
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist", what) from None
    except BROKEN as error:
        raise SourceError(
            f"{path} is truncated or damaged ({reason(error)})", what, remedy
        ) from None


def reason(error: BaseException) -> str:
    """What an exception says, or its name where it says nothing."""
    return str(error) or type(error).__name__
