"""`mindvis prepare god`: Generic Object Decoding (Kamitani lab), both forms it is passed on in."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.schema import StimulusData, SubjectData
from mindvis.errors import SourceError
from preprocessing.bdata import BData, open_bdata
from preprocessing.facts import (
    NOT_CONTENT,
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
)
from preprocessing.god_npz import npz_files, npz_stimuli, npz_subject
from preprocessing.imagenet import class_names, matched_pictures, picture_name, synset_of
from preprocessing.pictures import PictureRows
from preprocessing.quality import response_quality
from preprocessing.tables import lattice, voxel_places
from preprocessing.trials import Test, average_test, count_repeats, stored_columns
from preprocessing.workers import Workers
from preprocessing.write import SubjectWork, prepare_store

_VC = (4466, 4404, 4643, 4133, 4370)


def _subjects(**trials: int) -> dict[str, SubjectFacts]:
    return {
        f"sub-{number:02d}": SubjectFacts(trials=trials, voxels={"VC": count})
        for number, count in enumerate(_VC, start=1)
    }


FACTS = Facts(
    dataset="Generic Object Decoding",
    subjects=_subjects(train=1200, test=1750, imagery=500),
    splits="test: 50 pictures of 50 classes that no training picture belongs to, 35 trials each",
    licence="CC0 (responses); the pictures may not be passed on",
    citation="Horikawa & Kamitani (2017), Nature Communications 8:15037",
    where="https://figshare.com/articles/dataset/Generic_Object_Decoding/7387130",
    tr=3.0,
)
#: what the column DataType means: split and kind
_TYPES = {1: ("train", "task"), 2: ("test", "task"), 3: ("", "imagery")}
Form = Literal["bdata", "npz"]


def prepare_god(
    source: str,
    store: str = "god.h5",
    subjects: str | list[str] | None = None,
    form: Form = "bdata",
    images: str = "images",
    image_size: int | None = 256,
    test: Test = "single",
    imagery: bool = True,
    check: bool = False,
) -> None:
    """Prepare Generic Object Decoding: 1,200 training and 50 test pictures, five subjects.

    Responses are stored as they are, with all regions of the files (VC, LVC, HVC, V1 to V4, LOC,
    FFA, PPA). Classes are named where SOURCE has imagenet_class_index.json.

    Args:
        source: Folder of Subject1.h5 to Subject5.h5 (bdata), or of sbj_1.npz to sbj_5.npz with
            their pictures and labels (npz, the form that MinD-Vis reads).
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as sub-01,sub-03; all by default.
        form: Which of the two.
        images: Pictures. bdata: a folder, relative to source, with files such as
            n03626115_19498.JPEG in any folders below it, or "none". npz: the file, by default
            images_256.npz.
        image_size: Side in pixels of the stored pictures (centre square); null keeps them.
        test: Test trials one by one, or the mean of each picture's.
        imagery: Keep the trials in which pictures were imagined (bdata): kind "imagery", no split.
        check: Say which files are missing, and do nothing.

    Raises:
        SourceError: If files or pictures are missing, or are not what their form says.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
    root, names = Path(source), chosen_subjects(FACTS, subjects)
    options["source"] = root.resolve().name
    expected = expected_files(root, names, form, images)
    if not files_are_there(expected, FACTS, check) and (form == "npz" or images == "none"):
        return
    files = [file.path for file in expected if file.path.is_file()]
    if form == "npz":
        works = [
            SubjectWork(name, partial(npz_subject, root, name, test), (), files) for name in names
        ]
        stimuli, pictures = npz_stimuli(root, names, images, image_size), []
    else:
        opened = {name: open_bdata(subject_file(root, name)) for name in names}
        shown = sorted({picture for data in opened.values() for picture in stimulus_names(data)})
        pictures = [] if images == "none" else matched_pictures(shown, root / images, check)
        if check:
            return
        stimuli = _stimuli(shown, pictures, image_size, class_names(root)) if pictures else None
        works = [
            SubjectWork(name, partial(bdata_subject, data, test, imagery), (), [data.path])
            for name, data in opened.items()
        ]
    counts = {"train": 1200, "test": 1750 if test == "single" else 50}
    counts["imagery"] = 500 if form == "bdata" and imagery else 0
    facts = replace(FACTS, subjects=_subjects(**counts))
    prepare_store(Path(store), works, stimuli, facts, options, Workers(), pictures)


