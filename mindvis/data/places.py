"""Which voxels a model was fitted to, and whether those of a store are the same ones.

As many voxels are not the same voxels: another mask, another release or another order of the axes
gives a model numbers that it reads without complaint. The places therefore travel with the saved
preprocessing, and are compared wherever a model reads a store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from mindvis.data.store import StoredSubject
from mindvis.errors import CheckpointError

CLOSE: Final = 0.05  # mm; places that differ by less differ by rounding
REMEDY: Final = "use the store that the model was trained on, or train on this one"


@dataclass(frozen=True)
class VoxelPlaces:
    """Where the stored voxels of one subject lie, and the regions that a model reads.

    Args:
        subject: Whose they are.
        ijk: int32 (voxels, 3), indices into the volume; None where the store knows no places.
        affine: (4, 4), indices to millimetres.
        structures: Names of the parts of the brain whose surface vertices are among the voxels.
        structure: int32 (voxels,), number of the part of each; empty without surfaces.
        vertex: int32 (voxels,), vertex on it, -1 for a voxel of the volume; empty without surfaces.
        rois: For each region that the model reads, the digest of its mask.
    """

    subject: str
    ijk: npt.NDArray[np.int32] | None
    affine: npt.NDArray[np.float64]
    structures: tuple[str, ...]
    structure: npt.NDArray[np.int32]
    vertex: npt.NDArray[np.int32]
    rois: Mapping[str, str]

    @classmethod
    def of(cls, stored: StoredSubject, rois: Sequence[str] = ()) -> Self:
        """The places of a stored subject.

        Args:
            stored: The subject.
            rois: Regions that the model reads; those that the subject lacks are left out.
        """
        surface, none = stored.grayordinates, np.empty(0, dtype=np.int32)
        parts = [] if surface is None else surface.structure
        names, codes = np.unique(parts, return_inverse=True)
        known = surface is not None or not _numbered(stored.ijk)
        return cls(
            subject=stored.name,
            ijk=stored.ijk if known else None,
            affine=stored.affine,
            structures=tuple(map(str, names)),
            structure=codes.astype(np.int32),
            vertex=none if surface is None else surface.vertex,
            rois={name: mask_digest(stored.rois[name]) for name in rois if name in stored.rois},
        )

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """Millimetres and vertices as numbers that are equal where the places are: (voxels, 5)."""
        assert self.ijk is not None  # asked only of known places
        points = np.zeros((len(self.ijk), 5))
        points[:, :3] = self.ijk @ self.affine[:3, :3].T + self.affine[:3, 3]
        points[:, 4] = -1
        if len(self.vertex):
            on = self.vertex >= 0
            points[on, :3] = 0
            hashed = [int(sha256(name.encode()).hexdigest()[:12], 16) for name in self.structures]
            points[on, 3] = np.array(hashed, dtype=np.float64)[self.structure[on]]
            points[on, 4] = self.vertex[on]
        return points

    @property
    def digest(self) -> str:
        """SHA-256 of the places in their order; empty where they are not known."""
        if self.ijk is None:
            return ""
        return sha256(np.rint(self.points / CLOSE).astype(np.int64).tobytes()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "subject": self.subject,
            "sha256": self.digest,
            "ijk": None if self.ijk is None else self.ijk.tolist(),
            "affine": self.affine.tolist(),
            "structures": list(self.structures),
            "structure": self.structure.tolist(),
            "vertex": self.vertex.tolist(),
            "rois": dict(self.rois),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        ijk = content["ijk"]
        return cls(
            subject=str(content["subject"]),
            ijk=None if ijk is None else np.array(ijk, dtype=np.int32).reshape(-1, 3),
            affine=np.array(content["affine"], dtype=np.float64).reshape(4, 4),
            structures=tuple(map(str, content["structures"])),
            structure=np.array(content["structure"], dtype=np.int32),
            vertex=np.array(content["vertex"], dtype=np.int32),
            rois={str(name): str(digest) for name, digest in content["rois"].items()},
        )


def mask_digest(mask: npt.NDArray[np.bool_]) -> str:
    """SHA-256 of a mask over voxels."""
    return sha256(np.packbits(mask.astype(bool)).tobytes()).hexdigest()


def _numbered(ijk: npt.NDArray[np.int32]) -> bool:
    """Whether voxels are numbered along a line, as they are where a source has no places."""
    return bool((ijk[:, 1:] == 0).all() and (ijk[:, 0] == np.arange(len(ijk))).all())


def difference(model: VoxelPlaces | None, stored: StoredSubject) -> str:
    """What differs between a model's voxels and those of a store; empty where nothing does.

    Args:
        model: The places that the model was fitted to; None for a model that records none.
        stored: The subject that it is to read.
    """
    if model is None:
        return ""
    own = VoxelPlaces.of(stored, tuple(model.rois))
    if model.subject != own.subject:
        return f"the model was fitted to subject {model.subject}, not to {own.subject}"
    for name, digest in model.rois.items():
        if name not in own.rois:
            return f"the model reads region {name}, which {stored.name} does not have there"
        if own.rois[name] != digest:
            return f"region {name}, which the model reads, has other voxels there"
    if model.ijk is None or own.ijk is None:
        return ""
    return _moved(model.points, own.points)


def _moved(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str:
    """Where places (voxels, 5) differ: in number, in order, or themselves."""
    if len(one) != len(other):
        return f"the model was fitted to {len(one)} voxels, there are {len(other)}"
    apart = (np.abs(one - other) > CLOSE).any(axis=1)
    if not apart.any():
        return ""
    if np.abs(_sorted(one) - _sorted(other)).max() <= CLOSE:
        return f"they are the same voxels in another order ({apart.sum()} of {len(one)} moved)"
    return f"{apart.sum()} of {len(one)} voxels lie at other places than those of the model"


def _sorted(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    grid = np.rint(points / CLOSE)
    return points[np.lexsort(grid.T)]


def unknown(model: VoxelPlaces | None, stored: StoredSubject) -> str:
    """Why voxels cannot be compared by their places; empty where they can be.

    Args:
        model: The places that the model was fitted to; None for a model that records none.
        stored: The subject that it reads.
    """
    counted = "so that they were matched by their number alone"
    if model is None:
        return f"the model does not record the places of {stored.name}'s voxels, {counted}"
    own = stored.grayordinates is not None or not _numbered(stored.ijk)
    if model.ijk is None and own:
        return f"the model was fitted to voxels of {stored.name} without places, {counted}"
    if not own:
        return f"{stored.store.path} holds no places of {stored.name}'s voxels, {counted}"
    return ""


def check_places(model: VoxelPlaces | None, stored: StoredSubject) -> None:
    """Refuse a store whose voxels are not those that the model was fitted to.

    Raises:
        CheckpointError: With what differs.
    """
    found = difference(model, stored)
    if found:
        raise CheckpointError(
            f"the voxels of subject {stored.name} in {stored.store.path} are not those of the "
            f"model: {found}",
            "the voxels that the model was trained on",
            REMEDY,
        )
