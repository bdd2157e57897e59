"""Benchmarks at toy size: that they run, that both ways agree, and what they count."""

import json
from importlib import import_module

import pytest
import torch

from benchmarks import finetune, machine, mae, run


@pytest.fixture
def same_process(monkeypatch):
    """Launches without a process of their own."""

    def launch(function, arguments):
        module, name = function.split(":")
        result = getattr(import_module(module), name)(**arguments)
        return {**result, "peak_bytes": 1000}

    monkeypatch.setattr(machine, "launch", launch)


def test_stage_a_agrees_with_its_twin(same_process):
    report = mae.measure(fast=True)["toy"]
    assert report["losses_agree"]
    assert report["ratio"] > 0
    assert report["of_peak"] > 0


def test_twin_of_stage_a_differs_in_attention_alone():
    size = mae.FAST["toy"]
    ours, twin = mae.build(size, explicit=False), mae.build(size, explicit=True)
    assert ours.state_dict().keys() == twin.state_dict().keys()
    assert isinstance(twin.decoder_blocks[0].attn, mae.ExplicitAttention)
    assert not isinstance(ours.decoder_blocks[0].attn, mae.ExplicitAttention)


def test_operations_are_those_of_the_formula():
    """Maps: 2 per weight and token, thrice for forward and backward; attention beside them."""
    size = mae.Size(64, 8, 1, 2, 6, 1, 2, batch_size=3, steps=1)
    kept, tokens, patches = 1 + 1, 4 + 1, 4

    def block(width, length):
        maps = 6 * length * width**2  # qkv 3, proj 1, MLP 2 of ratio 1
        return maps + 2 * length**2 * width  # Q K' and P V

    forward = block(8, kept) + block(6, tokens) + kept * 8 * 6 + patches * 6 * 16
    total = 2 * 3 * 3 * forward
    embedding = 2 * 2 * 3 * 1 * 16 * 8  # the input needs no gradient
    assert mae.step_flops(size) == total + embedding


def test_stage_b_agrees_with_its_twin(same_process):
    report = finetune.measure(fast=True)
    for name in finetune.VARIANTS:
        assert report["variants"][name]["agrees"], name
    assert report["trained"] < report["parameters"]


def test_stage_b_at_true_size_is_that_of_mindvis():
    with torch.device("meta"):
        model = finetune.StageB(finetune.TRUE)
    assert sum(p.numel() for p in model.unet.parameters()) == pytest.approx(401e6, abs=0.5e6)
    assert sum(p.numel() for p in model.encoder.parameters()) == pytest.approx(151.3e6, abs=0.3e6)
    trained = finetune.prepare(model, "everything")
    assert len({id(p) for p in trained}) == len(trained)
    in_unet = {id(p) for p in model.unet.parameters()} & {id(p) for p in trained}
    assert len(in_unet) == 114


def test_launch_is_another_process_with_its_own_memory():
    result = machine.launch("json:loads", {"s": '{"answer": 42}'})
    assert result["answer"] == 42
    assert 1e6 < result["peak_bytes"] < 4e9
    with pytest.raises(RuntimeError, match="json:loads failed"):
        machine.launch("json:loads", {"s": "no"})


def test_variants_take_turns(monkeypatch):
    order = []

    def launch(function, arguments):
        order.append(arguments["n"])
        return {"seconds": [1.0, 3.0, 9.0], "peak_bytes": arguments["n"]}

    monkeypatch.setattr(machine, "launch", launch)
    results = machine.alternate("m:f", {"a": {"n": 1}, "b": {"n": 2}}, launches=3)
    assert order == [1, 2, 1, 2, 1, 2]
    assert machine.typical(results["a"], "seconds") == 3.0
    assert machine.spread(results["b"], "peak_bytes") == [2.0, 2.0]


def test_results_carry_machine_and_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(mae, "measure", lambda fast: {"ratio": 2.0})
    assert run.main(["mae", "--fast", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "mae.json").read_text())
    assert report["ratio"] == 2.0
    assert report["fast"] is True
    assert {"software", "machine", "source"} <= report["environment"].keys()


def test_unknown_benchmarks_are_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "no benchmark nothing; there are" in capsys.readouterr().err
    assert {"mae", "finetune"} <= set(run.names())
