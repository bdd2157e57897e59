"""CIFTI-2 dense images: time series of a few grayordinates, and labels by place.

nibabel parses the whole header of a dense image, a second for each of thousands of files whose
grayordinates are the same; here that part of the header is parsed once. In the file the series of
one grayordinate lies together, so a few of them are read without the rest.
"""

import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from nibabel.cifti2.parse_cifti2 import Cifti2Parser
from numpy.typing import NDArray

from mindvis.data.schema import Grayordinates
from mindvis.errors import SourceError
from preprocessing.damage import readable

_CIFTI = "a whole CIFTI-2 image"
_HEADER, _XML_CODE, _MAX_XML = 540, 32, 1 << 28
_MODELS = re.compile(
    rb'<MatrixIndicesMap\b[^>]*AppliesToMatrixDimension="1"[^>]*>.*?</MatrixIndicesMap>', re.DOTALL
)


@dataclass(frozen=True)
class DenseSeries:
    """A dense time series, its values still on disk.

    Args:
        path: The file.
        frames: Number of time points.
        tr: Seconds between them.
        models: The part of the header that says what the grayordinates are.
        dtype: Of the values on disk, with their byte order.
        offset: Of the first value, in bytes.
        scale: Slope and intercept of the values.
    """

    path: Path
    frames: int
    tr: float
    models: bytes
    dtype: np.dtype[Any]
    offset: int
    scale: tuple[float, float]

    @property
    def axis(self) -> BrainModelAxis:
        """The grayordinates, in their order."""
        with readable(self.path, _CIFTI):
            return brain_models(self.models)

    def read(self, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Series of some grayordinates, (frames, columns); nothing else is read."""
        count = len(self.axis)
        with readable(self.path, _CIFTI):
            values = np.memmap(
                self.path, self.dtype, "r", offset=self.offset, shape=(count, self.frames)
            )
            slope, intercept = self.scale
            return (values[columns].T * slope + intercept).astype(np.float32)


def open_series(path: Path) -> DenseSeries:
    """The header of a `.dtseries.nii` file.

    Raises:
        SourceError: If the file is cut short, or is no dense series over seconds.
    """
    with readable(path, _CIFTI):
        header, xml = _header(path)
        found = _MODELS.search(xml)
        if found is None:
            raise SourceError(f"{path} has no brain models along its columns", "a dense series")
        rest = ET.fromstring(xml[: found.start()] + xml[found.end() :])
        tr = _repetition_time(rest, path)
        dims = header["dim"].tolist()
        frames, count = dims[5], dims[6]
        size = len(brain_models(found[0]))
        dtype = header.get_data_dtype()
        offset = int(header["vox_offset"])
        expected = offset + frames * count * dtype.itemsize
        if dims[0] != 6 or count != size or frames < 1 or path.stat().st_size < expected:
            raise SourceError(
                f"{path} has the dimensions {dims} and {path.stat().st_size:,} bytes",
                f"series of {size} grayordinates and {expected:,} bytes",
                "fetch it again",
            )
        slope, intercept = header.get_slope_inter()
        scale = (1.0 if slope is None else slope, intercept or 0.0)
        return DenseSeries(path, frames, tr, found[0], dtype, offset, scale)


def _header(path: Path) -> tuple[Any, bytes]:
    """The NIfTI-2 header and the XML of the CIFTI extension."""
    with path.open("rb") as file:
        header = nib.Nifti2Header(file.read(_HEADER), check=True)
        order = "<" if header.endianness == "<" else ">"
        flag, size, code = struct.unpack(f"{order}4sii", file.read(12))
        if not flag[0] or code != _XML_CODE or not 8 < size < _MAX_XML:
            raise SourceError(f"{path} has no CIFTI extension", "a CIFTI-2 image")
        return header, file.read(size - 8).rstrip(b"\0")


def _repetition_time(root: ET.Element, path: Path) -> float:
    series = next(
        (
            item
            for item in root.iter("MatrixIndicesMap")
            if item.get("AppliesToMatrixDimension") == "0"
        ),
        None,
    )
    if series is None or series.get("SeriesUnit") != "SECOND":
        unit = "none" if series is None else series.get("SeriesUnit")
        raise SourceError(f"the rows of {path} are a series in the unit {unit}", "SECOND")
    step = float(series.get("SeriesStep", "0")) * 10.0 ** int(series.get("SeriesExponent", "0"))
    if not 0 < step < 100:
        raise SourceError(f"{path} has a repetition time of {step:g} s", "one above 0")
    return step


@lru_cache(maxsize=8)
def brain_models(xml: bytes) -> BrainModelAxis:
    """The axis that a `MatrixIndicesMap` element describes."""
    parser = Cifti2Parser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser.parse(string=b'<CIFTI Version="2"><Matrix>' + xml + b"</Matrix></CIFTI>")
    axis = parser.header.matrix.get_axis(1)
    if not isinstance(axis, BrainModelAxis):
        raise ValueError("the columns are no brain models")
    return axis


@dataclass(frozen=True)
class LabelMap:
    """Labels of an atlas by place.

    Args:
        keys: int64 (vertices,) by name of the structure; 0 where there is no label.
        names: Of the labels, by key.
    """

    keys: Mapping[str, NDArray[np.int64]]
    names: Mapping[int, str]

    def of(self, axis: BrainModelAxis) -> NDArray[np.int64]:
        """The label of each grayordinate, 0 where the atlas has none.

        Raises:
            SourceError: If a surface has another number of vertices than in the atlas.
        """
        labels = np.zeros(len(axis), dtype=np.int64)
        for name, part, model in axis.iter_structures():
            if name not in self.keys or name not in axis.nvertices:
                continue
            if len(self.keys[name]) != axis.nvertices[name]:
                raise SourceError(
                    f"{name} has {axis.nvertices[name]} vertices in the series",
                    f"{len(self.keys[name])}, as in the atlas",
                    "choose an atlas of the same mesh",
                )
            labels[part] = self.keys[name][model.vertex]
        return labels


@lru_cache(maxsize=2)
def read_labels(path: Path) -> LabelMap:
    """The first map of a `.dlabel.nii` file.

    Raises:
        SourceError: If it is no dense label file.
    """
    with readable(path, _CIFTI):
        image = nib.load(path)
        if not isinstance(image, nib.Cifti2Image):
            raise SourceError(f"{path} is no CIFTI image", "a .dlabel.nii file")
        labels, axis = image.header.get_axis(0), image.header.get_axis(1)
        if not isinstance(labels, LabelAxis) or not isinstance(axis, BrainModelAxis):
            raise SourceError(f"{path} holds no labels", "a .dlabel.nii file")
        values = np.asarray(image.dataobj)[0].astype(np.int64)
        keys = {}
        for name, part, model in axis.iter_structures():
            if name in axis.nvertices:
                keys[name] = np.zeros(axis.nvertices[name], dtype=np.int64)
                keys[name][model.vertex] = values[part]
        return LabelMap(keys, {int(key): str(row[0]) for key, row in labels.label[0].items()})


def places(
    axis: BrainModelAxis, columns: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float64], tuple[int, int, int], Grayordinates]:
    """Where some grayordinates are: indices, affine and shape of the volume, and vertices."""
    chosen = axis[columns]
    surface = np.asarray(chosen.surface_mask)
    ijk = np.where(surface[:, None], -1, chosen.voxel).astype(np.int32)
    vertex = np.where(surface, chosen.vertex, -1).astype(np.int32)
    affine = np.eye(4) if chosen.affine is None else np.asarray(chosen.affine, dtype=np.float64)
    x, y, z = (int(size) for size in (chosen.volume_shape or (1, 1, 1)))
    structures = [str(name) for name in chosen.name]
    sizes = {str(name): int(size) for name, size in chosen.nvertices.items()}
    used = {name: sizes[name] for name in sorted(set(structures)) if name in sizes}
    return ijk, affine, (x, y, z), Grayordinates(structures, vertex, used)
