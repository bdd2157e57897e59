"""Arrays by name out of .npz, .mat and .h5 files, nothing unpickled."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from mindvis.errors import SourceError, one_of
from preprocessing.damage import BROKEN
from preprocessing.matlab import checked_names, is_version5
from preprocessing.matlab73 import read_variable, variable_names

Array = NDArray[Any]
#: an archive may unpack to so many times its size, and so many bytes beside
_UNPACKED, _SMALL = 20, 1 << 28


def load_arrays(path: Path, keys: Iterable[str]) -> dict[str, Array]:
    """The arrays of a file, by key.

    Args:
        path: A .npz, .mat (any version; 7.3 is transposed back to MATLAB's order of axes), .h5 or
            .hdf5 file.
        keys: Which; in HDF5 also paths such as "fmri/train".

    Raises:
        SourceError: If the file cannot be read, a key is missing, or an array is not plain.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist", "a .npz, .mat, .h5 or .hdf5 file")
    try:
        if path.suffix == ".npz":
            _refuse_bomb(path)
            with np.load(path, allow_pickle=False) as archive:
                return _picked(archive, keys, path)
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return _from_hdf5(file, keys, path)
        if path.suffix == ".mat":
            return _from_matlab(path, list(keys))
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "plain arrays, no objects") from None
    raise SourceError(f"{path} is of no known format", "a .npz, .mat, .h5 or .hdf5 file")


def array_names(path: Path) -> list[str]:
    """Names of the arrays of a file, in their order.

    Raises:
        SourceError: If it cannot be read.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist", "a .npz, .mat, .h5 or .hdf5 file")
    try:
        if path.suffix == ".npz":
            with ZipFile(path) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return _hdf5_names(file)
        if path.suffix == ".mat":
            whose = checked_names(path) if is_version5(path) else _version4_names(path)
            return [name for name in whose if name and not name.startswith("__")]
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read ({error})", "plain arrays, no objects") from None
    raise SourceError(f"{path} is of no known format", "a .npz, .mat, .h5 or .hdf5 file")


def _version4_names(path: Path) -> list[str]:
    return [str(name) for name, _, _ in scipy.io.whosmat(path)]


def _hdf5_names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return variable_names(names)


def _refuse_bomb(path: Path) -> None:
    """Refuse an archive that would unpack to far more than it is.

    Raises:
        SourceError: It would.
    """
    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    limit = _UNPACKED * path.stat().st_size + _SMALL
    if size > limit:
        raise SourceError(
            f"{path} would unpack to {size:,} bytes", f"at most {limit:,}", "check where it is from"
        )


def _from_matlab(path: Path, keys: Sequence[str]) -> dict[str, Array]:
    """Variables of a file up to version 7."""
    if is_version5(path):
        _refuse_unknown(checked_names(path, keys), keys, path)
        return _picked(scipy.io.loadmat(path, variable_names=list(keys)), keys, path)
    return _picked(scipy.io.loadmat(path), keys, path)


def _from_hdf5(file: h5py.File, keys: Iterable[str], path: Path) -> dict[str, Array]:
    if path.suffix != ".mat":
        return _picked({name: _Lazy(file[name]) for name in _hdf5_names(file)}, keys, path)
    keys = list(keys)
    _refuse_unknown([*_hdf5_names(file), *variable_names(file)], keys, path)
    return {key: read_variable(file, key, path) for key in keys}


class _Lazy:
    """An HDF5 dataset that is read when it is made an array."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        values = self.dataset.asstr()[()] if self.dataset.dtype.kind == "O" else self.dataset[()]
        return np.asarray(values, dtype=dtype)


def _picked(content: Mapping[str, Any], keys: Iterable[str], path: Path) -> dict[str, Array]:
    keys = list(keys)
    _refuse_unknown(content, keys, path)
    return {key: np.asarray(content[key]) for key in keys}


def _refuse_unknown(names: Iterable[str], keys: Iterable[str], path: Path) -> None:
    known = [name for name in names if not name.startswith("__")]
    for key in keys:
        if key not in known:
            raise SourceError(f"{path} has no array {key!r}", one_of("it", key, known))


def as_texts(values: Array) -> list[str]:
    """A column of numbers, texts or MATLAB cells of texts as texts; 1.0 becomes "1"."""
    return [_text(value) for value in np.ravel(values)]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise SourceError(f"the text {value!r} is not UTF-8", "text in UTF-8") from None


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):  # a MATLAB cell
        if value.size > 1:
            raise SourceError(f"a cell holds {value.size} values", "one text or number")
        return _text(value.reshape(-1)[0]) if value.size else ""
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
