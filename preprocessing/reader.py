"""Images from disk: headers, masks, and the voxels of a mask out of a run in small blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, Literal
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from mindvis.errors import SourceError
from preprocessing.damage import readable
from preprocessing.nifti import NIFTI, open_image, open_volumes

#: volumes held unmasked at a time
_BLOCK = 16
LONGEST = 100.0  # seconds between volumes; more are milliseconds
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


@dataclass(frozen=True)
class Grid:
    """The voxel grid of an image.

    Args:
        shape: Voxels along the three axes.
        affine: Voxel indices to millimetres, (4, 4).
        source: The file it was read from, for messages.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    source: Path

    def check(self, other: "Grid") -> None:
        """Refuse another image whose voxels are not the same places.

        Raises:
            SourceError: If shape or affine differ; both are named.
        """
        if other.shape != self.shape:
            raise SourceError(
                f"{other.source} has the shape {other.shape}",
                f"the shape {self.shape} of {self.source}",
                "resample one to the other, or choose another --space",
            )
        distance = float(np.abs(other.affine - self.affine).max())
        if distance > 1e-2:
            raise SourceError(
                f"the affines of {other.source} and {self.source} differ by {distance:.3g}",
                "one voxel grid",
                "resample one to the other",
            )


def grid_of(path: Path) -> Grid:
    """The grid of a 3-D or 4-D image, from its header."""
    image = open_image(path)
    if len(image.shape) not in {3, 4}:
        raise SourceError(f"{path} has {len(image.shape)} dimensions", "3 or 4")
    x, y, z = (int(size) for size in image.shape[:3])
    affine = np.asarray(image.affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise SourceError(f"{path} has an affine with NaN", "4 x 4 finite numbers")
    return Grid((x, y, z), affine, path)


def num_volumes(path: Path) -> int:
    """Volumes of a run.

    Raises:
        SourceError: If the image is not 4-D.
    """
    shape = open_image(path).shape
    if len(shape) != 4 or shape[3] < 2:
        raise SourceError(f"{path} has the shape {tuple(shape)}", "a 4-D image of several volumes")
    return int(shape[3])


@dataclass(frozen=True)
class Timing:
    """When the volumes of a run were acquired.

    Args:
        tr: Seconds between volumes.
        start: Seconds from the origin of the event table to the first volume.
        source: Where the repetition time was found.
    """

    tr: float
    start: float
    source: str

    def times(self, count: int) -> NDArray[np.float64]:
        """Acquisition times of the volumes, in seconds of the run."""
        return self.start + self.tr * np.arange(count, dtype=np.float64)


def timing(path: Path, sidecar: dict[str, Any], count: int) -> Timing:
    """When the volumes of an image were acquired: as the sidecar says, else as its header does.

    Args:
        path: The image.
        sidecar: Its JSON sidecar.
        count: Its volumes.

    Raises:
        SourceError: If neither says it, or what they say is not understood.
    """
    start = _number(path, sidecar, "StartTime")
    if "VolumeTiming" in sidecar:
        return _volume_timing(path, sidecar, count)
    header = _header_time(path)
    stated = stated_time(path, sidecar)
    if stated is None:
        return Timing(_usable_header_time(path, header), start or 0.0, "header")
    differs = header > 0 and not isclose(stated, header, abs_tol=1e-3)
    source = f"sidecar; the header says {header:.4g} s" if differs else "sidecar"
    return Timing(stated, start or 0.0, source)


def stated_time(path: Path, sidecar: dict[str, Any]) -> float | None:
    """The RepetitionTime of a JSON sidecar in seconds; None where it is absent.

    Raises:
        SourceError: If it is there and is not a number of seconds.
    """
    stated = _number(path, sidecar, "RepetitionTime")
    if stated is not None and not 0 < stated < LONGEST:
        raise SourceError(
            f"RepetitionTime of {path} is {stated:g}",
            f"seconds, between 0 and {LONGEST:g}",
            f"correct the JSON sidecar{_in_seconds(stated)}",
        )
    return stated


def _in_seconds(value: float) -> str:
    """A hint that a value may be in milliseconds."""
    return f"; {value:g} ms are {value / 1000:g} s" if value >= LONGEST else ""


def _number(path: Path, sidecar: dict[str, Any], key: str) -> float | None:
    """A number of a sidecar, None where it is absent.

    Raises:
        SourceError: If it is something else than a finite number.
    """
    if key not in sidecar:
        return None
    value = sidecar[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise SourceError(
            f"{key} of {path} is {value!r:.80}", "a number of seconds", "correct its JSON sidecar"
        )
    return float(value)


def _volume_timing(path: Path, sidecar: dict[str, Any], count: int) -> Timing:
    """The times that VolumeTiming lists, which must lie at equal distances."""
    listed = sidecar["VolumeTiming"]
    numbers = isinstance(listed, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in listed
    )
    times = np.asarray(listed if numbers else [], dtype=np.float64)
    if len(times) != count or not np.isfinite(times).all():
        raise SourceError(
            f"VolumeTiming of {path} holds {len(times)} times",
            f"{count} numbers of seconds, one a volume",
            "correct its JSON sidecar",
        )
    steps = np.diff(times)
    tr = float(np.median(steps))
    if not 0 < tr < LONGEST or np.abs(steps - tr).max() > 1e-3:
        raise SourceError(
            f"VolumeTiming of {path} has steps of {steps.min():g} to {steps.max():g} s",
            "volumes at equal distances, which filters need",
            "prepare betas of a program that models such runs, or leave the run out",
        )
    return Timing(tr, float(times[0]), "VolumeTiming")


def _usable_header_time(path: Path, header: float) -> float:
    if 0 < header < LONGEST:
        return header
    found = f" ({header:g} s)" if header > 0 else ""
    raise SourceError(
        f"{path} has no repetition time, neither in a JSON sidecar nor in its header{found}",
        "RepetitionTime in seconds",
        f"write it into {path.name.split('.')[0]}.json{_in_seconds(header)}",
    )


def _header_time(path: Path) -> float:
    """The header's time between volumes in seconds, 0 where it says none.

    One second without a unit is what is written when nobody sets it.
    """
    with readable(path, NIFTI):
        header = open_image(path).header
        zooms = header.get_zooms()
        unit = header.get_xyzt_units()[1]
    if len(zooms) < 4 or (unit == "unknown" and zooms[3] == 1.0):
        return 0.0
    return float(zooms[3]) * _SECONDS.get(unit, 0.0)


def read_mask(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """A mask as booleans: true where the image is above zero.

    Args:
        path: A 3-D image (or 4-D of one volume).
        grid: What its voxels must be.

    Raises:
        SourceError: If the mask is on another grid, or damaged.
    """
    grid.check(grid_of(path))
    with readable(path, NIFTI):
        values = np.asarray(open_image(path).dataobj, dtype=np.float64)
    if values.size != np.prod(grid.shape):
        raise SourceError(f"{path} has the shape {values.shape}", f"one volume of {grid.shape}")
    return np.greater(np.nan_to_num(values.reshape(grid.shape)), 0)


def read_labels(path: Path, grid: Grid) -> NDArray[np.float64]:
    """A 3-D image of labels or values, (X, Y, Z); NaN is 0.

    For data sets whose headers do not agree on the origin: an affine that differs is a warning.

    Raises:
        SourceError: If its shape is not the grid's, or the file is damaged.
    """
    found = grid_of(path)
    if found.shape != grid.shape:
        raise SourceError(
            f"{path} has the shape {found.shape}", f"the shape {grid.shape} of {grid.source}"
        )
    if np.abs(found.affine - grid.affine).max() > 1e-2:
        warn(f"the affines of {path} and {grid.source} differ; the latter is kept", stacklevel=2)
    with readable(path, NIFTI):
        values = np.asarray(open_image(path).dataobj, dtype=np.float64)
    if values.size != np.prod(grid.shape):
        raise SourceError(f"{path} has the shape {values.shape}", f"one volume of {grid.shape}")
    return np.nan_to_num(values.reshape(grid.shape))


def read_voxels(path: Path, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Time series of the voxels of a mask, a block of volumes in memory at a time.

    Args:
        path: A 4-D image.
        mask: Voxels to keep, (X, Y, Z).

    Returns:
        (volumes, voxels), voxels in C order of their indices; values may be NaN.

    Raises:
        SourceError: If the file is truncated, or its checksum is wrong.
    """
    count = num_volumes(path)
    with open_volumes(path) as data:
        series = np.empty((count, int(mask.sum())), dtype=np.float32)
        for start in range(0, count, _BLOCK):
            block = np.asarray(data[..., start : start + _BLOCK], dtype=np.float32)
            series[start : start + _BLOCK] = block[mask].T
    return series


def refuse_nan(
    series: NDArray[np.float32], path: Path, policy: Literal["refuse", "drop"]
) -> NDArray[np.bool_]:
    """Voxels of a run that are finite throughout.

    Raises:
        SourceError: If some are not and the policy is to refuse them; says how many of how many.
    """
    finite: NDArray[np.bool_] = np.all(np.isfinite(series), axis=0)
    if policy == "refuse" and not finite.all():
        raise SourceError(
            f"{path} has NaN or infinite values in {int((~finite).sum())} of {finite.size} voxels",
            "finite values inside the mask",
            "give a --mask that leaves them out, or pass --nan drop",
        )
    return finite


def by_columns(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    series: NDArray[np.float32],
    width: int = 8192,
) -> NDArray[np.float32]:
    """Apply a function of (time, voxels) to a few voxels at a time, in double precision.

    Args:
        function: From (time, voxels) to (rows, voxels), each voxel for itself.
        series: (time, voxels).
        width: Voxels at a time: bounds memory.

    Returns:
        (rows, voxels).
    """
    starts = range(0, max(series.shape[1], 1), width)
    parts = [function(series[:, s : s + width].astype(np.float64)) for s in starts]
    return np.concatenate(parts, axis=1).astype(np.float32)
