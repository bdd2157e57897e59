"""A killed `mindvis fit`, repeated, ends with the bytes of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcome(store, tmp_path_factory):
    script = Path(__file__).with_name("kill_fit.py")
    result = subprocess.run(
        [sys.executable, script, store, tmp_path_factory.mktemp("killed")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("stage", ["pretrain", "latent", "finetune"])
def test_a_killed_run_ends_as_an_undisturbed_one(outcome, stage):
    whole, killed = outcome[stage]["whole"], outcome[stage]["killed"]
    assert killed["killed"] >= 1  # a kill can come too late, not both
    assert (whole["status"], killed["status"]) == (0, 0)
    assert any(name.endswith(".safetensors") for name in whole["sums"])
    assert killed["sums"] == whole["sums"]
    assert killed["epochs"] == whole["epochs"]