def subject_file(source: Path, name: str) -> Path:
    """Subject3.h5 of "sub-03"."""
    return source / f"Subject{int(name.removeprefix('sub-'))}.h5"


def expected_files(
    source: Path, subjects: Sequence[str], form: Form, images: str
) -> list[ExpectedFile]:
    """The files of some subjects, their pictures and labels."""
    if form == "npz":
        return npz_files(source, subjects, images)
    files = [ExpectedFile(subject_file(source, name), f"responses of {name}") for name in subjects]
    if images != "none":
        files.append(ExpectedFile(source / images, "folder of the pictures"))
    return files


def stimulus_names(data: BData) -> list[str]:
    """The picture of each sample; of an imagined one, the test picture of its class."""
    return [picture_name(value) for value in data.value("stimulus_id", "Label").tolist()]


def _stimuli(
    names: list[str], paths: list[Path], size: int | None, classes: dict[str, str]
) -> StimulusData:
    synsets = [synset_of(name) for name in names]
    labels = [classes.get(synset, synset) for synset in synsets]
    return StimulusData(PictureRows(paths, size), names, labels, synsets)


def bdata_subject(data: BData, test: Test, imagery: bool) -> SubjectData:
    """What a store keeps of one file.

    Raises:
        SourceError: If columns are missing, samples are of no known type, or values not finite.
    """
    places = np.flatnonzero(data.member("VoxelData"))
    trials = _trials(data)
    kept = np.flatnonzero((trials["kind"] == "task") | imagery)
    responses = data.read(places)[kept].astype(np.float32)
    broken = int((~np.isfinite(responses)).any(axis=0).sum())
    if broken:
        raise SourceError(f"{data.path} has NaN in {broken} of {len(places)} voxels", "none")
    trials = trials.iloc[kept].reset_index(drop=True)
    quality = response_quality(responses, trials)
    if test == "averaged":
        responses, trials = average_test(responses, trials)
    ijk, affine, shape = _voxels(data, places)
    rois = {
        key.removeprefix("ROI_"): (values == 1)[places]
        for key, values in data.columns.items()
        if key.startswith("ROI_")
    }
    return SubjectData(
        responses=responses,
        trials=stored_columns(trials),
        ijk=ijk,
        affine=affine,
        shape=shape,
        rois={name: member for name, member in rois.items() if member.any()},
        quality=quality,
        units="as given",
        tr=FACTS.tr or float("nan"),
    )


def _trials(data: BData) -> pd.DataFrame:
    types = data.value("DataType")
    for unknown in sorted(set(types.tolist()) - set(_TYPES))[:1]:
        raise SourceError(
            f"{data.path} has samples of DataType {unknown:g}", "1 train, 2 test, 3 imagery"
        )
    names = stimulus_names(data)
    sessions = data.value("Session") if "Session" in data.columns else np.ones(data.rows)
    table = pd.DataFrame(
        {
            "stimulus": names,
            "condition": [synset_of(name) for name in names],
            "split": [_TYPES[int(value)][0] for value in types],
            "kind": [_TYPES[int(value)][1] for value in types],
            "session": sessions.astype(int),
            "run": _run_numbers(types, sessions, data.value("Run")),
            "onset": 0.0,
        }
    )
    count_repeats(table)
    return table


def _run_numbers(
    types: NDArray[np.float64], sessions: NDArray[np.float64], runs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Numbers of runs, counted on where training, test and imagery each begin with 1."""
    whole = pd.DataFrame({"session": sessions, "run": runs})
    if len(whole.assign(type=types).drop_duplicates()) == len(whole.drop_duplicates()):
        return runs.astype(np.int64)
    codes, _ = pd.factorize(pd.MultiIndex.from_arrays([types, sessions, runs]))
    return np.asarray(codes, dtype=np.int64) + 1


def _voxels(
    data: BData, places: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float64], tuple[int, int, int]]:
    """Indices, affine and volume of the voxels, from their coordinates in millimetres."""
    keys = [f"voxel_{axis}" for axis in "xyz"]
    if not all(key in data.columns for key in keys):
        return voxel_places(None, len(places))
    return lattice(np.stack([data.columns[key][places] for key in keys], axis=1), data.path.name)
