"""Rows read from the bytes of the file are those that HDF5 gives, and damage is still refused."""

import multiprocessing
import os

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mindvis.data.hdf5 import CheckedRows
from mindvis.data.rows import ABSENT, MappedRows, chunk_starts, is_plain, map_file
from mindvis.data.store import VoxelStore
from mindvis.data.synthetic import make_store
from mindvis.errors import StoreError

ROWS = 23


def write(path, chunk=5, dtype="<f4", shape=(7,), **options):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 100, (ROWS, *shape)).astype(dtype)
    options = {"fletcher32": True, "chunks": (chunk, *shape)} | options
    with h5py.File(path, "w") as file:
        file["odd"] = np.zeros(3, np.uint8)  # what follows is not aligned
        file.create_dataset("rows", data=values, **options)
    return values


def mapped(file):
    return MappedRows(file["rows"], map_file(file))


def damage(path, name, chunk, at=9):
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(chunk).byte_offset + at
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize("chunk", [1, 2, 5, 22, ROWS])
@pytest.mark.parametrize(
    ("dtype", "shape"), [("<f4", (7,)), (">i2", (3, 2)), ("u1", (4, 5, 3)), ("<f8", ())]
)
def test_gives_what_hdf5_gives(tmp_path, rng, chunk, dtype, shape):
    values = write(tmp_path / "x.h5", chunk, dtype, shape)
    wanted = rng.integers(0, ROWS, 60)
    with h5py.File(tmp_path / "x.h5") as file:
        assert is_plain(file["rows"])
        rows = mapped(file)
        assert rows.verify(wanted)
        found = rows.take(wanted)
        assert found.dtype == file["rows"].dtype
        np.testing.assert_array_equal(found, values[wanted])
        found[:] = 0  # a copy: the file is as it was
        np.testing.assert_array_equal(rows.take(wanted), values[wanted])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chosen=st.lists(st.lists(st.integers(0, ROWS - 1), max_size=30), max_size=4))
def test_any_rows_one_choice_after_another(tmp_path, chosen):
    path = tmp_path / "x.h5"
    values = write(path) if not path.exists() else None
    with h5py.File(path) as file:
        values = file["rows"][...] if values is None else values
        rows = CheckedRows(file["rows"], map_file(file))
        for wanted in chosen:
            found = rows.gather(np.array(wanted, dtype=int))
            assert found.shape == (len(wanted), 7)
            np.testing.assert_array_equal(found, values[wanted])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"shuffle": True},
        {"scaleoffset": 0, "fletcher32": False, "dtype": "i4"},
        {"fletcher32": False},
        {"chunks": (5, 3)},
        {"chunks": None, "fletcher32": False},
        {"dtype": h5py.string_dtype("utf-8", 4)},
        {"dtype": "complex64"},
    ],
)
def test_anything_else_is_read_by_hdf5(tmp_path, options):
    kind = options.pop("dtype", "<f4")
    write(tmp_path / "x.h5", dtype=kind if isinstance(kind, str) else "S4", **options)
    with h5py.File(tmp_path / "x.h5") as file:
        assert not is_plain(file["rows"])
        rows = CheckedRows(file["rows"], map_file(file))
        np.testing.assert_array_equal(rows.gather([22, 0, 3]), file["rows"][...][[22, 0, 3]])


