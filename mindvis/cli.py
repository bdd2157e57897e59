"""The `mindvis` command: training stages beside plain typed functions.

Each command names its function as text and imports it when it runs, so that the list of commands
is there at once.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import mindvis
from mindvis.console import complain, say
from mindvis.errors import ConfigError, MindVisError, one_of

WRONG_INPUT = 2
INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        summary: One line for the list of commands.
        target: "module:function"; empty where there are subcommands.
        positional: Parameters given by place.
        own_parser: Whether the function takes the words as they are.
        subcommands: Commands below this one.
    """

    summary: str
    target: str = ""
    positional: tuple[str, ...] = ()
    own_parser: bool = False
    subcommands: Mapping[str, "Command"] = field(default_factory=dict)


def _readers(**summaries: str) -> dict[str, Command]:
    """Subcommands of `prepare`: NAME is `prepare_NAME` of `preprocessing/NAME.py`."""
    return {
        name: Command(summary, f"preprocessing.{name}:prepare_{name}")
        for name, summary in summaries.items()
    }


COMMANDS: dict[str, Command] = {
    "simulate": Command(
        "write a BIDS data set of a simulated observer",
        "mindvis.simulation.bids:simulate",
        positional=("output",),
    ),
    "prepare": Command(
        "turn raw data into a store of responses and pictures",
        subcommands=_readers(
            bids="a BIDS data set, raw or from fMRIPrep",
            arrays="arrays in .npz, .mat or .h5 files",
            bold5000="BOLD5000, betas of regions or volumes",
            god="Generic Object Decoding, BData or the npz form of MinD-Vis",
            haxby="blocks of eight categories, through nilearn or from its cache",
            hcp="resting state of the Human Connectome Project, CIFTI or volumes",
            miyawaki="patterns of 10 x 10 patches, through nilearn or from its cache",
            nsd="the Natural Scenes Dataset, as published or as MindEye2 arranged it",
            things="THINGS-fMRI, volumes or tables",
            augment="a store with simulated trials of other pictures, where measured ones are few",
            strata="mark the pictures of a store that other data sets show too",
        ),
    ),
    "inspect": Command(
        "say what a store or a run folder holds",
        "mindvis.data.inspect:inspect",
        positional=("file",),
    ),
    "write-volume": Command(
        "write values of voxels as a NIfTI or CIFTI image",
        "mindvis.data.volumes:write_volume",
        positional=("store",),
    ),
    "fit": Command(
        "train a stage, or go on where it was interrupted",
        "mindvis.training:fit",
        own_parser=True,
    ),
    "validate": Command(
        "score a trained stage on its validation split",
        "mindvis.training:validate",
        own_parser=True,
    ),
    "decode": Command(
        "decode the pictures of a whole split",
        "mindvis.decoding.decode:decode",
        positional=("model",),
    ),
    "evaluate": Command(
        "score decoded pictures and write a report",
        "mindvis.decoding.evaluate:evaluate",
        positional=("directory",),
    ),
    "compare": Command(
        "compare evaluated runs on the same stimuli, paired, with Holm's correction",
        "mindvis.decoding.compare:compare",
        positional=("runs",),
    ),
    "reproduce": Command(
        "run a named benchmark over subjects and seeds, to one table",
        "mindvis.reproduce.command:reproduce",
        positional=("name",),
    ),
    "import-checkpoint": Command(
        "open a checkpoint of MinD-Vis as a model of this package",
        "mindvis.decoding.checkpoints:import_checkpoint",
        positional=("file",),
    ),
    "export-checkpoint": Command(
        "write a model as a checkpoint that MinD-Vis loads",
        "mindvis.decoding.checkpoints:export_checkpoint",
        positional=("directory",),
    ),
    "prefetch": Command(
        "get the weights that metrics need, or say which are missing",
        "mindvis.metrics.prefetch:prefetch",
    ),
    "demo": Command("simulate, train, decode and evaluate, start to report", "mindvis.demo:demo"),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Words of the command line; None takes those of the process.

    Returns:
        0, or 2 after one sentence on stderr about what was wrong with the input.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        return dispatch(words, COMMANDS, "mindvis")
    except MindVisError as error:
        complain(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror}.")
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return WRONG_INPUT


def dispatch(words: list[str], commands: Mapping[str, Command], prog: str) -> int:
    """Run the command that the first word names, with the other words.

    Raises:
        ConfigError: There is no such command.
    """
    if not words or words[0] in {"-h", "--help"}:
        say(usage(commands, prog))
        return 0 if words else WRONG_INPUT
    if words[0] == "--version" and prog == "mindvis":
        say(mindvis.__version__)
        return 0
    name, rest = words[0], words[1:]
    if name not in commands:
        raise ConfigError(f"there is no `{prog} {name}`", one_of("the command", name, commands))
    command, prog = commands[name], f"{prog} {name}"
    if command.subcommands:
        return dispatch(rest, command.subcommands, prog)
    run(command, rest, prog)
    return 0


def run(command: Command, words: list[str], prog: str) -> None:
    """Import a command's function and call it with the words."""
    function = load(command.target)
    if command.own_parser:
        function(words)
        return
    from mindvis.arguments import run_function

    run_function(function, words, prog, command.positional)


def load(target: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


def usage(commands: Mapping[str, Command], prog: str) -> str:
    """The list of commands."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    about = ["", "Brain decoding: fMRI volumes to pictures."] if prog == "mindvis" else []
    version = ["", "--version prints the version."] if prog == "mindvis" else []
    tail = f"`{prog} COMMAND --help` shows a command's options, their defaults and units."
    return "\n".join(
        [f"usage: {prog} COMMAND ...", *about, "", "commands:", *lines, "", tail, *version]
    )
