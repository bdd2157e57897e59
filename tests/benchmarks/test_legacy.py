"""The import benchmark at toy size: what it writes is imported, and every tensor is compared."""

from importlib import import_module

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import legacy, machine, run


@pytest.fixture
def same_process(monkeypatch):
    """Launches without a process of their own."""

    def launch(function, arguments):
        module, name = function.split(":")
        result = getattr(import_module(module), name)(**arguments)
        return {**result, "peak_bytes": 1000}

    monkeypatch.setattr(machine, "launch", launch)


def test_every_tensor_is_compared(same_process):
    report = legacy.measure(fast=True)
    assert report["succeeded"]
    assert report["tensors_equal"] == report["tensors"] > 300
    assert report["tensors_left_out"] == 13  # the noise schedule and the mask token
    assert report["seconds"] > 0
    assert report["of_file"] == 1000 / report["file_bytes"]


def test_a_changed_weight_is_seen(tmp_path):
    file, output = tmp_path / "checkpoint.pth", tmp_path / "model"
    legacy.write(str(file), fast=True)
    assert legacy.read(str(file), str(output))["code"] == 0
    path = output / "encoder" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["trunk.norm.weight"] += 1
    save_file({name: w.clone() for name, w in weights.items()}, path)
    checked = legacy.compare(str(file), str(output))
    assert checked["equal"] == checked["tensors"] - 1


def test_memory_of_the_process_is_seen():
    with legacy.largest(legacy.own_bytes) as most:
        before = most[0]
        block = torch.ones(50_000_000)
        legacy.time.sleep(0.2)
    assert block.nbytes * 0.9 < most[0] - before < block.nbytes * 1.5


def test_it_can_be_run_by_name():
    assert "legacy" in run.names()
