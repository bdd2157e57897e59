"""Reading a VoxelStore: lazily, in any worker process, with damage reported by the part's name."""

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.data.hdf5 import CheckedRows, read, texts
from mindvis.data.rows import Bytes, map_file
from mindvis.data.schema import (
    TEXT_COLUMNS,
    TRIAL_COLUMNS,
    Grayordinates,
    check_root,
    check_stimuli,
    check_subject,
    surface_sizes,
)
from mindvis.data.stimuli import StoredStimuli
from mindvis.errors import StoreError, one_of


class VoxelStore:
    """One HDF5 file of fMRI responses, voxels, ROIs and the pictures that were shown.

    Opening verifies format, version, shapes and ids; values are read when they are asked for, and
    a chunk whose checksum fails is refused then. A store can be pickled and used in worker
    processes: each process opens its own handle. No lock is taken, since a store is never
    changed in place.

    Args:
        path: The file.
        name: What messages on opening call it, when `path` is temporary.

    Raises:
        StoreError: The file is absent, cut short, no store, of another version, or its parts
            disagree.

    Example:
        >>> with VoxelStore("demo.h5") as store:  # doctest: +SKIP
        ...     store["sub-01"].responses([0, 1]).shape
        (2, 1500)
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.path = Path(path)
        self._handle: tuple[int, h5py.File] | None = None
        self._content: Bytes | None = None
        self._rows: dict[str, CheckedRows] = {}
        try:
            self._verify(name or str(self.path))
        except StoreError:
            self.close()
            raise
        except (OSError, RuntimeError, KeyError) as error:
            self.close()
            raise StoreError(
                f"{name or self.path} is damaged ({error.args[0]})", remedy="prepare it again"
            ) from error

    def _verify(self, where: str) -> None:
        file = self.file
        check_root(file, where)
        # by name, since a damaged group counts as absent when it is asked for
        known = check_stimuli(file["stimuli"], where) if "stimuli" in list(file) else None
        self.subjects: tuple[str, ...] = tuple(sorted(file["subjects"]))
        for name in self.subjects:
            check_subject(file["subjects"][name], name, known, where)
        self.attrs: dict[str, str] = {
            key: value.decode() for key, value in file.attrs.items() if isinstance(value, bytes)
        }
        self.stimuli = StoredStimuli(self) if known is not None else None

    @property
    def file(self) -> h5py.File:
        """The handle of this process."""
        if self._handle is None or self._handle[0] != os.getpid() or not self._handle[1]:
            self._handle = (os.getpid(), _open(self.path))
            self._content, self._rows = map_file(self._handle[1]), {}
        return self._handle[1]

    def rows_of(self, part: str) -> CheckedRows:
        """A dataset of this process's handle by rows, looked up once: it knows what is verified."""
        file = self.file
        if part not in self._rows:
            self._rows[part] = CheckedRows(file[part], self._content)
        return self._rows[part]

    def __getitem__(self, name: str) -> "StoredSubject":
        if name not in self.subjects:
            raise StoreError(
                f"{self.path} has no subject {name!r}", one_of("the subject", name, self.subjects)
            )
        return StoredSubject(self, name)

    def __iter__(self) -> Iterator["StoredSubject"]:
        return (StoredSubject(self, name) for name in self.subjects)

    def __len__(self) -> int:
        return len(self.subjects)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_content": None, "_rows": {}}

    def close(self) -> None:
        """Close this process's handle; the next read opens it again."""
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[1].close()
        self._handle, self._content, self._rows = None, None, {}


