"""From stored responses to what a network reads: choose and order voxels, standardise, pad."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mindvis.data.moments import Moments
from mindvis.data.places import VoxelPlaces
from mindvis.errors import DataError, one_of
from mindvis.files import write_json

Padding = Literal["zero", "wrap", "legacy"]
Standardise = Literal["voxel", "global", "none"]
Statistics = Literal["train", "train_only", "all"]
FILE_NAME: Final = "preprocessing.json"
Float = npt.NDArray[np.float32]
# A deviation this small beside the mean is rounding: the voxel is constant.
CONSTANT: Final = 1e-6


@dataclass(frozen=True)
class VoxelTransform:
    """One subject's way from stored responses to a vector of the model's length.

    Args:
        columns: Stored voxels in the order the model reads them; with "legacy" padding some twice.
        mean: Subtracted, of each column.
        std: Divided by, of each column; a column with 0 was constant and gives 0.
        length: Of the result; at least the number of columns.
        padding: What follows the columns: zeros, or the vector from its start ("wrap", "legacy").
        num_stored: Voxels of the store, which the input must have.
        subject: For messages.
        raw_test: Whether test responses are left as they are stored; see `Preprocessing.of`.
        places: Where the stored voxels lie; None where that was not recorded.
    """

    columns: npt.NDArray[np.intp]
    mean: Float
    std: Float
    length: int
    padding: Padding
    num_stored: int
    subject: str = "of this model"
    raw_test: bool = False
    places: VoxelPlaces | None = None

    def __post_init__(self) -> None:
        if self.length < len(self.columns):
            raise DataError(
                f"subject {self.subject} has {len(self.columns)} voxels, the model reads "
                f"{self.length}",
                remedy="choose a smaller ROI, or pretrain with a larger `length`",
            )

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which entries of the result are measured voxels; all of them when wrapped."""
        return (np.arange(self.length) < len(self.columns)) | (self.padding != "zero")

    def __call__(self, responses: npt.ArrayLike) -> Float:
        """Transform responses (..., num_stored) to float32 (..., length).

        Raises:
            DataError: Another number of voxels, or values that are not finite.
        """
        stored = np.asarray(responses, dtype=np.float32)
        if stored.shape[-1:] != (self.num_stored,):
            raise DataError(
                f"responses of shape {stored.shape} for subject {self.subject}",
                f"{self.num_stored} voxels in the last axis",
            )
        chosen = self._choose(stored)
        out = np.empty((*stored.shape[:-1], self.length), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.subtract(chosen, self.mean, out=out[..., : len(self.columns)])
            values *= self._scale
            _fill(out, len(self.columns), self.padding)
            if not np.isfinite(out.sum()):  # one bad value makes the sum bad
                self._check_finite(chosen)
        return out

    def _choose(self, stored: Float) -> Float:
        """The columns; without a copy where they are consecutive."""
        if self._slice is None:
            return stored.take(self.columns, axis=-1)
        return stored[..., self._slice]

    @cached_property
    def _slice(self) -> slice | None:
        first, count = int(self.columns[0]) if len(self.columns) else 0, len(self.columns)
        consecutive = np.array_equal(self.columns, np.arange(first, first + count))
        return slice(first, first + count) if consecutive else None

    @cached_property
    def _scale(self) -> Float:
        return np.divide(1, self.std, out=np.zeros_like(self.std), where=self.std > 0)

    def _check_finite(self, chosen: Float) -> None:
        bad = ~np.isfinite(chosen)
        if bad.any():
            voxels = np.unique(self.columns[bad.reshape(-1, bad.shape[-1]).any(axis=0)])
            raise DataError(
                f"{len(voxels)} voxels of subject {self.subject} are NaN or infinite, stored voxel "
                f"{voxels[0]} the first",
                "finite responses",
                "choose a ROI without them, or prepare the store with a smaller mask",
            )

    @property
    def unscaled(self) -> "VoxelTransform":
        """The same voxels with their values as stored."""
        return replace(self, mean=np.zeros_like(self.mean), std=np.ones_like(self.std))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; float32 survives the way there and back."""
        arrays = {name: getattr(self, name).tolist() for name in ("columns", "mean", "std")}
        plain = {**arrays, **{name: getattr(self, name) for name in _PLAIN}}
        return plain if self.places is None else {**plain, "places": self.places.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "VoxelTransform":
        """The inverse of `to_dict`."""
        places = content.get("places")  # younger than the format, as is raw_test
        return cls(
            places=None if places is None else VoxelPlaces.from_dict(places),
            columns=np.array(content["columns"], dtype=np.intp),
            mean=np.array(content["mean"], dtype=np.float32),
            std=np.array(content["std"], dtype=np.float32),
            raw_test=content.get("raw_test", False),
            **{name: content[name] for name in _PLAIN if name != "raw_test"},
        )


_PLAIN: Final = ("length", "padding", "num_stored", "subject", "raw_test")


def padded_length(voxels: int, patch_size: int, padding: Padding) -> int:
    """Voxels rounded up to whole patches.

    "legacy" adds a whole patch where none is missing, as MinD-Vis does.
    """
    missing = -voxels % patch_size
    return voxels + (missing or (patch_size if padding == "legacy" else 0))


def pad(values: Float, length: int, padding: Padding) -> Float:
    """Lengthen (..., n) to (..., length) by zeros or by repeating the vector from its start."""
    count = values.shape[-1]
    out = np.empty((*values.shape[:-1], length), dtype=np.float32)
    out[..., :count] = values
    _fill(out, count, padding)
    return out


def _fill(out: Float, count: int, padding: Padding) -> None:
    """Write what follows the first `count` of (..., length) values, in place."""
    if padding == "zero":
        out[..., count:] = 0
    elif out.shape[-1] > count:
        out[..., count:] = out[..., np.arange(count, out.shape[-1]) % count]


def fit_transform(
    moments: Moments,
    columns: npt.ArrayLike,
    *,
    standardise: Standardise = "voxel",
    padding: Padding = "zero",
    patch_size: int = 16,
    length: int | None = None,
    subject: str = "of this model",
    raw_test: bool = False,
    places: VoxelPlaces | None = None,
) -> VoxelTransform:
    """A transform from the moments of the training rows.

    Args:
        moments: Of all stored voxels, over training rows alone.
        columns: Stored voxels to keep, in order.
        standardise: Each voxel by its own mean and deviation, all by one ("global"), or not.
        padding: See `VoxelTransform`.
        patch_size: Voxels of a patch.
        length: Of the result; None for the shortest that holds whole patches.
        subject: For messages.
        raw_test: See `VoxelTransform`.
        places: See `VoxelTransform`.

    Returns:
        The transform. With "legacy" padding, "global" counts repeated voxels twice, as MinD-Vis
        does.
    """
    kept = np.asarray(columns, dtype=np.intp)
    shortest = padded_length(len(kept), patch_size, padding)
    if padding == "legacy":
        kept = kept[np.arange(shortest) % len(kept)]
    mean, variance = moments.mean[kept], moments.variance[kept]
    if standardise == "global":
        centre = mean.mean()
        variance = np.full_like(mean, (variance + (mean - centre) ** 2).mean())
        mean = np.full_like(mean, centre)
    std = np.sqrt(variance)
    std[std <= CONSTANT * np.abs(mean)] = 0
    if standardise == "none":
        mean, std = np.zeros_like(mean), np.ones_like(std)
    return VoxelTransform(
        columns=kept,
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        length=shortest if length is None else length,
        padding=padding,
        num_stored=len(moments.mean),
        subject=subject,
        raw_test=raw_test,
        places=places,
    )


def average_repeats(responses: npt.ArrayLike, stimuli: Sequence[str]) -> tuple[Float, list[str]]:
    """Mean response to each stimulus.

    Args:
        responses: (rows, voxels).
        stimuli: The stimulus of each row.

    Returns:
        float32 (stimuli, voxels) and the stimuli, in the order of their first row.
    """
    rows = np.asarray(responses, dtype=np.float32)
    place = {name: position for position, name in enumerate(dict.fromkeys(stimuli))}
    group = np.array([place[name] for name in stimuli], dtype=np.intp)
    total = np.zeros((len(place), *rows.shape[1:]), dtype=np.float64)
    np.add.at(total, group, rows)
    count = np.bincount(group, minlength=len(place)).reshape(-1, *[1] * (rows.ndim - 1))
    return (total / count).astype(np.float32), list(place)


def group_means(rows: Float, counts: npt.ArrayLike) -> Float:
    """Means of consecutive rows.

    Args:
        rows: (n, voxels).
        counts: How many rows each mean is of, at least one; together n.

    Returns:
        float32 (means, voxels).
    """
    sizes = np.asarray(counts)
    if (sizes == 1).all():
        return rows
    means = np.add.reduceat(rows, np.cumsum(sizes) - sizes, axis=0) / sizes[:, None]
    return means.astype(np.float32)


def draw_pairs(count: int, times: float, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Pairs of different rows whose means are added to `count` rows, as MinD-Vis interpolates.

    Args:
        count: Rows that there are; fewer than two make no pair.
        times: Rows that there are to be, over those that there are, at least 1.
        rng: Draws the pairs.

    Returns:
        (int((times - 1) count), 2).
    """
    pairs = int((times - 1) * count) if count > 1 else 0
    first = rng.integers(count, size=pairs) if pairs else np.empty(0, dtype=np.intp)
    other = rng.integers(1, count, size=pairs) if pairs else first
    return np.stack([first, (first + other) % max(count, 1)], axis=1).astype(np.intp)


@dataclass(frozen=True)
class Preprocessing:
    """Everything between the store and the model, for every subject; saved with the model.

    Args:
        patch_size: Voxels of a patch.
        length: Voxels the model reads, the same for all subjects.
        subjects: The transform of each subject.
        settings: How it was made (order, roi, standardise, statistics), for the reader.
        transductive: Whether the model has seen test responses, without their pictures.
    """

    patch_size: int
    length: int
    subjects: dict[str, VoxelTransform]
    settings: dict[str, str] = field(default_factory=dict)
    transductive: bool = False

    def __getitem__(self, subject: str) -> VoxelTransform:
        if subject not in self.subjects:
            raise DataError(
                f"the model knows no subject {subject!r}",
                one_of("the subject", subject, self.subjects),
            )
        return self.subjects[subject]

    def of(self, subject: str, split: str) -> VoxelTransform:
        """The transform of a subject's rows of a split.

        MinD-Vis leaves test responses of one data set as they are, padded alone.
        """
        transform = self[subject]
        return transform.unscaled if split == "test" and transform.raw_test else transform

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `preprocessing.json` into a folder."""
        content = {name: value for name, value in vars(self).items() if name != "subjects"}
        subjects = {name: transform.to_dict() for name, transform in self.subjects.items()}
        write_json(Path(directory) / FILE_NAME, {**content, "subjects": subjects})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Preprocessing":
        """Read it from the file, a model's folder, or a run's folder.

        Raises:
            DataError: There is none, or it is damaged.
        """
        file = find_saved(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            subjects = {
                name: VoxelTransform.from_dict(value)
                for name, value in content.pop("subjects").items()
            }
            return cls(subjects=subjects, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} is damaged ({error})", remedy="export the model again"
            ) from error


def find_saved(path: str | os.PathLike[str]) -> Path:
    """The preprocessing file of a run, of a model, or the file itself."""
    root = Path(path)
    for file in (root, root / FILE_NAME, root / "model" / FILE_NAME):
        if file.is_file():
            return file
    raise DataError(
        f"{path} holds no {FILE_NAME}", "the folder of a run or of a saved model, or the file"
    )
