"""Vertices of a surface beside voxels: stored, read, appended to, checked, written back."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from mindvis.data.inspect import describe_store
from mindvis.data.store import Grayordinates, SubjectData, VoxelStore, write_store
from mindvis.errors import StoreError

LEFT, STEM = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_BRAIN_STEM"
VERTEX = np.array([4, 2, -1, 8, -1], np.int32)
IJK = np.array([[-1] * 3, [-1] * 3, [0, 1, 2], [-1] * 3, [1, 0, 3]], np.int32)
PLACES = Grayordinates([LEFT, LEFT, STEM, LEFT, STEM], VERTEX, {LEFT: 9})


@pytest.fixture
def subject(store):
    """Five responses of the tiny store as grayordinates."""
    with VoxelStore(store) as opened:
        tiny = opened["sub-01"]
        rest = tiny.trials[tiny.trials["kind"] == "rest"]
        return SubjectData(
            responses=tiny.responses(rest.index)[:, :5],
            trials=rest,
            ijk=IJK,
            affine=np.diag([2.0, 3, 4, 1]),
            shape=(2, 3, 4),
            rois={"V1": np.arange(5) < 2},
            quality={"snr": np.arange(5, dtype=np.float32)},
            grayordinates=PLACES,
        )


def write(path, **subjects):
    write_store(path, sorted(subjects.items()), None, {})
    return path


def test_places_come_back_also_after_appending(subject, tmp_path):
    path = write(tmp_path / "s.h5", b=subject)
    plain = replace(subject, grayordinates=None, ijk=np.eye(5, 3, dtype=np.int32)[[3, 0, 1, 2, 3]])
    plain.ijk[0] = (1, 1, 1)
    write(path, a=plain)
    with VoxelStore(path) as store:
        found = store["b"].grayordinates
        assert found.structure == PLACES.structure
        np.testing.assert_array_equal(found.vertex, VERTEX)
        assert found.surfaces == {LEFT: 9}
        np.testing.assert_array_equal(store["b"].ijk, IJK)
        assert store["a"].grayordinates is None
        with pytest.raises(
            StoreError, match=r"subject b has vertices of a surface; .*write-volume"
        ):
            store["b"].to_volume(np.zeros(5))
    assert "problems: none" in list(describe_store(path))


def test_two_rows_of_one_vertex_are_a_problem(subject, tmp_path):
    twice = replace(PLACES, vertex=np.array([4, 4, -1, 8, -1], np.int32))
    path = write(tmp_path / "s.h5", a=replace(subject, grayordinates=twice))
    assert "  a: 1 voxels share their place with another" in list(describe_store(path))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"vertex": np.array([4, 2, -1, 9, -1])},
            r"reach to 9 in .*LEFT; expected vertices below 9",
        ),
        ({"vertex": np.array([4, 2, -1, -1, -1])}, r"voxels/ijk of subject a .*inside the volume"),
        ({"surfaces": {}}, r"reach to 8 in CIFTI_STRUCTURE_CORTEX_LEFT; expected vertices below 0"),
        (
            {"vertex": np.array([4, 2])},
            r"voxels/vertex of a in .* has shape \(2,\); expected \(5,\)",
        ),
        ({"structure": [LEFT]}, r"voxels/structure of a in .* has shape \(1,\); expected \(5,\)"),
    ],
)
def test_places_that_are_none_are_refused(subject, tmp_path, change, match):
    with pytest.raises(StoreError, match=match):
        write(tmp_path / "s.h5", a=replace(subject, grayordinates=replace(PLACES, **change)))
    assert not (tmp_path / "s.h5").exists()


def test_store_without_structures_is_refused(subject, tmp_path):
    path = write(tmp_path / "s.h5", a=subject)
    with h5py.File(path, "r+") as file:
        del file["subjects/a/voxels/structure"]
    with pytest.raises(StoreError, match=r"no readable dataset 'voxels/structure'"):
        VoxelStore(path)
