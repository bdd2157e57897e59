"""The store gives back what was written, in the same bytes, and refuses what is damaged."""

import hashlib
import multiprocessing
import pickle
import time
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mindvis.data.hdf5 import chunk_rows, gather
from mindvis.data.store import (
    TRIAL_COLUMNS,
    StimulusData,
    SubjectData,
    VoxelStore,
    write_store,
)
from mindvis.data.synthetic import make_store
from mindvis.errors import StoreError


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def subject(rng, trials=6, voxels=5, **changes):
    table = pd.DataFrame(
        {
            "stimulus": ["apfel", "köder", "apfel", "köder", "", ""][:trials],
            "condition": ["a", "b", "a", "b", "rest", "rest"][:trials],
            "split": ["train", "train", "test", "test", "", ""][:trials],
            "session": [1, 1, 2, 2, 2, 2][:trials],
            "run": [1, 2, 3, 4, 5, 5][:trials],
            "repeat": [0, 0, 0, 0, 0, 1][:trials],
            "onset": [0.5, 1.25, 2.0, 3.0, 0.0, 7.0][:trials],
            "kind": ["task"] * min(trials, 4) + ["rest"] * max(0, trials - 4),
        }
    )
    made = SubjectData(
        responses=rng.normal(size=(trials, voxels)).astype(np.float32),
        trials=table,
        ijk=np.stack(np.unravel_index(rng.permutation(24)[:voxels], (2, 3, 4)), 1).astype(np.int32),
        affine=np.arange(16.0).reshape(4, 4),
        shape=(2, 3, 4),
        rois={"V1": np.arange(voxels) < 2, "LOC": np.arange(voxels) == 3},
        quality={"snr": rng.random(voxels).astype(np.float32)},
        units="beta",
        space="T1w",
        tr=1.5,
    )
    return replace(made, **changes)


def stimuli(rng, ids=("köder", "apfel"), size=(3, 4)):
    return StimulusData(
        images=rng.integers(0, 256, (len(ids), *size, 3)).astype(np.uint8),
        ids=list(ids),
        labels=[f"label of {name}" for name in ids],
        categories=[f"group of {name}" for name in ids],
    )


def test_gives_back_what_was_written(tmp_path, rng):
    written, pictures = subject(rng), stimuli(rng)
    write_store(tmp_path / "s.h5", [("sub-01", written)], pictures, {"dataset": "prüfung"})
    with VoxelStore(tmp_path / "s.h5") as store:
        read = store["sub-01"]
        assert store.subjects == ("sub-01",)
        assert store.attrs["dataset"] == "prüfung"
        np.testing.assert_array_equal(read.responses(), written.responses)
        assert read.responses().dtype == np.float32
        pd.testing.assert_frame_equal(read.trials, written.trials[list(TRIAL_COLUMNS)])
        np.testing.assert_array_equal(read.ijk, written.ijk)
        np.testing.assert_array_equal(read.affine, written.affine)
        assert (read.shape, read.units, read.space, read.tr) == ((2, 3, 4), "beta", "T1w", 1.5)
        assert (read.num_trials, read.num_voxels) == (6, 5)
        assert {name: mask.tolist() for name, mask in read.rois.items()} == {
            name: mask.tolist() for name, mask in written.rois.items()
        }
        np.testing.assert_array_equal(read.quality["snr"], written.quality["snr"])
        assert store.stimuli.ids == ["apfel", "köder"]  # by id, whatever the order they came in
        np.testing.assert_array_equal(store.stimuli.images(), pictures.images[::-1])
        assert store.stimuli.labels == ["label of apfel", "label of köder"]
        assert store.stimuli.index(["köder", "apfel", "köder"]).tolist() == [1, 0, 1]


def test_without_pictures_and_regions(tmp_path, rng):
    write_store(tmp_path / "s.h5", [("s", subject(rng, rois={}, quality={}))], None, {})
    with VoxelStore(tmp_path / "s.h5") as store:
        assert store.stimuli is None
        assert store["s"].rois == {}
        assert store["s"].quality == {}
        assert np.isfinite(store["s"].tr)


