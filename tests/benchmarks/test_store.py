"""The benchmark of the store at toy size: what it simulates, counts and compares."""

import h5py
import numpy as np
import pytest

from benchmarks import store
from mindvis.data.store import VoxelStore
from tests.benchmarks.test_speed import same_process  # noqa: F401


def test_toy_run_counts_what_it_wrote(same_process):  # noqa: F811
    report = store.measure(fast=True)
    assert report["frames"]["rows_and_voxels_of_a_subject"] == [40, 97]
    assert report["windows"]["rows_and_voxels_of_a_subject"] == [3, 97]
    assert report["frames"]["bytes_of_a_subject"] > 4 * 40 * 97
    assert set(report["reading"]["ratio_to_plain"]) == {"0", "1", "2", "without checksums"}
    for name in ("megabytes_per_second", "megabytes_per_second_of_first_pass"):
        assert set(report["reading"][name]) == {"plain", "0", "1", "2", "without checksums"}
        assert all(rate > 0 for rate in report["reading"][name].values())


def test_plain_reading_and_the_loader_read_the_same_bytes(tmp_path):
    path = tmp_path / "rows.h5"
    store.write_rows(path, 3, 50, 41)
    assert store.read_plainly(str(path)) == 3 * 50 * 41 * 4
    bare = tmp_path / "bare.h5"
    store.write_bare(path, bare)
    assert store.read_plainly(str(bare)) == 3 * 50 * 41 * 4
    with h5py.File(path) as checked, h5py.File(bare) as plain:
        for name, subject in plain["subjects"].items():
            assert subject["responses"].chunks is None
            np.testing.assert_array_equal(
                subject["responses"], checked["subjects"][name]["responses"]
            )
    with VoxelStore(path) as opened:
        assert [subject.num_trials for subject in opened] == [50] * 3


def test_numbers_for_1200_subjects_lie_on_the_measured_line(monkeypatch):
    seconds = {20: 12.0, 60: 32.0}

    def launch(function, arguments):
        n = arguments["subjects"]
        return {
            "subjects": n,
            "seconds": seconds[n],
            "bytes": 7 * n + 3,
            "rows": 1,
            "voxels": 1,
        } | {"peak_bytes": 5}

    monkeypatch.setattr(store.machine, "launch", launch)
    report = store.prepared("", (20, 60), 8.0)
    assert report["seconds_of_a_subject"] == pytest.approx(0.5)
    assert report["line_at_1200"] == {"seconds": pytest.approx(602), "bytes": 8400}