def test_files_that_hdf5_keeps_otherwise_are_not_mapped(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", driver="core") as file:
        assert map_file(file) is None
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        assert map_file(file) is None
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file:
        file["a"] = 1
    with h5py.File(tmp_path / "block.h5") as file:
        assert map_file(file) is None


def test_chunks_never_written_hold_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset(
            "rows", (11, 3), "f4", chunks=(2, 3), fletcher32=True, fillvalue=7
        )
        made[4:6] = 1
    with h5py.File(tmp_path / "x.h5") as file:
        content = map_file(file)
        starts = chunk_starts(file["rows"], len(content))
        assert (starts != ABSENT).tolist() == [False, False, True, False, False, False]
        rows = CheckedRows(file["rows"], content)
        assert rows.gather([10, 5, 0])[:, 1].tolist() == [7, 1, 7]
        assert rows.gather([4, 5])[:, 2].tolist() == [1, 1]


def test_a_chunk_without_its_checksum_is_left_to_hdf5(tmp_path):
    values = write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["rows"].id.write_direct_chunk((5, 0), (values[5:10] + 1).tobytes(), 1)
    with h5py.File(tmp_path / "x.h5") as file:
        rows = mapped(file)
        assert rows.verify(np.array([0, 22]))
        assert not rows.verify(np.array([0, 7]))
        found = CheckedRows(file["rows"], map_file(file)).gather([7, 0])
        np.testing.assert_array_equal(found, values[[7, 0]] + [[1], [0]])


@pytest.mark.parametrize("at", [0, 99, 5 * 7 * 4])  # values, and the checksum itself
def test_damage_is_refused_by_name_whatever_was_read_before(tmp_path, at):
    values = write(tmp_path / "x.h5")
    damage(tmp_path / "x.h5", "rows", 1, at)
    with h5py.File(tmp_path / "x.h5") as file:
        rows = CheckedRows(file["rows"], map_file(file))
        np.testing.assert_array_equal(rows.gather([0, 22]), values[[0, 22]])
        for _ in range(2):
            with pytest.raises(StoreError, match=r"/rows in .*x\.h5 is damaged"):
                rows.gather([0, 9, 22])
        np.testing.assert_array_equal(rows.gather([22, 4]), values[[22, 4]])


def test_hdf5_reads_a_chunk_once(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        rows, reads = mapped(file), []

        class Counting:
            def __getitem__(self, key):
                reads.append(key)
                return file["rows"][key]

        rows._dataset = Counting()
        for wanted in ([3, 4, 0], [4, 22, 1], [22, 2]):
            assert rows.verify(np.array(wanted))
        assert reads == [slice(0, 5), slice(20, 25)]


def test_bytes_that_hdf5_does_not_vouch_for_are_not_taken(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        other = map_file(file).copy()
        other[file["rows"].id.get_chunk_info(0).byte_offset] ^= 1
        rows = MappedRows(file["rows"], other)
        assert not rows.verify(np.array([1]))
        assert rows.verify(np.array([6]))


def test_a_store_that_was_replaced_is_read_to_its_end(tmp_path):
    path = tmp_path / "s.h5"
    make_store(path, seed=1)
    with VoxelStore(path) as store:
        expected = store["sub-01"].responses()
        store["sub-01"].responses([0])
        make_store(tmp_path / "new.h5", seed=2)
        (tmp_path / "new.h5").replace(path)
        np.testing.assert_array_equal(store["sub-01"].responses([3, 50, 0]), expected[[3, 50, 0]])
        store.close()
        assert not np.array_equal(store["sub-01"].responses([3]), expected[[3]])


class Items:
    def __init__(self, store, name):
        self.store, self.name = store, name

    def __len__(self):
        return self.store[self.name].num_trials

    def __getitem__(self, row):
        return self.store[self.name].responses([row])[0], os.getpid()


def test_two_workers_verify_for_themselves(store):
    with VoxelStore(store) as opened:
        expected = opened["sub-02"].responses()
        opened["sub-02"].responses([5])  # this process's map is not a worker's
        order = np.random.default_rng(3).permutation(len(expected)).tolist()
        loader = DataLoader(Items(opened, "sub-02"), batch_size=8, sampler=order, num_workers=2)
        batches = list(loader)
        assert len({int(pid) for _, pids in batches for pid in pids} - {os.getpid()}) == 2
        found = np.concatenate([values.numpy() for values, _ in batches])
        np.testing.assert_array_equal(found, expected[order])


def test_a_started_process_maps_the_file_itself(store):
    with VoxelStore(store) as opened:
        expected = opened["sub-02"].responses([5, 0])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(opened["sub-02"].responses, ([5, 0],))
        np.testing.assert_array_equal(found, expected)


def test_damage_is_refused_in_a_worker(tmp_path, store):
    path = tmp_path / "s.h5"
    path.write_bytes(store.read_bytes())
    damage(path, "subjects/sub-02/responses", 0)
    with VoxelStore(path) as opened:
        loader = DataLoader(Items(opened, "sub-02"), batch_size=4, num_workers=2)
        with pytest.raises(StoreError, match=r"/subjects/sub-02/responses .* is damaged"):
            list(loader)