def test_same_content_gives_the_same_bytes_at_any_time(tmp_path):
    make_store(tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    make_store(tmp_path / "b.h5")
    assert digest(tmp_path / "a.h5") == digest(tmp_path / "b.h5")
    make_store(tmp_path / "b.h5")  # over itself
    assert digest(tmp_path / "a.h5") == digest(tmp_path / "b.h5")


def test_one_by_one_gives_the_same_bytes_as_all_at_once(tmp_path, rng):
    people = [(f"sub-{n:02d}", subject(rng, voxels=n + 2)) for n in (1, 2, 3)]
    pictures = stimuli(rng)
    write_store(tmp_path / "all.h5", people, pictures, {"dataset": "x"})
    for name, data in reversed(people):
        write_store(tmp_path / "one.h5", [(name, data)], pictures, {"dataset": "x"})
    assert digest(tmp_path / "all.h5") == digest(tmp_path / "one.h5")


def test_merging_replaces_subjects_and_unites_pictures(tmp_path, rng):
    path = tmp_path / "s.h5"
    first, second = subject(rng), subject(rng, voxels=7)
    write_store(path, [("a", first), ("b", first)], stimuli(rng), {"dataset": "x", "licence": "y"})
    added = stimuli(rng, ("apfel", "zwei"))
    write_store(path, [("c", first), ("b", second)], added, {"dataset": "z"})
    with VoxelStore(path) as store:
        assert store.subjects == ("a", "b", "c")
        assert [s.num_voxels for s in store] == [5, 7, 5]
        assert store.stimuli.ids == ["apfel", "köder", "zwei"]
        np.testing.assert_array_equal(store.stimuli.images([0, 2]), added.images)
        assert (store.attrs["dataset"], store.attrs["licence"]) == ("z", "y")


def test_subjects_come_one_at_a_time_and_a_failure_leaves_the_old_store(tmp_path, rng):
    path = tmp_path / "s.h5"
    write_store(path, [("a", subject(rng))], stimuli(rng), {})
    before = digest(path)

    def broken():
        yield "b", subject(rng)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_store(path, broken(), None, {})
    assert digest(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.h5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"ijk": np.zeros((4, 3), np.int32)},
            r"voxels/ijk of sub .* shape \(4, 3\); expected \(5, 3\)",
        ),
        ({"ijk": np.full((5, 3), 9, np.int32)}, r"voxels/ijk of subject sub.*reach to \[9, 9, 9\]"),
        ({"rois": {"V1": np.ones(6, bool)}}, r"rois/V1 of sub .* shape \(6,\); expected \(5,\)"),
        ({"quality": {"snr": np.ones(2, np.float32)}}, r"quality/snr of sub .* shape \(2,\)"),
        ({"rois": {"a/b": np.ones(5, bool)}}, "'a/b' cannot name a rois"),
        ({"affine": np.eye(3)}, r"voxels/affine of sub .* \(3, 3\); expected \(4, 4\)"),
        (
            {"responses": np.zeros((5, 5), np.float32)},
            r"trials/stimulus of sub .* \(6,\); expected \(5,\)",
        ),
    ],
)
def test_parts_that_disagree_are_named(tmp_path, rng, change, message):
    with pytest.raises(StoreError, match=message):
        write_store(tmp_path / "s.h5", [("sub", subject(rng, **change))], stimuli(rng), {})
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("split", "validation", "trials/split of subject sub .* value 'validation'"),
        ("kind", "dream", "trials/kind of subject sub .* value 'dream'"),
        ("stimulus", "unknown", r"1 stimuli in the trials of subject sub .* 'unknown' the first"),
    ],
)
def test_values_of_trials_are_checked(tmp_path, rng, column, value, message):
    data = subject(rng)
    data.trials.loc[0, column] = value
    with pytest.raises(StoreError, match=message):
        write_store(tmp_path / "s.h5", [("sub", data)], stimuli(rng), {})


def test_a_missing_column_is_named(tmp_path, rng):
    data = subject(rng)
    with pytest.raises(StoreError, match="no column 'repeat'"):
        write_store(
            tmp_path / "s.h5",
            [("sub", replace(data, trials=data.trials.drop(columns="repeat")))],
            None,
            {},
        )


