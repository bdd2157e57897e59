"""A seeded sample of the fuzz run: damaged sources end in a store or in a sentence."""

import shutil
import warnings

import numpy as np
import pytest

from benchmarks.fuzz import FORMATS, damage, prepare

INPUTS = 4


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "nsd_hdf5"])
def test_damaged_sources_are_refused_or_stored(name, tmp_path):
    make, command, below, options = FORMATS[name]
    make(tmp_path / "whole")
    ends = []
    for number in range(INPUTS):
        source, out = tmp_path / f"{number}" / "source", tmp_path / f"{number}" / "out"
        shutil.copytree(tmp_path / "whole", source)
        out.mkdir()
        done = damage(source, np.random.default_rng([17, len(name), number]))
        before = sorted(source.rglob("*"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            end = prepare(command, str(source / below), str(out / "s.h5"), options)
        assert end.split(":")[0] in {"refused", "stored"}, (done, end)
        assert sorted(source.rglob("*")) == before
        assert {path.name for path in out.iterdir()} <= {"s.h5", "s.h5.parts"}
        ends.append(end.split(":")[0])
    assert "refused" in ends


def test_a_reader_that_breaks_is_found(monkeypatch, tmp_path):
    def broken(**options):
        raise KeyError("betas")

    monkeypatch.setattr("preprocessing.nsd.prepare_nsd", broken)
    end = prepare("nsd", str(tmp_path), str(tmp_path / "s.h5"), {})
    assert end.startswith("traceback: Traceback")
    assert "KeyError: 'betas'" in end


@pytest.mark.parametrize("name", FORMATS)
def test_undamaged_sources_are_stored(name, tmp_path):
    """What the fuzz run damages works when it is whole."""
    make, command, below, options = FORMATS[name]
    make(tmp_path / "whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        end = prepare(command, str(tmp_path / "whole" / below), str(tmp_path / "s.h5"), options)
    assert end == "stored"
