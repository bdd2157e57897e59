"""What a VoxelStore holds: its columns, the records that are written, the checks on opening."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from mindvis.data.hdf5 import Rows, read, texts
from mindvis.errors import StoreError

FORMAT: Final = "mindvis-voxels"
SCHEMA_VERSION: Final = 1
TEXT_COLUMNS: Final = ("stimulus", "condition", "split", "kind")
TRIAL_COLUMNS: Final = (
    "stimulus",
    "condition",
    "split",
    "session",
    "run",
    "repeat",
    "onset",
    "kind",
)
SPLITS: Final = ("train", "test", "")
KINDS: Final = ("task", "rest", "imagery")


@dataclass(frozen=True)
class Grayordinates:
    """Which responses belong to vertices of a surface: CIFTI's mixture of vertices and voxels.

    Args:
        structure: CIFTI's name of the part of the brain, for each response.
        vertex: int32 (voxels,), index into that part's surface; -1 for a voxel of the volume.
        surfaces: Vertices of each whole surface, by name of the part.
    """

    structure: list[str]
    vertex: npt.NDArray[np.int32]
    surfaces: Mapping[str, int]


@dataclass(frozen=True)
class SubjectData:
    """Everything a store keeps of one subject.

    Args:
        responses: float32 (trials, voxels), as measured; read by rows, so it may lie on disk.
        trials: One row for each response, with `TRIAL_COLUMNS`. `stimulus` is the picture's id
            ("" for rest), `split` is "train" or "test" ("" for rest), `onset` is in seconds.
        ijk: int32 (voxels, 3), where each voxel lies in the volume; -1 for vertices of a surface.
        affine: (4, 4), voxel indices to millimetres.
        shape: The volume's size in voxels.
        rois: bool (voxels,) by name of the region.
        quality: float32 (voxels,) by name, such as "noise_ceiling" or "snr".
        units: Of the responses, such as "z" or "beta".
        space: The coordinate system of `affine`, such as "T1w".
        tr: Repetition time in seconds; NaN where it is unknown.
        grayordinates: Where some of the "voxels" are vertices.
    """

    responses: Rows
    trials: pd.DataFrame
    ijk: npt.NDArray[np.int32]
    affine: npt.NDArray[np.float64]
    shape: tuple[int, int, int]
    rois: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    quality: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    units: str = "z"
    space: str = "native"
    tr: float = float("nan")
    grayordinates: Grayordinates | None = None


@dataclass(frozen=True)
class StimulusData:
    """The pictures that were shown.

    Args:
        images: uint8 (stimuli, height, width, 3); read by rows, so it may lie on disk.
        ids: One unique id for each picture; trials refer to it.
        labels: The class that n-way accuracy scores, such as "red circle".
        categories: A coarser group, such as "circle".
        strata: bool (stimuli,) by name: groups over which scores are worth telling apart, such as
            "in_nsd", pictures that another data set shows too.
    """

    images: Rows
    ids: list[str]
    labels: list[str]
    categories: list[str]
    strata: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)


def check_root(file: h5py.File, where: str) -> None:
    """Raise StoreError unless the file is a VoxelStore of this version."""
    found = file.attrs.get("format")
    if found is None or _plain(found) != FORMAT:
        raise StoreError(
            f"{where} is an HDF5 file of format {_plain(found)!r}",
            f"format {FORMAT!r}",
            "write it with `mindvis prepare`",
        )
    version = file.attrs.get("version")
    if version is None or _plain(version) != SCHEMA_VERSION:
        raise StoreError(
            f"{where} is a store of version {_plain(version)}",
            f"version {SCHEMA_VERSION}",
            "prepare it again with this version of mindvis",
        )
    if "subjects" not in file or not len(file["subjects"]):
        raise StoreError(f"{where} holds no subjects", remedy="run `mindvis prepare` again")


def check_subject(group: h5py.Group, name: str, known: set[str] | None, where: str) -> None:
    """Raise StoreError where the parts of one subject are missing or disagree in size.

    Args:
        group: `/subjects/<name>`.
        name: The subject.
        known: Ids of the stored pictures; None where the store has none.
        where: The file, for the message.
    """
    responses = _member(group, "responses", f"subject {name}", where)
    if responses.ndim != 2 or responses.dtype != np.float32 or 0 in responses.shape:
        raise StoreError(
            f"responses of subject {name} in {where} are {responses.dtype} {responses.shape}",
            "float32 (trials, voxels) with at least one of each",
        )
    trials, voxels = responses.shape
    sizes: dict[str, tuple[int, ...]] = {f"trials/{column}": (trials,) for column in TRIAL_COLUMNS}
    sizes |= {"voxels/ijk": (voxels, 3), "voxels/affine": (4, 4), "voxels/shape": (3,)}
    if "voxels/vertex" in group:
        sizes |= {"voxels/vertex": (voxels,), "voxels/structure": (voxels,)}
    for folder in ("rois", "quality"):
        sizes |= {f"{folder}/{key}": (voxels,) for key in group[folder]}
    for part, shape in sizes.items():
        _check_shape(
            _member(group, part, f"subject {name}", where), shape, f"{part} of {name}", where
        )
    _check_values(group, name, known, where)


def check_stimuli(group: h5py.Group, where: str) -> set[str]:
    """Raise StoreError unless pictures, ids, labels and categories fit; returns the ids."""
    images = _member(group, "images", "stimuli", where)
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] != 3:
        raise StoreError(
            f"stimuli/images in {where} are {images.dtype} {images.shape}",
            "uint8 (stimuli, height, width, 3)",
        )
    for part in ("id", "label", "category"):
        column = _member(group, part, "stimuli", where)
        _check_shape(column, (len(images),), f"stimuli/{part}", where)
    for name in group.get("strata", ()):  # stores of before have none
        column = _member(group, f"strata/{name}", "stimuli", where)
        _check_shape(column, (len(images),), f"stimuli/strata/{name}", where)
    ids = texts(group["id"])
    check_unique(ids, f"stimuli/id in {where}")
    return set(ids)


def check_unique(ids: Iterable[str], what: str) -> None:
    """Raise StoreError that names the first id which occurs twice."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise StoreError(f"{what} has {name!r} twice", "unique ids")
        seen.add(name)


