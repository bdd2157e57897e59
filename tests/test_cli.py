"""The `mindvis` command: its list, its refusals, and every configuration that ships."""

import os
import random
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mindvis.arguments import run_function
from mindvis.cli import COMMANDS, Command, load, main
from mindvis.errors import ConfigError
from mindvis.tasks.masked import MaskedModelling
from mindvis.training import StageCLI

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
SIZED = sorted(CONFIGS.glob("size/*/*.yaml"))


def stage(name, *words, size="tiny"):
    """Words of `mindvis fit` for a shipped configuration in one of its sizes."""
    sized = CONFIGS / "size" / size / f"{name}.yaml"
    return ["fit", "-c", str(CONFIGS / f"{name}.yaml"), "-c", str(sized), *map(str, words)]


def refused(capsys, words):
    """The one line on stderr of a command that must end with code 2."""
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# -- the list of commands ---------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def targets():
    for name, command in COMMANDS.items():
        below = command.subcommands.values() if command.subcommands else [command]
        yield from (pytest.param(c, id=f"{name} {c.target}") for c in below)


@pytest.mark.parametrize("command", list(targets()))
def test_every_command_has_its_function_and_its_help(command, capsys):
    words = next(
        [name, *([sub] if sub else [])]
        for name, top in COMMANDS.items()
        for sub, c in (top.subcommands or {"": top}).items()
        if c is command
    )
    assert callable(load(command.target))
    assert main([*words, "--help"]) == 0
    assert "default" in capsys.readouterr().out


def test_no_command_is_wrong_and_shows_the_list(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_unknown_command_names_the_nearest(capsys):
    assert "did you mean 'decode'" in refused(capsys, ["decoed"])
    assert "did you mean 'bids'" in refused(capsys, ["prepare", "bidss"])


# -- plain functions --------------------------------------------------------------------------


def shift(source: str, steps: int = 3, names: list[str] | None = None) -> tuple[str, int]:
    """Shift something.

    Args:
        source: What.
        steps: How far, in pixels.
        names: Which.
    """
    return source, steps


def test_function_takes_places_and_options():
    assert run_function(shift, ["a", "--steps", "7"], "mindvis shift", ("source",)) == ("a", 7)
    assert run_function(shift, ["--source", "b"], "mindvis shift") == ("b", 3)


def test_function_takes_options_from_a_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("steps: 5\n")
    words = ["a", "--config", str(path)]
    assert run_function(shift, words, "mindvis shift", ("source",)) == ("a", 5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], r"SOURCE must be given; see `mindvis shift --help`"),
        (["a", "--step", "1"], r"no option '--step'; expected an option such as 'steps'"),
        (["a", "--steps", "many"], r"steps is 'many'; expected int"),
        (["a", "--names", "x"], r"names is 'x'; expected a list, such as '\[x\]'"),
        (["a", "b"], r"no place for the word 'b'"),
        (["a", "--config", "none.yaml"], r"none.yaml"),
    ],
)
def test_function_refuses_in_one_sentence(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_function(shift, words, "mindvis shift", ("source",))


def test_a_missing_file_is_a_sentence(capsys, monkeypatch, tmp_path):
    command = Command("reads", "builtins:open", positional=("file",), own_parser=True)
    monkeypatch.setitem(COMMANDS, "read", command)
    monkeypatch.setattr("mindvis.cli.load", lambda target: lambda words: open(words[0]))  # noqa: PTH123, SIM115
    assert "No such file" in refused(capsys, ["read", tmp_path / "none"])


# -- stages: refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--model.mask_ration", "1"],
            "MaskedModelling has no option 'mask_ration'; expected an option such as 'mask_ratio'",
        ),
        (["--model.depth", "deep"], "model.depth is 'deep'; expected int"),
        (["--data.order", "hilbet"], "data.order is 'hilbet'; expected one of 'stored', 'hilbert'"),
        (["--data.subjects", "sub-01"], "expected a list, such as '[sub-01]'"),
        (["--model", "MaskedModeling"], "(did you mean 'MaskedModelling'?)"),
        (
            ["--trainer.max_epoch", "3"],
            "no option '--trainer.max_epoch'; expected an option such as 'trainer.max_epochs'",
        ),
        (["--output", "null"], "there is no run folder; pass --output DIR"),
        (["--data.store", "none.h5"], "there is no store none.h5"),
        (["-c", "none.yaml"], "none.yaml"),
    ],
)
def test_stage_refuses_in_one_sentence(capsys, tmp_path, words, sentence):
    assert sentence in refused(capsys, stage("pretrain", "--output", tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle: {lr: 1}", "there is no option 'modle.lr'; expected an option such as 'model'"),
        ("trainer: {max_epoch: 3}", "no option 'trainer.max_epoch'"),
        ("model: {init_args: {detph: 3}}", "MaskedModelling has no option 'detph'"),
        ("model: [", "the configuration is not YAML"),
    ],
)
def test_unknown_config_key_is_named(capsys, tmp_path, text, sentence):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert sentence in refused(capsys, stage("pretrain", "-c", path))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model.mask_ratio", "1.5"], "mask_ratio is 1.5; expected more than 0 and less than 1"),
        (["--data.length", "7"], "expected a multiple of patch_size, 8"),
        (["--ema.decay", "2"], "ema.decay is 2.0; expected 0 or more, and less than 1"),
        (["--figures.every_n_epochs", "0"], "figures.every_n_epochs is 0; expected 1 or more"),
        (["--trainer.accelerator", "abacus"], "invalid accelerator name"),
        (["--trainer.devices", "x"], "the trainer refuses its options"),
        (["--trainer.max_epochs", "-1"], "set --trainer.max_epochs"),
        (["--data.subjects", "[sub-07]"], "subject 'sub-07'"),
        (["--data", "PairData"], "expected valid too, which MaskedModelling reads"),
    ],
)
def test_value_that_cannot_work_is_named(capsys, store, tmp_path, words, sentence):
    words = stage("pretrain", "--data.store", store, "--output", tmp_path / "run", *words)
    capsys.readouterr()
    assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mindvis: ")
    assert sentence in last


