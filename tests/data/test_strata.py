"""Strata of pictures: stored beside them, kept when a store grows, absent in stores of before."""

import h5py
import numpy as np
import pytest

from mindvis.data.schema import StimulusData
from mindvis.data.store import VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.errors import StoreError


@pytest.fixture
def path(tmp_path):
    make_store(tmp_path / "s.h5", subjects=1)
    return tmp_path / "s.h5"


def pictures(ids, **strata):
    images = np.full((len(ids), 16, 16, 3), 7, np.uint8)
    return StimulusData(images, ids, ids, ids, {k: np.array(v) for k, v in strata.items()})


def test_strata_are_stored_by_id(path):
    write_store(path, [], pictures(["zz", "aa", "mm"], in_nsd=[True, False, True]), {})
    with VoxelStore(path) as store:
        assert list(store.stimuli.strata) == ["in_nsd"]
        inside = np.array(store.stimuli.ids)[store.stimuli.strata["in_nsd"]]
        assert inside.tolist() == ["mm", "zz"]


def test_strata_of_kept_pictures_are_kept(path):
    write_store(path, [], pictures(["aa", "mm"], in_nsd=[True, False]), {})
    write_store(path, [], pictures(["bb", "mm"], ilsvrc=[False, True]), {})
    with VoxelStore(path) as store:
        ids = np.array(store.stimuli.ids)
        assert ids[store.stimuli.strata["in_nsd"]].tolist() == ["aa"]
        assert ids[store.stimuli.strata["ilsvrc"]].tolist() == ["mm"]


def test_stores_without_strata_open(path):
    with VoxelStore(path) as store:
        assert store.stimuli.strata == {}


def test_strata_of_another_length(path):
    with pytest.raises(StoreError, match=r"stratum 'x' has the shape \(3,\); expected \(2,\)"):
        write_store(path, [], pictures(["a", "b"], x=[True, False, True]), {})
    write_store(path, [], pictures(["a", "b"], x=[True, False]), {})
    with h5py.File(path, "r+") as file:
        del file["stimuli/strata/x"]
        file["stimuli/strata/x"] = np.ones(3, bool)
    with pytest.raises(StoreError, match=r"stimuli/strata/x in .* has shape \(3,\)"):
        VoxelStore(path)