def _member(group: h5py.Group, part: str, owner: str, where: str) -> h5py.Dataset:
    member = group.get(part)
    if not isinstance(member, h5py.Dataset):
        raise StoreError(
            f"{owner} in {where} has no readable dataset {part!r}",
            remedy="prepare the store again",
        )
    return member


def _check_shape(dataset: h5py.Dataset, shape: tuple[int, ...], what: str, where: str) -> None:
    if dataset.shape != shape:
        raise StoreError(f"{what} in {where} has shape {dataset.shape}", f"{shape}")


def _check_values(group: h5py.Group, name: str, known: set[str] | None, where: str) -> None:
    for column, choices in (("split", SPLITS), ("kind", KINDS)):
        for value in set(texts(group[f"trials/{column}"])) - set(choices):
            raise StoreError(
                f"trials/{column} of subject {name} in {where} has the value {value!r}",
                f"one of {', '.join(repr(choice) for choice in choices)}",
            )
    _check_places(group, f"subject {name} in {where}")
    if known is not None:
        used = set(texts(group["trials/stimulus"])) - {""}
        for stimulus in sorted(used - known)[:1]:
            raise StoreError(
                f"{len(used - known)} stimuli in the trials of subject {name} in {where} have no "
                f"picture, {stimulus!r} the first",
                "every stimulus to be in /stimuli/id",
            )


def _check_places(group: h5py.Group, owner: str) -> None:
    """Every voxel inside the volume, every vertex on its surface."""
    ijk, shape = read(group["voxels/ijk"]), read(group["voxels/shape"])
    surface = np.zeros(len(ijk), dtype=bool)
    if "voxels/vertex" in group:
        vertex = read(group["voxels/vertex"])
        surface = vertex >= 0
        sizes = surface_sizes(group["voxels/vertex"])
        names = np.array(texts(group["voxels/structure"]))
        for name in sorted(set(names[surface].tolist())):
            last = int(vertex[surface & (names == name)].max())
            if last >= sizes.get(name, 0):
                raise StoreError(
                    f"voxels/vertex of {owner} reach to {last} in {name}",
                    f"vertices below {sizes.get(name, 0)}",
                )
    inside = ijk[~surface]
    if (inside < 0).any() or (inside >= shape).any():
        raise StoreError(
            f"voxels/ijk of {owner} reach to {inside.max(0).tolist()}",
            f"indices inside the volume of shape {shape.tolist()}",
        )


def surface_sizes(vertex: h5py.Dataset) -> dict[str, int]:
    """Vertices of each surface, by name of its structure."""
    return {name: int(size) for name, size in vertex.attrs.items()}


def _plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
