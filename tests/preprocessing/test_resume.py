"""A command that is killed and given again writes the bytes of an undisturbed one."""

import subprocess
import sys
import time

import numpy as np
import pytest

from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.files import sha256
from preprocessing.bids import prepare_bids
from preprocessing.workers import Workers
from preprocessing.write import Job, digest, run_jobs
from tests.preprocessing.bids_tree import Run, Tree, box_mask, build, events

NAMES = [f"{letter}.png" for letter in "abcdef"]
ONSETS = [10.0 * n for n in range(6)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    split = ["test", *["train"] * 5]
    runs = [
        Run(f"task-look_run-{n}", 64, events(NAMES, ONSETS, split=split), seed=n)
        for n in range(1, 9)
    ]
    runs.append(Run("task-rest", 31, seed=20))
    pictures = {f"stimuli/{name}": (9 * n, 8, 7) for n, name in enumerate(NAMES)}
    masks = {"derivatives/m/sub-01/sub-01_desc-brain_mask.nii.gz": box_mask(share=0.9)}
    folder = tmp_path_factory.mktemp("resume") / "data"
    return build(folder, Tree({"sub-01": runs}, masks, pictures))


def kill_when(source, store, moment):
    """Start the command and kill it as soon as `moment()`, or let it end; True if it was killed."""
    command = [sys.executable, "-m", "preprocessing", "bids", "--response", "lss"]
    command += ["--source", str(source), "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not moment():
        time.sleep(0.0005)
    process.kill()
    return process.wait() != 0


def test_killed_and_given_again_is_bit_identical(source, tmp_path):
    store, parts = tmp_path / "killed.h5", tmp_path / "killed.h5.parts"

    def finished():
        return len(list(parts.glob("[!.]*.npy")))

    assert kill_when(source, store, lambda: finished() >= 1)
    first = {path.name: path.stat().st_mtime_ns for path in parts.glob("[!.]*.npy")}
    assert 1 <= len(first) < 9
    assert not store.exists()
    assert kill_when(source, store, lambda: finished() >= 5)
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("[!.]*.npy")}
    assert first.items() <= kept.items()  # what was done is not done again
    kill_when(source, store, lambda: list(tmp_path.glob(".killed.h5.partial*")))
    for path in (store, tmp_path / "whole.h5"):
        prepare_bids(str(source), str(path), response="lss")
    assert sha256(store) == sha256(tmp_path / "whole.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.h5", "whole.h5"]


def kill_after(source, store, seconds):
    """Start the command and kill it after so long, or let it end; True if it was killed."""
    end = time.monotonic() + seconds
    return kill_when(source, store, lambda: time.monotonic() > end)


def killed_at_random(source, folder, kills, seed):
    """Kill the command again and again over a store that holds another subject; count kills.

    After each kill the store is what it was or whole, and at the end it has the bytes of a command
    that was never disturbed.
    """
    whole, store = folder / "whole.h5", folder / "killed.h5"
    for path in (whole, store):
        make_store(path, subjects=1, test_repeats=2)
        with VoxelStore(path) as opened:
            assert opened.subjects == ("sub-01",)
    renamed = {path: rename_subject(path) for path in (whole, store)}
    begin = time.monotonic()
    assert not kill_after(source, whole, 600)
    length = time.monotonic() - begin
    rng, count = np.random.default_rng(seed), 0
    for _ in range(kills):
        count += kill_after(source, store, rng.uniform(0.2, 1.05) * length)
        with VoxelStore(store) as opened:
            assert "other" in opened.subjects
            np.testing.assert_array_equal(opened["other"].responses(), renamed[store])
    assert not kill_after(source, store, 600)
    assert sha256(store) == sha256(whole)
    assert sorted(path.name for path in folder.iterdir()) == ["killed.h5", "whole.h5"]
    return count


def rename_subject(path):
    """Give the only subject the name "other"; returns its responses."""
    with VoxelStore(path) as opened:
        old = opened["sub-01"]
        trials, responses = old.trials.assign(stimulus=""), old.responses()
        data = SubjectData(responses, trials, old.ijk, old.affine, old.shape)
    path.unlink()
    write_store(path, [("other", data)], None, {})
    return responses


def test_killed_at_three_random_moments(source, tmp_path):
    assert killed_at_random(source, tmp_path, kills=3, seed=1) >= 1


@pytest.mark.slow
def test_killed_at_fifty_random_moments(source, tmp_path):
    assert killed_at_random(source, tmp_path, kills=50, seed=2) >= 25


def test_given_again_after_the_end_is_bit_identical(source, tmp_path):
    digests = []
    for _ in range(2):
        prepare_bids(str(source), str(tmp_path / "s.h5"))
        digests.append(sha256(tmp_path / "s.h5"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("change", [{"lag_end": 7.0}, {"high_pass": None}, {"confounds": "none"}])
def test_other_options_do_not_take_old_parts(source, tmp_path, change, monkeypatch):
    made = []
    monkeypatch.setattr(Job, "run", lambda self: made.append(self.part.name))
    for options in ({}, change):
        with pytest.raises(FileNotFoundError):  # no part was made
            prepare_bids(str(source), str(tmp_path / "s.h5"), tasks=["look"], **options)
    assert len(set(made)) == 16


def test_digest_sees_content_options_and_files(tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    before = digest(path, [1, "a"])
    assert before == digest(path, [1, "a"])
    assert before != digest(path, [1, "b"])
    path.write_text("three")
    assert before != digest(path, [1, "a"])


def test_jobs_that_are_done_are_not_run(tmp_path):
    done = Job(tmp_path / "done.npy", pytest.fail, ("was run",))
    done.part.touch()
    run_jobs([done], Workers(), "runs")
