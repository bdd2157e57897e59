"""MATLAB's files of version 5, gone through before SciPy reads them.

SciPy looks the type of each number up in a table of twenty by a code of the file that it has not
checked: a code of a damaged file ends the process (with scipy 1.17: 13 of 4,000 damaged files).
Here every element that it would read is visited, its code and its size compared, and nothing else.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HEADER = 128  # bytes of text, version and byte order
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})
_TEXTS = _NUMBERS | {16, 17, 18}
_CELL, _CHAR, _NUMERIC, _OPAQUE = 1, 4, range(6, 16), 17
_CLASSES = {
    2: "a struct", 3: "an object", 5: "a sparse matrix", 16: "a function",
    17: "an object such as string or table; save it as numbers, or as text with cellstr",
}  # fmt: skip
_BEGINNING = 4096  # bytes in which the name of a compressed variable is
_UNPACKED, _SMALL = 20, 1 << 28  # a variable may unpack to so many times its size and so many bytes
_NO_TEXT = 1 << 20  # letters of a text without bytes, which is all spaces


@dataclass
class _Elements:
    """Elements one after another: a type and a size, and content that is padded to eight bytes."""

    content: NDArray[np.uint8]
    order: str
    at: int = 0

    def words(self) -> tuple[int, int]:
        """The next two whole numbers."""
        if self.at + 8 > len(self.content):
            raise ValueError("it ends within an element")
        first, second = struct.unpack_from(f"{self.order}II", self.content.data, self.at)
        self.at += 8
        return first, second

    def tag(self) -> tuple[int, int, int]:
        """Type, first byte and size of the next element, which is gone over.

        Raises:
            ValueError: If its end lies beyond that of the file.
        """
        kind, size = self.words()
        start, padding = self.at, -size % 8
        if kind >> 16:  # up to four bytes, within the tag
            kind, size, start, padding = kind & 0xFFFF, kind >> 16, self.at - 4, 0
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            self.at += size + padding
        if start + size > len(self.content):
            raise ValueError(
                f"an element of {size:,} bytes, {len(self.content) - start:,} are left"
            )
        return kind, start, size

    def bytes(self) -> bytes:
        """The content of the next element."""
        _, start, size = self.tag()
        return self.content[start : start + size].tobytes()


def is_version5(path: Path) -> bool:
    """Whether a file says that it is a MATLAB file of version 5 to 7."""
    with path.open("rb") as file:
        start = file.read(_HEADER)
    return len(start) == _HEADER and 0 not in start[:4] and start[126:] in {b"IM", b"MI"}


def checked_names(path: Path, wanted: Iterable[str] = ()) -> list[str]:
    """Names of all variables of a file; those that are wanted are plain and whole.

    Args:
        path: A file of version 5.
        wanted: Variables that will be read.

    Raises:
        ValueError: If the file is damaged, or a wanted variable is neither numbers, nor text, nor
            cells of them.
    """
    content = np.memmap(path, np.uint8, "r")
    order = "<" if content[126:_HEADER].tobytes() == b"IM" else ">"
    file, wanted, names = _Elements(content, order, _HEADER), set(wanted), []
    while file.at < len(content):
        kind, size = file.words()
        element = content[file.at : file.at + size]
        if len(element) < size or not size:
            raise ValueError(f"a variable of {size:,} bytes, {len(element):,} are left")
        file.at += size
        packed = kind == _COMPRESSED
        name = _name(_matrix(_unpacked(element, _BEGINNING) if packed else element, kind, order))
        if name in wanted:
            whole = _unpacked(element) if packed else element
            _check_matrix(_matrix(whole, kind, order), name)
        names.append(name)
    return names


def _matrix(content: NDArray[np.uint8], kind: int, order: str) -> _Elements:
    """The elements of a variable, behind the tag that says that it is one."""
    matrix = _Elements(content, order)
    if kind == _COMPRESSED:
        kind, _ = matrix.words()
    if kind != _MATRIX:
        raise ValueError(f"an element of type {kind} where a variable belongs")
    return matrix


def _unpacked(element: NDArray[np.uint8], most: int | None = None) -> NDArray[np.uint8]:
    """A compressed element, whole or its beginning.

    Raises:
        ValueError: If it would unpack to far more than it is.
    """
    limit = _UNPACKED * len(element) + _SMALL
    data = zlib.decompressobj().decompress(element.data, most or limit)
    if len(data) == limit:
        raise ValueError(f"a variable that unpacks to more than {limit:,} bytes")
    return np.frombuffer(data, np.uint8)


def _head(matrix: _Elements) -> tuple[int, bool, list[int], str]:
    """Class, whether it is complex, sizes and name; its values are next."""
    matrix.words()
    flags, _ = matrix.words()
    if flags & 0xFF == _OPAQUE:  # its name comes first, "MCOS" and its class follow
        return _OPAQUE, False, [], matrix.bytes().decode("latin1")
    sizes = np.frombuffer(matrix.bytes(), f"{matrix.order}i4").tolist()
    return flags & 0xFF, bool(flags >> 11 & 1), sizes, matrix.bytes().decode("latin1")


def _name(matrix: _Elements) -> str:
    return _head(matrix)[3]


def _check_matrix(matrix: _Elements, name: str) -> None:
    """Go through the values of a matrix.

    Raises:
        ValueError: If something is not what it can be.
    """
    kind, is_complex, sizes, _ = _head(matrix)
    count = prod(sizes)
    if min(sizes, default=0) < 0:
        raise ValueError(f"{name!r} of shape {sizes}")
    if kind == _CELL:
        _check_cells(matrix, name, count)
    elif kind == _CHAR:
        _check_values(matrix, name, _TEXTS, count)
    elif kind in _NUMERIC:
        for _ in range(1 + is_complex):
            _check_values(matrix, name, _NUMBERS, 0)
    else:
        raise ValueError(f"{name!r} is {_CLASSES.get(kind, f'of class {kind}')}")


def _check_values(matrix: _Elements, name: str, kinds: Iterable[int], spaces: int) -> None:
    kind, _, size = matrix.tag()
    if kind not in kinds:
        raise ValueError(f"{name!r} holds values of an unknown type {kind}")
    if not size and spaces > _NO_TEXT:
        raise ValueError(f"{name!r} is a text of {spaces:,} letters in no bytes")


def _check_cells(matrix: _Elements, name: str, count: int) -> None:
    if count > len(matrix.content) // 8:
        raise ValueError(f"{name!r} has {count:,} cells in {len(matrix.content):,} bytes")
    for _ in range(count):
        kind, size = matrix.words()
        if kind != _MATRIX:
            raise ValueError(f"{name!r} has a cell of type {kind}")
        if size:
            _check_matrix(matrix, name)
