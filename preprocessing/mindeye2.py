"""NSD as MindEye2 arranged it: betas of all trials in one file a subject, standardised already."""

import io
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError
from preprocessing.betas import Hdf5Rows, dataset_of, opened_hdf5
from preprocessing.damage import BROKEN
from preprocessing.facts import ExpectedFile, Facts, files_are_there
from preprocessing.nsd_design import (
    PICTURES,
    RUN_TRIALS,
    TRIALS,
    Split,
    sessions_of,
    stimulus_id,
)
from preprocessing.nsd_pictures import LARGEST, nsd_stimuli
from preprocessing.orientation import resize, to_uint8
from preprocessing.quality import response_quality
from preprocessing.trials import count_repeats, stored_columns
from preprocessing.workers import Workers
from preprocessing.write import SubjectWork, prepare_store

IMAGES = "coco_images_224_float16.hdf5"
MASKS = "brain_region_masks.hdf5"
_PICTURE, _TRIAL, _COLUMNS = 0, 5, 17  # of behav.npy
_MEMBER_BYTES, _MOST = 1 << 20, 1e6


def is_mindeye2(source: Path) -> bool:
    """Whether a folder holds MindEye2's files."""
    return any(True for _ in source.glob("betas_all_subj0*.hdf5"))


def prepare_mindeye2(
    source: Path,
    store: Path,
    names: Sequence[str],
    facts: Facts,
    split: Split,
    sessions: Sequence[int] | None,
    image_size: int | None,
    options: dict[str, Any],
    workers: Workers,
    check: bool,
) -> None:
    """Write the subjects of MindEye2's folder into a store.

    Raises:
        SourceError: If files are missing, damaged or contradict each other.
    """
    if not files_are_there(expected_files(source, names, split), facts, check):
        return
    tables = {name: trial_table(source, name, split, sessions) for name in names}
    works = [
        SubjectWork(name, partial(record, source, name, table), (), _files(source, name, split))
        for name, table in tables.items()
    ]
    shown = np.unique(np.concatenate([table["picture"] for table in tables.values()]))
    images = ChannelsFirst(source / IMAGES, shown, image_size)
    stimuli = nsd_stimuli(shown, images, source / "nsd_stim_info_merged.csv")
    prepare_store(store, works, stimuli, facts, options, workers, [source / IMAGES])


def expected_files(source: Path, names: Sequence[str], split: Split) -> list[ExpectedFile]:
    """All files of some subjects."""
    files = [
        ExpectedFile(source / IMAGES, "the pictures"),
        ExpectedFile(source / MASKS, "regions of all subjects", required=False),
    ]
    for name in names:
        files.append(ExpectedFile(betas_path(source, name), f"betas of {name}"))
        files.append(ExpectedFile(_folder(source, name) / "train" / "*.tar", f"trials of {name}"))
        test = _folder(source, name) / _test_folder(split) / "*.tar"
        files.append(ExpectedFile(test, f"test trials of {name}"))
    return files


def betas_path(source: Path, name: str) -> Path:
    """The betas of a subject."""
    return source / f"betas_all_subj{name.removeprefix('sub-')}_fp32_renorm.hdf5"


def _folder(source: Path, name: str) -> Path:
    return source / "wds" / f"subj{name.removeprefix('sub-')}"


def _test_folder(split: Split) -> str:
    return "new_test" if split == "1000" else "test"


def _tars(source: Path, name: str, split: Split) -> dict[str, list[Path]]:
    folders = {"train": "train", "test": _test_folder(split)}
    return {
        kind: sorted(_folder(source, name).joinpath(folder).glob("*.tar"))
        for kind, folder in folders.items()
    }


def _files(source: Path, name: str, split: Split) -> list[Path]:
    tars = [path for paths in _tars(source, name, split).values() for path in paths]
    masks = [source / MASKS] if (source / MASKS).is_file() else []
    return [betas_path(source, name), *tars, *masks]


def read_behaviour(path: Path) -> NDArray[np.float64]:
    """The trials of a WebDataset tar, (trials, 17), out of its members `*.behav.npy`.

    Nothing is extracted or unpickled; names of members are never used as paths.

    Raises:
        SourceError: If the archive or a member is damaged, or has other columns.
    """
    rows = []
    try:
        with tarfile.open(path, "r:") as archive:  # compressed ones could unpack to anything
            for member in archive:
                if not member.isfile() or not member.name.endswith(".behav.npy"):
                    continue  # past_behav, future_behav and olds_behav are of other trials
                if member.size > _MEMBER_BYTES:
                    raise ValueError(f"{member.name} has {member.size} bytes")
                file = archive.extractfile(member)
                content = io.BytesIO(file.read() if file else b"")
                rows.append(np.lib.format.read_array(content, allow_pickle=False))
    except BROKEN as error:
        raise SourceError(
            f"{path} cannot be read ({error})", "a tar with members *.behav.npy"
        ) from None
    shapes = {row.shape[-1:] for row in rows}
    if shapes != {(_COLUMNS,)} or any(row.dtype.kind not in "iuf" for row in rows):
        raise SourceError(
            f"the members *.behav.npy of {path} have {shapes or 'no'} columns", f"{_COLUMNS}"
        )
    return np.concatenate([row.reshape(-1, _COLUMNS) for row in rows]).astype(np.float64)