def test_wrong_pictures_are_refused(tmp_path, rng):
    people = [("sub", subject(rng))]
    good = stimuli(rng)
    with pytest.raises(StoreError, match="'apfel' twice"):
        write_store(tmp_path / "s.h5", people, replace(good, ids=["apfel", "apfel"]), {})
    with pytest.raises(StoreError, match="2 pictures come with 2 ids, 1 labels"):
        write_store(tmp_path / "s.h5", people, replace(good, labels=["a"]), {})
    with pytest.raises(StoreError, match="stimuli are float64"):
        write_store(tmp_path / "s.h5", people, replace(good, images=good.images / 2), {})
    write_store(tmp_path / "s.h5", people, good, {})
    with pytest.raises(StoreError, match=r"differ in size: \[\(3, 4, 3\), \(9, 9, 3\)\]"):
        write_store(tmp_path / "s.h5", [], stimuli(rng, ("neu",), (9, 9)), {})
    with pytest.raises(StoreError, match="'sub' is given twice"):
        write_store(tmp_path / "s.h5", people * 2, None, {})
    with pytest.raises(StoreError, match=r"'\.x' cannot name a subject"):
        write_store(tmp_path / "s.h5", [(".x", subject(rng))], None, {})
    empty = replace(people[0][1], responses=np.zeros((5, 0), np.float32))
    with pytest.raises(StoreError, match="'sub' has 5 responses of 0 voxels; expected at least"):
        write_store(tmp_path / "s.h5", [("sub", empty)], None, {})


def test_unknown_names_say_what_there_is(store):
    with VoxelStore(store) as opened:
        with pytest.raises(StoreError, match=r"no subject 'sub-1'.*one of sub-01, sub-02"):
            opened["sub-1"]
        with pytest.raises(StoreError, match=r"no ROI 'V2'.*one of LOC, V1, V4, VC"):
            opened["sub-01"].roi_mask("V2")
        with pytest.raises(StoreError, match="no stimulus 'x'"):
            opened.stimuli.index(["x"])
        with pytest.raises(StoreError, match=r"row 92 .* rows from 0 to 91"):
            opened["sub-01"].responses([0, 92])
        with pytest.raises(StoreError, match=r"row -1 .* rows from 0 to 91"):
            opened["sub-01"].responses([0, -1])


def test_regions_are_united(store):
    with VoxelStore(store) as opened:
        read = opened["sub-02"]
        both = read.roi_mask(["V1", "LOC"])
        np.testing.assert_array_equal(both, read.rois["V1"] | read.rois["LOC"])
        assert read.roi_mask(None).all()


def test_volume_holds_each_voxel_at_its_place(tmp_path, rng):
    data = subject(rng)
    write_store(tmp_path / "s.h5", [("s", data)], None, {})
    values = rng.normal(size=5).astype(np.float32)
    with VoxelStore(tmp_path / "s.h5") as store:
        volume = store["s"].to_volume(values, fill=np.nan)
        assert volume.shape == (2, 3, 4)
        for (i, j, k), value in zip(data.ijk, values, strict=True):
            assert volume[i, j, k] == value
        assert np.isnan(volume).sum() == 24 - 5
        with pytest.raises(StoreError, match=r"shape \(4,\).*\(5,\)"):
            store["s"].to_volume(values[:4])


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.integers(0, 91), max_size=60))
def test_rows_in_any_order_and_repeated(store, rows):
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        np.testing.assert_array_equal(read.responses(rows), read.responses()[rows])


def test_boolean_rows(store):
    with VoxelStore(store) as opened:
        chosen = (opened["sub-01"].trials["split"] == "test").to_numpy()
        assert len(opened["sub-01"].responses(chosen)) == 36


def test_gathering_reads_few_slices():
    class Counting:
        shape = (1000, 2)
        reads = 0
        array = np.arange(2000).reshape(1000, 2)

        def __getitem__(self, key):
            self.reads += 1
            return self.array[key]

    rows = Counting()
    wanted = [*range(500, 600), *range(610, 640), 7]
    np.testing.assert_array_equal(gather(rows, wanted, gap=20), rows.array[wanted])
    assert rows.reads <= 3  # one for the type, one for row 7, one for the rest


def test_chunks_are_rows():
    assert chunk_rows((1000, 16384), 4) == 1
    assert chunk_rows((1000, 1024), 4) == 16
    assert chunk_rows((3, 10), 4) == 3


