"""The pictures of a store."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from mindvis.data.hdf5 import CheckedRows, read, texts
from mindvis.errors import StoreError

if TYPE_CHECKING:
    from mindvis.data.reader import VoxelStore


class StoredStimuli:
    """The pictures of a store, in the order of their ids; read when they are asked for."""

    def __init__(self, store: "VoxelStore") -> None:
        self.store = store

    @property
    def _group(self) -> h5py.Group:
        return self.store.file["stimuli"]

    @cached_property
    def ids(self) -> list[str]:
        """Unique ids."""
        return texts(self._group["id"])

    @cached_property
    def labels(self) -> list[str]:
        """The class that is scored, for each picture."""
        return texts(self._group["label"])

    @cached_property
    def categories(self) -> list[str]:
        """The coarser group, for each picture."""
        return texts(self._group["category"])

    @cached_property
    def strata(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Mask over the stimuli, bool (stimuli,), by name; empty where none are stored."""
        group = self._group.get("strata", {})
        return {name: read(group[name]).astype(np.bool_) for name in sorted(group)}

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> CheckedRows:
        """The pictures as something sliceable by rows, nothing read yet."""
        return self.store.rows_of("stimuli/images")

    def images(self, indices: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """uint8 (n, height, width, 3) of the given rows, in their order; all for None."""
        return self.rows.gather(indices)

    def index(self, ids: Iterable[str]) -> npt.NDArray[np.intp]:
        """Row of each id.

        Raises:
            StoreError: An id is not stored.
        """
        try:
            return np.array([self._position[name] for name in ids], dtype=np.intp)
        except KeyError as error:
            name = str(error.args[0])
            raise StoreError(
                f"{self.store.path} has no stimulus {name!r}",
                f"one of its {len(self)} stimuli, such as {self.ids[0]!r}",
            ) from error
