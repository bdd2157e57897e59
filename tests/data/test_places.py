"""Voxels are the same when they lie at the same places in the same order, however many they are."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mindvis.data.places import VoxelPlaces, check_places, difference, unknown
from mindvis.data.recordings import Recipe, fit_preprocessing, open_recordings
from mindvis.data.schema import Grayordinates, StimulusData, SubjectData
from mindvis.data.store import VoxelStore
from mindvis.data.synthetic import make_store
from mindvis.data.transforms import Preprocessing
from mindvis.data.writer import write_store
from mindvis.errors import CheckpointError


@dataclass
class Stored:
    """What the places of a stored subject are read from."""

    ijk: np.ndarray
    affine: np.ndarray = field(default_factory=lambda: np.diag([2.0, 2, 3, 1]))
    grayordinates: Grayordinates | None = None
    rois: dict = field(default_factory=dict)
    name: str = "sub-01"
    store: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(path=Path("s.h5")))


def voxels(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.argwhere(np.ones((6, 5, 4))))[:count].astype(np.int32)


@given(count=st.integers(2, 60), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_every_other_order_is_refused(count, seed):
    ijk = voxels(count, seed)
    order = np.random.default_rng(seed + 1).permutation(count)
    assume((order != np.arange(count)).any())
    model, moved = VoxelPlaces.of(Stored(ijk)), (order != np.arange(count)).sum()
    assert difference(model, Stored(ijk.copy())) == ""
    found = difference(model, Stored(ijk[order]))
    assert found == f"they are the same voxels in another order ({moved} of {count} moved)"


@given(count=st.integers(2, 60), seed=st.integers(0, 999), shift=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_every_other_place_is_refused(count, seed, shift):
    ijk = voxels(count, seed)
    other = ijk.copy()
    other[seed % count, 0] += 6 * shift
    found = difference(VoxelPlaces.of(Stored(ijk)), Stored(other))
    assert found == f"1 of {count} voxels lie at other places than those of the model"


def test_places_are_compared_in_millimetres():
    ijk, affine = voxels(20), np.diag([2.0, 2, 3, 1])
    model = VoxelPlaces.of(Stored(ijk, affine))
    cropped = affine.copy()
    cropped[:3, 3] = -2 * np.diag(affine)[:3]
    assert difference(model, Stored(ijk + 2, cropped)) == ""  # the same places in a larger grid
    assert "20 of 20 voxels lie at other places" in difference(model, Stored(ijk + 2, affine))


def test_vertices_are_compared_by_surface_and_number():
    ijk, vertex = np.full((4, 3), -1, dtype=np.int32), np.array([3, 4, 5, 6], dtype=np.int32)
    names = ["CORTEX_LEFT", "CORTEX_LEFT", "CORTEX_RIGHT", "CORTEX_RIGHT"]

    def stored(names, vertex):
        surface = Grayordinates(names, vertex, {"CORTEX_LEFT": 9, "CORTEX_RIGHT": 9})
        return Stored(ijk, grayordinates=surface)

    model = VoxelPlaces.of(stored(names, vertex))
    assert difference(model, stored(names, vertex)) == ""
    assert "another order (4 of 4" in difference(model, stored(names[::-1], vertex[::-1]))
    assert "2 of 4 voxels lie at other" in difference(model, stored(names[:1] * 4, vertex))
    assert unknown(model, stored(names, vertex)) == ""


def test_subject_and_regions_are_compared():
    ijk = voxels(8)
    mask = np.arange(8) < 4
    model = VoxelPlaces.of(Stored(ijk, rois={"V1": mask, "LOC": ~mask}), ["V1"])
    assert difference(model, Stored(ijk, rois={"V1": mask})) == ""  # it never read LOC
    assert "region V1, which the model reads, has other voxels" in difference(
        model, Stored(ijk, rois={"V1": ~mask})
    )
    assert "reads region V1, which sub-01 does not have" in difference(model, Stored(ijk))
    assert "fitted to subject sub-01, not to sub-02" in difference(
        model, Stored(ijk, rois={"V1": mask}, name="sub-02")
    )


def test_what_cannot_be_compared_is_said():
    known, line = Stored(voxels(8)), Stored(np.eye(8, 3, dtype=np.int32) * 0)
    line.ijk[:, 0] = np.arange(8)  # numbers, not places
    alone = "so that they were matched by their number alone"
    assert unknown(None, known) == (
        f"the model does not record the places of sub-01's voxels, {alone}"
    )
    assert unknown(VoxelPlaces.of(line), known) == (
        f"the model was fitted to voxels of sub-01 without places, {alone}"
    )
    assert unknown(VoxelPlaces.of(known), line) == (
        f"s.h5 holds no places of sub-01's voxels, {alone}"
    )
    assert unknown(VoxelPlaces.of(known), known) == ""
    assert difference(VoxelPlaces.of(known), line) == ""


@pytest.fixture
def reversed_store(tmp_path):
    """A store, and one with the voxels of each subject in reverse order."""
    make_store(tmp_path / "a.h5")
    with VoxelStore(tmp_path / "a.h5") as old:
        people = [
            (s.name, SubjectData(s.responses()[:, ::-1], s.trials, s.ijk[::-1], s.affine, s.shape))
            for s in old
        ]
        shown = old.stimuli
        stimuli = StimulusData(shown.images(), shown.ids, shown.labels, shown.categories)
        write_store(tmp_path / "b.h5", people, stimuli, {})
    return tmp_path


def test_places_travel_with_the_preprocessing_and_old_files_open(reversed_store):
    one, other = (open_recordings(str(reversed_store / f"{k}.h5")) for k in "ab")
    rows = [np.flatnonzero(r.stored.trials["split"] == "train") for r in one]
    fit_preprocessing(one, rows, Recipe(patch_size=4)).save(reversed_store)
    read = Preprocessing.load(reversed_store)
    fit_preprocessing(one, rows, Recipe(patch_size=4), read)  # the same store is taken
    sentence = r"sub-01 in .*b.h5 are not those of the model: they are the same voxels in another"
    with pytest.raises(CheckpointError, match=sentence):
        fit_preprocessing(other, rows, Recipe(patch_size=4), read)
    for name, transform in read.subjects.items():
        old = transform.to_dict()
        del old["places"]
        read.subjects[name] = type(transform).from_dict(old)
    fit_preprocessing(other, rows, Recipe(patch_size=4), read)  # nothing is known to compare
    check_places(None, other[0].stored)
