"""Two Dask workers, one of them killed midway: the store has the bytes of one process."""

import os
import signal
import threading
import time

import pytest

from mindvis.errors import ConfigError
from mindvis.files import sha256
from preprocessing.bids import prepare_bids
from preprocessing.workers import Workers
from tests.preprocessing.test_resume import source  # noqa: F401

distributed = pytest.importorskip("distributed", reason="needs the extra dask")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def kill_one(cluster, parts, done):
    """Kill a worker as soon as two parts are there; notes how many there were."""
    while len(found := list(parts.glob("[!.]*.npy"))) < 2:
        time.sleep(0.002)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    done.append(len(found))


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_changes_no_byte(source, cluster, tmp_path):  # noqa: F811
    killed = []
    watch = threading.Thread(
        target=kill_one, args=(cluster, tmp_path / "dask.h5.parts", killed), daemon=True
    )
    watch.start()
    options = {"backend": "dask", "scheduler": cluster.scheduler_address, "response": "lss"}
    prepare_bids(str(source), str(tmp_path / "dask.h5"), **options)
    watch.join(timeout=10)
    assert killed, "no worker was killed"
    assert killed[0] < 9  # of nine runs
    prepare_bids(str(source), str(tmp_path / "one.h5"), response="lss")
    assert sha256(tmp_path / "dask.h5") == sha256(tmp_path / "one.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dask.h5", "one.h5"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_a_scheduler_that_does_not_answer_is_a_sentence(address):
    workers = Workers(backend="dask", scheduler=address, timeout=1)
    with (
        pytest.raises(
            ConfigError, match=r"no Dask scheduler answers at .*start one with `dask sch"
        ),
        workers.ready(),
    ):
        pass