def test_no_stage_is_chosen(capsys):
    assert "no stage is chosen; pass one with -c" in refused(capsys, ["fit"])


# -- stages: configurations -------------------------------------------------------------------


class Parsed(Exception):  # noqa: N818
    """Parsing is done."""


def parse(words, monkeypatch):
    """The resolved configuration; nothing is built."""
    monkeypatch.setattr(StageCLI, "_parse_ckpt_path", lambda self: (_ for _ in ()).throw(Parsed))
    found = {}
    monkeypatch.setattr(
        StageCLI,
        "parse_arguments",
        lambda self, parser, args: found.update(config=parser.parse_args(args)),
    )
    with pytest.raises(Parsed):
        StageCLI("fit", words[1:])
    return found["config"].fit


def test_there_are_configurations():
    assert STAGES == ["adapt", "finetune", "judge", "latent", "pretrain"]


@pytest.mark.parametrize("name", STAGES)
def test_configuration_parses_and_says_how_it_is_run(name, monkeypatch):
    path = CONFIGS / f"{name}.yaml"
    config = parse(["fit", "-c", str(path)], monkeypatch)
    assert config.output == f"runs/{name}"
    header = path.read_text().split("seed_everything")[0]
    assert f"mindvis fit -c configs/{name}.yaml" in header
    assert "not measured" in header


@pytest.mark.parametrize("path", SIZED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_size_parses_after_its_stage_and_wins(path, monkeypatch):
    config = parse(stage(path.stem, size=path.parent.name), monkeypatch)
    for part in ("model", "data"):
        for key, value in (
            yaml.safe_load(path.read_text()).get(part, {}).get("init_args", {}).items()
        ):
            found = config[part].init_args[key]
            assert (list(found) if isinstance(found, tuple) else found) == value


def test_bool_and_number_are_what_they_say(monkeypatch):
    words = stage("finetune", "--model.class_token", "False", "--model.lr", "1e-3")
    config = parse(words, monkeypatch)
    assert config.model.init_args.class_token is False
    assert config.model.init_args.lr == 1e-3


# -- the process afterwards -------------------------------------------------------------------


def test_interrupt_is_quiet_and_handlers_come_back(capsys, store, tmp_path, monkeypatch):
    def interrupted(self, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskedModelling, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    words = stage("pretrain", "--data.store", store, "--output", tmp_path / "run")
    assert main(words) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler


def test_fit_leaves_the_process_as_it_was(store, tmp_path):
    before = dict(os.environ), list(warnings.filters), torch.get_num_threads()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    words = stage("pretrain", "--data.store", store, "--output", tmp_path / "run")
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected  # noqa: NPY002
    assert (dict(os.environ), list(warnings.filters), torch.get_num_threads()) == before