def test_wider_file_is_copied_in_blocks(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("mindvis.data.writer.BLOCK_BYTES", 50)
    data, pictures = subject(rng), stimuli(rng, ("köder", "apfel", "x", "y"))
    write_store(tmp_path / "s.h5", [("s", data)], pictures, {})
    with VoxelStore(tmp_path / "s.h5") as store:
        np.testing.assert_array_equal(store["s"].responses(), data.responses)
        order = store.stimuli.index(pictures.ids)
        np.testing.assert_array_equal(store.stimuli.images(order), pictures.images)


def test_not_a_store(tmp_path):
    with pytest.raises(StoreError, match=r"there is no store .*nothing\.h5"):
        VoxelStore(tmp_path / "nothing.h5")
    with pytest.raises(StoreError, match=r"is a folder"):
        VoxelStore(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match=r"text\.h5 is no HDF5 file \(5 bytes\)"):
        VoxelStore(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="format None; expected format 'mindvis-voxels'"):
        VoxelStore(tmp_path / "other.h5")


def test_another_version(tmp_path, store):
    path = tmp_path / "s.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["version"] = np.int64(7)
    with pytest.raises(StoreError, match=r"version 7; expected version 1; prepare it again"):
        VoxelStore(path)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.999])
def test_cut_short(tmp_path, store, part):
    content = store.read_bytes()
    path = tmp_path / "s.h5"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(StoreError, match=r"s\.h5 is (cut short|no HDF5 file)"):
        VoxelStore(path)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("subjects/sub-01/trials/onset", "subject sub-01 .* no readable dataset 'trials/onset'"),
        ("subjects/sub-02/responses", "subject sub-02 .* no readable dataset 'responses'"),
        ("stimuli/label", "stimuli .* no readable dataset 'label'"),
        ("subjects", "holds no subjects"),
    ],
)
def test_a_missing_part_is_named(tmp_path, store, removed, message):
    path = tmp_path / "s.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        del file[removed]
    with pytest.raises(StoreError, match=message):
        VoxelStore(path)


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path, store):
    path = tmp_path / "s.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path) as file:
        place = file["subjects/sub-02/responses"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place + 13)
        file.write(b"\xff\x00\xff")
    with VoxelStore(path) as opened:
        assert opened["sub-01"].responses([0]).shape == (1, 70)
        with pytest.raises(StoreError, match=r"/subjects/sub-02/responses .* is damaged"):
            opened["sub-02"].responses([0])


def test_no_flipped_byte_goes_unnoticed(tmp_path, rng):
    """A file with one wrong byte either reads as before or is refused, wherever the byte lies."""
    path = tmp_path / "s.h5"
    write_store(path, [("s", subject(rng))], stimuli(rng), {"dataset": "x"})
    good = path.read_bytes()

    def content():
        with VoxelStore(path) as store:
            read = store["s"]
            arrays = [read.responses(), read.ijk, read.affine, store.stimuli.images()]
            arrays += [*read.rois.values(), *read.quality.values()]
            texts = [store.attrs, read.trials.to_csv(), read.units, read.space, read.tr, read.shape]
            names = [store.stimuli.ids, store.stimuli.labels, store.stimuli.categories]
            return [array.tobytes() for array in arrays], texts, names

    expected, refused = content(), 0
    for place in range(0, len(good), 61):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            assert content() == expected
        except StoreError:
            refused += 1
    assert refused > 100


def _first_value(store):
    return float(store["sub-01"].responses([3])[0, 2])


def test_pickled_and_read_in_other_processes(store):
    with VoxelStore(store) as opened:
        expected = _first_value(opened)
        copy = pickle.loads(pickle.dumps(opened))
        assert _first_value(copy) == expected
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                if method == "fork":
                    assert pool.map(_first_value, [opened] * 4) == [expected] * 4
                else:
                    assert pool.map(type(opened), [str(store)])[0].subjects == opened.subjects
        assert _first_value(opened) == expected  # this process's handle survived


def test_planted_signal_is_linear(store):
    """The synthetic code is recovered by least squares: class means explain the responses."""
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        rows = np.flatnonzero(read.trials["kind"] == "task")
        labels = dict(zip(opened.stimuli.ids, opened.stimuli.labels, strict=True))
        classes = np.array([labels[name] for name in read.trials["stimulus"].iloc[rows]])
        train = (read.trials["split"].iloc[rows] == "train").to_numpy()
        assert set(classes[~train]) - set(classes[train]) == {"blue square"}
        design = (classes[:, None] == np.unique(classes[train])).astype(float)
        responses = read.responses(rows)
        weights, *_ = np.linalg.lstsq(design[train], responses[train], rcond=None)
        seen = ~train & design.any(axis=1)
        found = np.corrcoef((design[seen] @ weights).ravel(), responses[seen].ravel())[0, 1]
        assert found > 0.5
        outside = ~read.roi_mask("VC")
        assert abs(responses[:, outside].std() - 0.5) < 0.05
