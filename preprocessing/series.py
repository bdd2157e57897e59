"""The series of a run in any of its forms: a volume, a pair of surfaces, or grayordinates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mindvis.data.schema import Grayordinates
from mindvis.errors import SourceError
from preprocessing.cifti import open_series, places, read_labels
from preprocessing.damage import readable
from preprocessing.reader import (
    LONGEST,
    Grid,
    Timing,
    grid_of,
    num_volumes,
    read_voxels,
    stated_time,
    timing,
)

Form = Literal["volume", "gifti", "cifti"]
#: end of the names of a run's images
ENDINGS: dict[Form, str] = {
    "volume": "_bold.nii*",
    "gifti": "_bold.func.gii",
    "cifti": "_bold.dtseries.nii",
}
_GIFTI = "a whole GIFTI file"
CORTEX = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}


def form_of(path: Path) -> Form:
    """The form that a file's name says."""
    if path.name.endswith(".gii"):
        return "gifti"
    return "cifti" if path.name.endswith(".dtseries.nii") else "volume"


def files_of(path: Path) -> list[Path]:
    """All files of a run: both hemispheres of a surface.

    Raises:
        SourceError: If the right hemisphere is missing.
    """
    if form_of(path) != "gifti":
        return [path]
    right = right_hemisphere(path)
    if not right.is_file():
        raise SourceError(f"{right} does not exist", f"the other hemisphere of {path.name}")
    return [path, right]


def right_hemisphere(path: Path) -> Path:
    """The file beside that of the left hemisphere."""
    return path.with_name(path.name.replace("_hemi-L", "_hemi-R"))


def read_surface(path: Path) -> NDArray[np.float32]:
    """Values of a GIFTI file, (time, vertices).

    Raises:
        SourceError: If it is damaged, or its arrays are no series of one surface.
    """
    with readable(path, _GIFTI):
        arrays = [np.asarray(array.data) for array in nib.load(path).darrays]
        rows = arrays[0].T if len(arrays) == 1 and arrays[0].ndim == 2 else np.stack(arrays)
    if rows.ndim != 2 or rows.dtype.kind not in "iuf" or not rows.size:
        raise SourceError(f"{path} holds {rows.dtype} of shape {rows.shape}", "one series a vertex")
    return rows.astype(np.float32)


def num_frames(path: Path) -> int:
    """Time points of a run.

    Raises:
        SourceError: If there are fewer than two.
    """
    form = form_of(path)
    if form == "volume":
        return num_volumes(path)
    frames = open_series(path).frames if form == "cifti" else len(read_surface(path))
    if frames < 2:
        raise SourceError(f"{path} has {frames} time points", "several")
    return frames


def frame_timing(path: Path, sidecar: dict[str, Any], count: int) -> Timing:
    """When the time points of a run were acquired, as the sidecar or the image says.

    Raises:
        SourceError: If neither says it, or what they say is not understood.
    """
    form = form_of(path)
    if form == "volume" or "VolumeTiming" in sidecar:
        return timing(path, sidecar, count)
    stated = stated_time(path, sidecar)
    start = float(sidecar.get("StartTime") or 0.0)
    if stated is not None:
        return Timing(stated, start, "sidecar")
    if form == "cifti":
        return Timing(open_series(path).tr, start, "header")
    with readable(path, _GIFTI):
        step = float(nib.load(path).darrays[0].meta.get("TimeStep", "nan")) / 1000
    if not 0 < step < LONGEST:
        raise SourceError(
            f"{path} has no repetition time, neither in a JSON sidecar nor as TimeStep",
            "RepetitionTime in seconds",
        )
    return Timing(step, start, "TimeStep")


def places_grid(path: Path) -> Grid:
    """The grid of a volume; for surfaces and grayordinates their number, along the first axis."""
    form = form_of(path)
    if form == "volume":
        return grid_of(path)
    if form == "cifti":
        count = len(open_series(path).axis)
    else:
        count = sum(read_surface(file).shape[1] for file in files_of(path))
    return Grid((count, 1, 1), np.eye(4), path)


def read_series(path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Series of the places of a mask, (time, places).

    Args:
        path: The run; of a surface the left hemisphere.
        mask: Places to keep, of the shape of `places_grid`.

    Raises:
        SourceError: If a file is damaged, or hemispheres differ in length.
    """
    form = form_of(path)
    if form == "volume":
        return read_voxels(path, mask)
    if form == "cifti":
        return open_series(path).read(np.flatnonzero(mask))
    sides = [read_surface(file) for file in files_of(path)]
    if len({len(side) for side in sides}) > 1:
        raise SourceError(
            f"the hemispheres of {path} have {len(sides[0])} and {len(sides[1])} time points",
            "equal numbers",
        )
    return np.concatenate(sides, axis=1)[:, mask.ravel()]


@dataclass(frozen=True)
class Where:
    """Where the kept places of a subject are; the fields are those of `SubjectData`."""

    ijk: NDArray[np.int32]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    grayordinates: Grayordinates | None = None


def where(path: Path, grid: Grid, mask: NDArray[np.bool_]) -> Where:
    """Where the places of a mask are: voxels, vertices, or both.

    Args:
        path: A run.
        grid: Its `places_grid`.
        mask: Of the grid's shape.
    """
    form = form_of(path)
    if form == "volume":
        return Where(np.argwhere(mask).astype(np.int32), grid.affine, grid.shape)
    if form == "cifti":
        return Where(*places(open_series(path).axis, np.flatnonzero(mask)))
    sizes = {CORTEX[s]: read_surface(f).shape[1] for s, f in zip("LR", files_of(path), strict=True)}
    names = [name for name, size in sizes.items() for _ in range(size)]
    vertices = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes.values()])
    kept = np.flatnonzero(mask)
    surface = Grayordinates([names[row] for row in kept], vertices[kept], sizes)
    return Where(np.full((len(kept), 3), -1, np.int32), np.eye(4), (1, 1, 1), surface)


def atlas_regions(atlas: Path, run: Path) -> dict[str, NDArray[np.bool_]]:
    """Regions of an atlas of labels, on the grid of a run, by name; label 0 is none.

    Args:
        atlas: A .dlabel.nii file for CIFTI, the left hemisphere's .label.gii for GIFTI.
        run: A run.

    Raises:
        SourceError: If the atlas is damaged, or of another mesh.
    """
    if form_of(run) == "cifti":
        table = read_labels(atlas)
        labels, names = table.of(open_series(run).axis), dict(table.names)
    else:
        labels, names = _surface_labels(atlas)
        size = places_grid(run).shape[0]
        if len(labels) != size:
            raise SourceError(f"{atlas} has {len(labels)} vertices", f"{size}, those of {run.name}")
    regions: dict[str, NDArray[np.bool_]] = {}
    for key, name in names.items():
        inside = (labels == key).reshape(-1, 1, 1)
        if key != 0 and inside.any():
            regions[name] = regions[name] | inside if name in regions else inside
    return regions


def _surface_labels(atlas: Path) -> tuple[NDArray[np.int64], dict[int, str]]:
    labels: list[NDArray[np.int64]] = []
    names: dict[int, str] = {}
    for file in files_of(atlas):
        with readable(file, _GIFTI):
            image = nib.load(file)
            labels.append(np.ravel(image.darrays[0].data).astype(np.int64))
            table = image.labeltable.get_labels_as_dict()
        names |= {int(key): str(name) for key, name in table.items()}
    return np.concatenate(labels), names
