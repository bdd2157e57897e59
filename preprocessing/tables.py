"""Trials, pictures and the record of a subject out of somebody's arrays."""

from collections.abc import Mapping
from dataclasses import replace
from unicodedata import normalize
from warnings import warn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import StimulusData, SubjectData
from mindvis.errors import SourceError
from preprocessing.formats import Array, as_texts
from preprocessing.orientation import ImageOptions, orient, resize, shared_range, to_uint8
from preprocessing.quality import response_quality
from preprocessing.sections import Section
from preprocessing.trials import count_repeats, stored_columns, warn_of_leaks

#: labels that say that there is none: BIDS' missing value, and NaN among numbers
NO_CLASS = frozenset({"", "n/a", "nan"})


def trial_table(
    sections: list[Section],
    arrays: Mapping[str, Array],
    how: ImageOptions,
    names: Mapping[str, str],
    tests: list[str],
    first_index: int,
) -> tuple[pd.DataFrame, StimulusData | None]:
    """A row for each response, and the pictures; equal pictures share an id.

    Raises:
        SourceError: If trials, pictures and classes differ in number, or a picture has two classes.
    """
    pictures: dict[bytes, tuple[str, NDArray[np.uint8], str]] = {}
    tables = []
    shown_keys = [section.images for section in sections if section.images]
    if shown_keys and how.scale == "auto":
        how = replace(how, scale=shared_range({key: arrays[key] for key in shown_keys}))
    for section in sections:
        count = len(arrays[section.responses])
        labels = _labels(section, arrays, names, count)
        stimuli = [""] * count
        if section.images:
            shown = _shown(section, arrays, how, count, first_index)
            stimuli = _unite(shown, labels, section.split, pictures)
        splits = _splits(section, arrays, tests, count)
        tables.append(pd.DataFrame({"stimulus": stimuli, "condition": labels, "split": splits}))
    table = pd.concat(tables, ignore_index=True)
    table = table.assign(session=1, run=1, repeat=0, onset=0.0, kind="task")
    count_repeats(table)
    warn_of_leaks([table])
    return stored_columns(table), _stimuli(list(pictures.values()), how.size)


def _labels(
    section: Section, arrays: Mapping[str, Array], names: Mapping[str, str], count: int
) -> list[str]:
    if not section.labels:
        return [""] * count
    texts = as_texts(arrays[section.labels])
    if len(texts) != count:
        raise _unequal(section.labels, len(texts), section.responses, count)
    plain = [normalize("NFC", "" if text in NO_CLASS else text) for text in texts]
    return [names.get(text, text) for text in plain]


def _splits(
    section: Section, arrays: Mapping[str, Array], tests: list[str], count: int
) -> list[str]:
    if not section.split_key:
        return [section.split] * count
    texts = as_texts(arrays[section.split_key])
    if len(texts) != count:
        raise _unequal(section.split_key, len(texts), section.responses, count)
    if not set(texts) & set(tests):
        raise SourceError(
            f"{section.split_key!r} holds {', '.join(sorted(set(texts))[:5])}",
            f"{' or '.join(tests)} among them",
            "name the values of the test trials with --test_values",
        )
    return ["test" if text in tests else "train" for text in texts]


def _shown(
    section: Section, arrays: Mapping[str, Array], how: ImageOptions, count: int, first: int
) -> NDArray[np.uint8]:
    """The picture of each trial, uint8 (trials, H, W, 3)."""
    key = section.images or ""
    pictures = to_uint8(orient(arrays[key], how.layout, how.shape, repr(key)), how.scale, repr(key))
    if section.index:
        numbers = whole_numbers(arrays[section.index], section.index) - first
        if numbers.size != count:
            raise _unequal(section.index, numbers.size, section.responses, count)
        if numbers.min() < 0 or numbers.max() >= len(pictures):
            raise SourceError(
                f"{section.index!r} goes from {numbers.min() + first} to {numbers.max() + first}",
                f"numbers from {first} to {len(pictures) - 1 + first}, the pictures of {key!r}",
                "check --first_index",
            )
        return pictures[numbers]
    if len(pictures) != count:
        raise _unequal(key, len(pictures), section.responses, count)
    return pictures


def whole_numbers(values: Array, key: str) -> NDArray[np.int64]:
    """The values of a column as integers.

    Raises:
        SourceError: If they are something else, or absurdly large.
    """
    flat = np.ravel(values)
    plain = flat.dtype.kind in "iufb" and flat.size > 0
    if not plain or np.any(flat != np.rint(flat)) or np.abs(flat).max() > 2**40:
        raise SourceError(f"{key!r} is {values.dtype} of shape {values.shape}", "whole numbers")
    return flat.astype(np.int64)


def _unequal(key: str, found: int, responses: str, count: int) -> SourceError:
    return SourceError(
        f"{key!r} has {found} entries",
        f"{count}, one for each row of {responses!r}",
        "check the keys, and --image_layout for pictures",
    )


def _unite(
    shown: NDArray[np.uint8],
    labels: list[str],
    prefix: str,
    pictures: dict[bytes, tuple[str, NDArray[np.uint8], str]],
) -> list[str]:
    """Ids of the pictures of all trials; those not seen before are added to `pictures`."""
    ids = []
    for row, (picture, label) in enumerate(zip(shown, labels, strict=True)):
        known = pictures.setdefault(picture.tobytes(), (f"{prefix}-{row:04d}", picture, label))
        if known[2] != label:
            raise SourceError(
                f"the picture {known[0]} is {known[2]!r} in one trial and {label!r} in another",
                "one class for each picture",
            )
        ids.append(known[0])
    return ids