class StoredSubject:
    """One subject of a store; small parts are kept once read, responses never."""

    def __init__(self, store: VoxelStore, name: str) -> None:
        self.store = store
        self.name = name

    @property
    def _group(self) -> h5py.Group:
        return self.store.file["subjects"][self.name]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each response, with `TRIAL_COLUMNS`; `onset` in seconds."""
        group = self._group["trials"]
        return pd.DataFrame(
            {
                column: texts(group[column]) if column in TEXT_COLUMNS else read(group[column])
                for column in TRIAL_COLUMNS
            }
        )

    @property
    def num_trials(self) -> int:
        """Number of responses, rest windows included."""
        return int(self._group["responses"].shape[0])

    @property
    def num_voxels(self) -> int:
        """Number of stored voxels."""
        return int(self._group["responses"].shape[1])

    @property
    def rows(self) -> CheckedRows:
        """The responses as something sliceable by rows, nothing read yet."""
        return self.store.rows_of(f"subjects/{self.name}/responses")

    def responses(self, rows: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
        """float32 (n, voxels) of the given rows, in their order; of all rows for None."""
        return self.rows.gather(rows)

    @cached_property
    def ijk(self) -> npt.NDArray[np.int32]:
        """int32 (voxels, 3), indices into the volume."""
        return read(self._group["voxels/ijk"])

    @cached_property
    def affine(self) -> npt.NDArray[np.float64]:
        """(4, 4), voxel indices to millimetres."""
        return read(self._group["voxels/affine"])

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """The volume's size in voxels."""
        first, second, third = read(self._group["voxels/shape"]).tolist()
        return first, second, third

    @cached_property
    def grayordinates(self) -> Grayordinates | None:
        """Which responses belong to vertices of a surface; None where all are voxels."""
        if "voxels/vertex" not in self._group:
            return None
        vertex = self._group["voxels/vertex"]
        structure = texts(self._group["voxels/structure"])
        return Grayordinates(structure, read(vertex), surface_sizes(vertex))

    @cached_property
    def rois(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Masks, bool (voxels,), by name of the region."""
        return self._masks("rois")

    @cached_property
    def quality(self) -> dict[str, npt.NDArray[np.float32]]:
        """float32 (voxels,) by name of the measure."""
        return self._masks("quality")

    def _masks(self, folder: str) -> dict[str, npt.NDArray[Any]]:
        members = self._group[folder]
        return {name: read(members[name]) for name in sorted(members)}

    @property
    def units(self) -> str:
        """Of the responses."""
        return self._attribute("units")

    @property
    def space(self) -> str:
        """The coordinate system of `affine`."""
        return self._attribute("space")

    @property
    def tr(self) -> float:
        """Repetition time in seconds; NaN where it is unknown."""
        return float(self._group["responses"].attrs.get("tr", np.nan))

    def _attribute(self, name: str) -> str:
        return bytes(self._group["responses"].attrs.get(name, b"")).decode()

    def roi_mask(self, names: str | Iterable[str] | None) -> npt.NDArray[np.bool_]:
        """The union of regions as bool (voxels,); all voxels for None.

        Raises:
            StoreError: The subject has no such region, or the union is empty.
        """
        if names is None:
            return np.ones(self.num_voxels, dtype=bool)
        wanted = [names] if isinstance(names, str) else list(names)
        mask = np.zeros(self.num_voxels, dtype=bool)
        for name in wanted:
            if name not in self.rois:
                raise StoreError(
                    f"subject {self.name} in {self.store.path} has no ROI {name!r}",
                    one_of("the ROI", name, self.rois),
                )
            mask |= self.rois[name]
        if not mask.any():
            raise StoreError(f"ROI {'+'.join(wanted)} of subject {self.name} has no voxels")
        return mask

    def to_volume(self, values: npt.ArrayLike, fill: float = 0.0) -> npt.NDArray[Any]:
        """Write one value for each voxel back into the volume; `fill` everywhere else."""
        flat = np.asarray(values)
        if flat.shape != (self.num_voxels,):
            raise StoreError(
                f"values of shape {flat.shape} for subject {self.name}", f"({self.num_voxels},)"
            )
        if self.grayordinates is not None:
            raise StoreError(
                f"subject {self.name} has vertices of a surface",
                "voxels of a volume",
                "write a CIFTI image with `mindvis write-volume`",
            )
        volume = np.full(self.shape, fill, dtype=flat.dtype)
        volume[tuple(self.ijk.T)] = flat
        return volume


def _open(path: Path) -> h5py.File:
    """Open for reading, without a lock; every way to fail is one sentence."""
    if not path.exists():
        raise StoreError(f"there is no store {path}", remedy="write it with `mindvis prepare`")
    if path.is_dir():
        raise StoreError(f"{path} is a folder", "a store, which is one file")
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        cut = "truncated" in str(error)
        found = "is cut short" if cut else "is no HDF5 file"
        raise StoreError(
            f"{path} {found} ({path.stat().st_size:,} bytes)",
            "a store that was written to its end" if cut else "a VoxelStore",
            "copy it again, or write it with `mindvis prepare`",
        ) from error
