"""Writing a VoxelStore: atomically, subject by subject, the same bytes for the same content."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from mindvis.data.hdf5 import Rows, create, gather, put, put_attribute, put_texts
from mindvis.data.reader import StoredSubject, VoxelStore
from mindvis.data.schema import (
    FORMAT,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    TRIAL_COLUMNS,
    Grayordinates,
    StimulusData,
    SubjectData,
    check_unique,
)
from mindvis.data.stimuli import StoredStimuli
from mindvis.errors import StoreError
from mindvis.files import atomic_path

BLOCK_BYTES = 32 * 1024 * 1024


def write_store(
    path: str | os.PathLike[str],
    subjects: Iterable[tuple[str, SubjectData]],
    stimuli: StimulusData | None,
    attrs: Mapping[str, str],
) -> None:
    """Write subjects and pictures into a store, beside those it already holds.

    The file is written anew under another name and takes its place when it is whole and verified,
    so that a killed process leaves the old store. Subjects and stimuli of the same name are
    replaced, others kept, all in the order of their names; no time is stored, so that the same
    content gives the same bytes. One block of rows is in memory at a time, besides what `subjects`
    yields.

    Args:
        path: The store, new or existing.
        subjects: Pairs of name and data; a generator holds one subject in memory at a time.
        stimuli: Pictures that the trials refer to; None where there are none.
        attrs: dataset, licence, citation, created, command, software: text about the whole file.

    Raises:
        StoreError: Parts disagree in size, ids occur twice, or trials refer to pictures that
            are absent; the existing store is untouched.
    """
    target = Path(path)
    with ExitStack() as stack:
        old = stack.enter_context(VoxelStore(target)) if target.exists() else None
        partial = stack.enter_context(atomic_path(target))
        with h5py.File(partial, "w", libver=("v110", "v110"), track_order=False) as file:
            _write_attributes(file, {**(old.attrs if old else {}), **attrs})
            for name, subject in _merged(subjects, old):
                _write_subject(file, name, subject)
            _write_stimuli(file, stimuli, old)
        with VoxelStore(partial, name=str(target)):
            pass


def _write_attributes(file: h5py.File, attrs: Mapping[str, str]) -> None:
    for name, value in sorted({**attrs, "format": FORMAT}.items()):
        put_attribute(file, name, str(value))
    file.attrs["version"] = np.int64(SCHEMA_VERSION)


def _merged(
    subjects: Iterable[tuple[str, SubjectData]], old: VoxelStore | None
) -> Iterator[tuple[str, SubjectData | StoredSubject]]:
    """New subjects as they come, each after the kept ones that sort before it."""
    kept = list(old or ())
    given: set[str] = set()
    for name, subject in subjects:
        if name in given:
            raise StoreError(f"subject {name!r} is given twice", "each subject once")
        given.add(name)
        while kept and kept[0].name < name:
            yield kept[0].name, kept.pop(0)
        kept = [other for other in kept if other.name != name]
        yield name, subject
    yield from ((other.name, other) for other in kept)


def _write_subject(file: h5py.File, name: str, subject: SubjectData | StoredSubject) -> None:
    _check_name(name, "subject")
    parent = file.require_group("subjects")
    if name in parent:  # new data that came out of order, after the kept data was copied
        del parent[name]
    group = parent.create_group(name)
    rows = subject.rows if isinstance(subject, StoredSubject) else subject.responses
    if 0 in rows.shape:
        raise StoreError(
            f"subject {name!r} has {rows.shape[0]} responses of {rows.shape[1]} voxels",
            "at least one of each",
        )
    _copy_rows(group, "responses", rows, np.float32)
    put_attribute(group["responses"], "units", subject.units)
    put_attribute(group["responses"], "space", subject.space)
    group["responses"].attrs["tr"] = np.float64(subject.tr)
    _write_trials(group.create_group("trials"), name, subject)
    put(group, "voxels/ijk", np.asarray(subject.ijk, dtype=np.int32))
    put(group, "voxels/affine", np.asarray(subject.affine, dtype=np.float64))
    put(group, "voxels/shape", np.asarray(subject.shape, dtype=np.int64))
    if subject.grayordinates is not None:
        _write_grayordinates(group, subject.grayordinates)
    for folder, members, dtype in (
        ("rois", subject.rois, np.bool_),
        ("quality", subject.quality, np.float32),
    ):
        group.create_group(folder)
        for key in sorted(members):
            _check_name(key, folder)
            put(group, f"{folder}/{key}", np.asarray(members[key], dtype=dtype))


def _write_grayordinates(group: h5py.Group, places: Grayordinates) -> None:
    put_texts(group, "voxels/structure", list(places.structure))
    put(group, "voxels/vertex", np.asarray(places.vertex, dtype=np.int32))
    for name, size in sorted(places.surfaces.items()):
        group["voxels/vertex"].attrs[name] = np.int64(size)


def _write_trials(group: h5py.Group, name: str, subject: SubjectData | StoredSubject) -> None:
    missing = [column for column in TRIAL_COLUMNS if column not in subject.trials]
    if missing:
        raise StoreError(
            f"the trials of subject {name} have no column {missing[0]!r}",
            f"the columns {', '.join(TRIAL_COLUMNS)}",
        )
    for column in TRIAL_COLUMNS:
        values = subject.trials[column].tolist()
        if column in TEXT_COLUMNS:
            put_texts(group, column, [str(value) for value in values])
        else:
            dtype = np.float64 if column == "onset" else np.int64
            put(group, column, np.asarray(values, dtype=dtype))


def _copy_rows(group: h5py.Group, name: str, rows: Rows, dtype: npt.DTypeLike) -> None:
    """Write rows block by block, so that the source may be larger than memory."""
    dataset = create(group, name, rows.shape, dtype)
    step = max(1, BLOCK_BYTES // max(1, dataset.dtype.itemsize * int(np.prod(rows.shape[1:]))))
    for start in range(0, rows.shape[0], step):
        dataset[start : start + step] = rows[slice(start, start + step)]


@dataclass(frozen=True)
class _Picture:
    """Where a picture comes from and what it is called."""

    name: str
    source: Rows
    row: int
    label: str
    category: str
    strata: frozenset[str]


def _write_stimuli(file: h5py.File, new: StimulusData | None, old: VoxelStore | None) -> None:
    pictures = _united(new, old.stimuli if old else None)
    if not pictures:
        return
    sizes = {picture.source.shape[1:] for picture in pictures}
    if len(sizes) > 1:
        raise StoreError(
            f"new pictures and those of the existing store differ in size: {sorted(sizes)}",
            "one size for all",
            "write a new store, or prepare all subjects with one image size",
        )
    group = file.create_group("stimuli")
    put_texts(group, "id", [picture.name for picture in pictures])
    put_texts(group, "label", [picture.label for picture in pictures])
    put_texts(group, "category", [picture.category for picture in pictures])
    for name in _strata_names(new, old.stimuli if old else None):
        _check_name(name, "stratum")
        put(group, f"strata/{name}", np.array([name in picture.strata for picture in pictures]))
    shape = sizes.pop()
    images = create(group, "images", (len(pictures), *shape), np.uint8)
    step = max(1, BLOCK_BYTES // max(1, int(np.prod(shape))))
    for start in range(0, len(pictures), step):
        images[start : start + step] = _gather_pictures(pictures[start : start + step])


def _strata_names(new: StimulusData | None, old: StoredStimuli | None) -> list[str]:
    return sorted({*(new.strata if new else ()), *(old.strata if old else ())})


def _united(new: StimulusData | None, old: StoredStimuli | None) -> list[_Picture]:
    """Pictures of both by id, the new one where both have it, in the order of the ids.

    What a new picture does not say of a stratum that the store has is false.
    """
    found: dict[str, _Picture] = {}
    if old is not None:
        found |= _pictures(old.rows, old)
    if new is not None:
        check_unique(new.ids, "the ids of the stimuli")
        lengths = {len(new.ids), len(new.labels), len(new.categories), new.images.shape[0]}
        if len(lengths) > 1:
            raise StoreError(
                f"{new.images.shape[0]} pictures come with {len(new.ids)} ids, {len(new.labels)} "
                f"labels and {len(new.categories)} categories",
                "one of each for each picture",
            )
        for name, members in new.strata.items():
            if np.shape(members) != (len(new.ids),):
                raise StoreError(
                    f"the stratum {name!r} has the shape {np.shape(members)}",
                    f"({len(new.ids)},), one value for each picture",
                )
        _check_pictures(new.images)
        found |= _pictures(new.images, new)
    return [found[name] for name in sorted(found)]


def _pictures(rows: Rows, stimuli: StimulusData | StoredStimuli) -> dict[str, _Picture]:
    members: list[set[str]] = [set() for _ in stimuli.ids]
    for stratum, inside in stimuli.strata.items():
        for row in np.flatnonzero(inside):
            members[row].add(stratum)
    columns = zip(stimuli.ids, stimuli.labels, stimuli.categories, members, strict=True)
    return {
        name: _Picture(name, rows, row, label, category, frozenset(strata))
        for row, (name, label, category, strata) in enumerate(columns)
    }


def _check_pictures(images: Rows) -> None:
    dtype = np.asarray(images[slice(0, 1)]).dtype
    if dtype != np.uint8 or len(images.shape) != 4 or images.shape[-1] != 3:
        raise StoreError(
            f"stimuli are {dtype} of shape {images.shape}", "uint8 (stimuli, height, width, 3)"
        )


def _gather_pictures(pictures: list[_Picture]) -> npt.NDArray[np.uint8]:
    out = np.empty((len(pictures), *pictures[0].source.shape[1:]), dtype=np.uint8)
    for source in {id(picture.source): picture.source for picture in pictures}.values():
        places = [place for place, item in enumerate(pictures) if item.source is source]
        out[places] = gather(source, [pictures[place].row for place in places])
    return out


def _check_name(name: str, what: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise StoreError(
            f"{name!r} cannot name a {what} in a store", "a name without '/' or a dot in front"
        )
