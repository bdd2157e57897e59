"""Variables of MATLAB's files of version 7.3, which are HDF5 with classes in attributes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError

Array = NDArray[Any]
_PLAIN = frozenset({"", "double", "single", "logical", "char", "cell"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
})  # fmt: skip
_REMEDY = "save it as numbers, or as text with cellstr"


def read_variable(file: h5py.File, name: str, path: Path) -> Array:
    """A variable in MATLAB's order of axes: numbers, or texts of a char matrix or a cell.

    Raises:
        SourceError: If it is empty, sparse, complex, or an object such as `string` or `table`.
    """
    node = file[name]
    kind = _class_of(node)
    if isinstance(node, h5py.Group):
        what = "sparse" if "MATLAB_sparse" in node.attrs else f"a {kind or 'group'}"
        remedy = "save full(x)" if what == "sparse" else "name one of its fields, as a/b"
        raise SourceError(f"{name!r} of {path} is {what}", "plain arrays, no objects", remedy)
    if kind not in _PLAIN or "MATLAB_object_decode" in node.attrs:
        raise SourceError(
            f"{name!r} of {path} is a MATLAB {kind or 'object'}", "plain arrays", _REMEDY
        )
    if node.attrs.get("MATLAB_empty", 0) or not node.size:
        raise SourceError(f"{name!r} of {path} is empty", "values")
    if node.dtype.kind == "V":
        raise SourceError(f"{name!r} of {path} is complex", "real numbers", "save abs(x)")
    if kind == "char":
        return np.array(_rows_of_text(node))
    if kind == "cell":
        return np.array([_cell(file[ref], name, path) for ref in node[()].T.ravel()])
    return np.asarray(node[()]).T


def variable_names(names: Iterable[str]) -> list[str]:
    """Names of a user's variables among those of a file: what begins with # is MATLAB's own."""
    return [name for name in names if not name.startswith("#")]


def _class_of(node: Any) -> str:
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode("latin1") if isinstance(kind, bytes) else str(kind)


def _rows_of_text(node: h5py.Dataset) -> list[str]:
    """The rows of a char matrix, in UTF-16."""
    letters = np.asarray(node[()]).astype("<u2").T
    return [row.tobytes().decode("utf-16-le", "replace").strip() for row in letters]


def _cell(node: Any, name: str, path: Path) -> str:
    """The text or number in one cell; "" of an empty one."""
    kind = _class_of(node)
    if isinstance(node, h5py.Group) or kind not in _PLAIN - {"cell"}:
        raise SourceError(
            f"{name!r} of {path} has a cell that holds a {kind or 'group'}", "text", _REMEDY
        )
    if node.attrs.get("MATLAB_empty", 0):
        return ""
    texts = _rows_of_text(node) if kind == "char" else [_plain(v) for v in node[()].ravel()]
    if len(texts) != 1:
        raise SourceError(f"{name!r} of {path} has a cell of {len(texts)} values", "one", _REMEDY)
    return texts[0]


def _plain(value: Any) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