def _stimuli(
    pictures: list[tuple[str, NDArray[np.uint8], str]], size: int | None
) -> StimulusData | None:
    if not pictures:
        return None
    ids = [name for name, _, _ in pictures]
    labels = [label or name for name, _, label in pictures]
    images = resize(np.stack([picture for _, picture, _ in pictures]), size)
    return StimulusData(images, ids, labels, labels)


def subject_data(
    rows: NDArray[np.float32],
    arrays: Mapping[str, Array],
    trials: pd.DataFrame,
    rois: list[str],
    coordinates: str | None,
    tr: float | None,
) -> SubjectData:
    """The record that a store keeps.

    Raises:
        SourceError: If ROIs or coordinates do not fit the voxels.
    """
    ijk, affine, shape = voxel_places(arrays[coordinates] if coordinates else None, rows.shape[1])
    return SubjectData(
        responses=rows,
        trials=trials,
        ijk=ijk,
        affine=affine,
        shape=shape,
        rois={key.split("/")[-1]: _roi(key, arrays, rows.shape[1]) for key in rois},
        quality=response_quality(rows, trials),
        units="as given",
        tr=float("nan") if tr is None else tr,
    )


def stacked_responses(sections: list[Section], arrays: Mapping[str, Array]) -> NDArray[np.float32]:
    """The responses of all sections, (trials, voxels).

    Raises:
        SourceError: If numbers of voxels differ, or responses are not finite numbers.
    """
    blocks = {section.responses: _responses(section.responses, arrays) for section in sections}
    widths = {key: block.shape[1] for key, block in blocks.items()}
    if len(set(widths.values())) > 1:
        raise SourceError(f"the numbers of voxels differ: {widths}", "equal numbers")
    return np.concatenate([blocks[section.responses] for section in sections])


def _responses(key: str, arrays: Mapping[str, Array]) -> NDArray[np.float32]:
    values = arrays[key]
    broken = int((~np.isfinite(values)).any(axis=0).sum())
    if broken:
        raise SourceError(
            f"{key!r} has NaN or infinite values in {broken} of {values.shape[1]} voxels",
            "finite responses",
            "leave these voxels out of the array",
        )
    return _single(values, key)


def _single(values: Array, key: str) -> NDArray[np.float32]:
    """Finite values in single precision.

    Raises:
        SourceError: If some are too large for it.
    """
    with np.errstate(over="ignore"):
        rows: NDArray[np.float32] = values.astype(np.float32)
    if not np.isfinite(rows).all():
        raise SourceError(
            f"{key!r} has values up to {np.abs(values).max():g}",
            f"values below {np.finfo(np.float32).max:.3g}, the largest in single precision",
            "rescale the responses",
        )
    return rows


def _roi(key: str, arrays: Mapping[str, Array], voxels: int) -> NDArray[np.bool_]:
    inside = np.ravel(arrays[key]) > 0
    if inside.size != voxels:
        raise SourceError(f"the ROI {key!r} has {inside.size} values", f"{voxels}, one a voxel")
    return np.asarray(inside, dtype=np.bool_)


def voxel_places(
    coordinates: Array | None, voxels: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], tuple[int, int, int]]:
    """Voxel indices from zero, the affine that undoes the shift, and the volume's size."""
    if coordinates is None:
        line = np.zeros((voxels, 3), dtype=np.int32)
        line[:, 0] = np.arange(voxels)
        return line, np.eye(4), (voxels, 1, 1)
    if coordinates.shape != (voxels, 3) or not np.array_equal(coordinates, np.rint(coordinates)):
        raise SourceError(
            f"the coordinates are {coordinates.dtype} of shape {coordinates.shape}",
            f"whole numbers ({voxels}, 3)",
        )
    low = np.minimum(coordinates.min(axis=0), 0)
    ijk = (coordinates - low).astype(np.int32)
    affine = np.eye(4)
    affine[:3, 3] = low
    x, y, z = (int(size) for size in ijk.max(axis=0) + 1)
    return ijk, affine, (x, y, z)


def lattice(
    millimetres: NDArray[np.float64], source: str
) -> tuple[NDArray[np.int32], NDArray[np.float64], tuple[int, int, int]]:
    """Voxel indices, affine and the volume's size from coordinates that lie on a regular grid.

    Args:
        millimetres: (voxels, 3).
        source: What a warning calls it.

    Returns:
        As `voxel_places`; one line of voxels, after a warning, where the coordinates are no grid.
    """
    low = millimetres.min(axis=0)
    steps = np.array([_step(axis) for axis in millimetres.T])
    exact = (millimetres - low) / steps
    ijk = np.rint(exact)
    if not np.isfinite(exact).all() or np.abs(exact - ijk).max() > 0.05 or ijk.max() > 4096:
        warn(f"the voxels of {source} lie on no regular grid; their places are lost", stacklevel=2)
        return voxel_places(None, len(millimetres))
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = low
    x, y, z = (int(size) for size in ijk.max(axis=0) + 1)
    return ijk.astype(np.int32), affine, (x, y, z)


def _step(values: NDArray[np.float64]) -> float:
    """Distance of neighbours along one axis; 1 where there is one plane alone."""
    gaps = np.diff(np.unique(np.round(values, 3)))
    return float(gaps.min()) if gaps.size else 1.0