def trial_table(
    source: Path, name: str, split: Split, sessions: Sequence[int] | None
) -> pd.DataFrame:
    """The trials of a subject, in order of time, with `picture` and the row of its betas.

    Raises:
        SourceError: If a trial is named twice, or its numbers are no picture and no trial.
    """
    blocks = []
    for kind, paths in _tars(source, name, split).items():
        numbers = np.concatenate([read_behaviour(path) for path in paths])
        numbers = numbers[:, [_PICTURE, _TRIAL]]
        whole = np.array_equal(numbers, np.rint(numbers))
        if not whole or numbers.min() < 0 or numbers.max() > _MOST:
            raise SourceError(
                f"{_folder(source, name)} has trials whose picture or number is no whole number",
                "picture and trial, counted from 0, in columns 0 and 5",
            )
        pictures, trials = numbers.astype(np.int64).T
        blocks.append(pd.DataFrame({"picture": pictures, "trial": trials, "split": kind}))
    table = pd.concat(blocks).sort_values("trial", kind="stable", ignore_index=True)
    _check_trials(table, source, name)
    table["session"] = table["trial"] // TRIALS + 1
    chosen = sessions_of(int(name.removeprefix("sub-")), split, sessions)
    table = table[table["session"].isin(chosen)].reset_index(drop=True)
    if table.empty:
        raise SourceError(f"{name} has no trial in the sessions {chosen}", "at least one")
    ends = np.cumsum(RUN_TRIALS)
    table = table.assign(
        stimulus=[stimulus_id(picture) for picture in table["picture"]],
        condition="",
        run=np.searchsorted(ends, table["trial"] % TRIALS, side="right") + 1,
        repeat=0,
        onset=np.nan,
        kind="task",
    )
    count_repeats(table)
    return table


def _check_trials(table: pd.DataFrame, source: Path, name: str) -> None:
    twice = table["trial"].duplicated()
    if twice.any():
        raise SourceError(
            f"{_folder(source, name)} has the trial {table['trial'][twice].iloc[0]} twice",
            "each trial in one split",
        )
    if table["picture"].max() >= PICTURES:
        raise SourceError(
            f"{_folder(source, name)} names the picture {table['picture'].max()}",
            f"numbers from 0 to {PICTURES - 1}",
        )


def record(source: Path, name: str, table: pd.DataFrame) -> SubjectData:
    """What the store keeps of a subject, its responses still in MindEye2's file."""
    rows = Hdf5Rows(betas_path(source, name), "betas", 2, table["trial"].to_numpy(np.intp))
    voxels = rows.shape[1]
    line = np.zeros((voxels, 3), dtype=np.int32)
    line[:, 0] = np.arange(voxels)
    return SubjectData(
        responses=rows,
        trials=stored_columns(table),
        ijk=line,
        affine=np.eye(4),
        shape=(voxels, 1, 1),
        rois=read_regions(source / MASKS, name, voxels),
        quality=response_quality(rows, table),
        units="z",
        space="none",
    )


def read_regions(path: Path, name: str, voxels: int) -> dict[str, NDArray[np.bool_]]:
    """Regions among the voxels of nsdgeneral, by name; empty without the file.

    Raises:
        SourceError: If a mask has another number of voxels.
    """
    regions = {"nsdgeneral": np.ones(voxels, dtype=np.bool_)}
    if not path.is_file():
        return regions
    with opened_hdf5(path) as file:
        group = file.get(f"subj{name.removeprefix('sub-')}") or {}
        for region in group:
            if region == "nsd_general":
                continue
            values = dataset_of(group, region, path, 1)[()]
            if values.shape != (voxels,):
                raise SourceError(
                    f"the region {region} of {name} in {path} has {values.size} voxels",
                    f"{voxels}, those of the betas",
                )
            regions[region] = values > 0
    return {region: inside for region, inside in regions.items() if inside.any()}


class ChannelsFirst:
    """Some pictures of `coco_images_224_float16.hdf5`, read when a slice is asked for.

    Args:
        path: The file; its array `images` is (73000, 3, 224, 224), in 0 to 1.
        pictures: Which, counted from 0.
        size: Side in pixels; None keeps them as they are.
    """

    def __init__(self, path: Path, pictures: NDArray[np.intp], size: int | None) -> None:
        self.rows = Hdf5Rows(path, "images", 4, pictures)
        if self.rows.shape[1] != 3 or max(self.rows.shape[2:]) > LARGEST:
            raise SourceError(
                f"'images' in {path} has the shape {self.rows.shape}",
                f"(pictures, 3, side, side), of {LARGEST} pixels at most",
            )
        self.path, self.size = path, size
        height, width = (size, size) if size else self.rows.shape[2:]
        self.shape: tuple[int, ...] = (len(pictures), height, width, 3)

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        values = np.asarray(self.rows[key], dtype=np.float32).transpose(0, 2, 3, 1)
        if not values.size:
            return np.empty((0, *self.shape[1:]), dtype=np.uint8)
        return resize(to_uint8(values, "0-1", f"'images' in {self.path}"), self.size)
