"""Every command of docs/datasets.md is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from mindvis.arguments import function_parser, spell_out_switches
from mindvis.cli import COMMANDS, load

TEXT = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
LINES = [
    line
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("mindvis") and not re.search(r"\b(NAME|DIR|\.\.\.)( |$)", line)
]
#: options in tables and sentences, with the reader that they belong to
BIDS = re.findall(r"`(--\w+ [^`]+)`", TEXT.split("## Generic")[0])


def parsed(words):
    command = COMMANDS[words[0]]
    rest = words[1:]
    if command.subcommands:
        command, rest = command.subcommands[rest[0]], rest[1:]
    function = load(command.target)
    parser = function_parser(function, "mindvis", command.positional)
    return parser.parse_args(spell_out_switches(function, rest))


@pytest.mark.parametrize("line", LINES)
def test_commands_parse(line):
    words = shlex.split(line, comments=True)
    assert parsed(words[1:])


@pytest.mark.parametrize(
    "option", [o for o in BIDS if "image_layout" not in o and "first_" not in o]
)
def test_options_of_bids_parse(option):
    assert parsed(["prepare", "bids", "--source", "x", "--store", "y", *shlex.split(option)])


def test_every_reader_has_its_place():
    readers = set(COMMANDS["prepare"].subcommands) - {"augment"}
    mentioned = set(re.findall(r"mindvis prepare (\w+)", TEXT))
    assert readers <= mentioned
    assert len(LINES) >= 15
