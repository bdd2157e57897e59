"""docs/mindvis.md: every quirk has its row, and every test named in a row exists."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
ROWS = {
    line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
    for line in (ROOT / "docs" / "mindvis.md").read_text().splitlines()
    if re.match(r"\| Q\d", line)
}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`")


def functions(path):
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_quirk_is_listed_once_and_in_order():
    assert list(ROWS) == [f"Q{number}" for number in range(1, 50)]


@pytest.mark.parametrize("number", ROWS)
def test_row_says_what_both_do_and_names_tests_that_exist(number):
    upstream, compat, default, pinned = ROWS[number]
    assert all((upstream, compat, default))
    tests = TEST.findall(pinned)
    assert TEST.sub("", pinned).strip() in ("", "-")
    assert tests or "Does not concern us" in default
    for path, name, _ in tests:
        assert name in functions(path), f"{path}::{name}"


def test_arrays_named_in_the_table_are_there(shared):
    named = [
        parameter
        for row in ROWS.values()
        for _, name, parameter in TEST.findall(row[-1])
        if name == "test_array_is_that_of_mindvis"
    ]
    assert len(named) > 15
    for parameter in named:
        file, _, array = parameter.partition("-")
        with np.load(shared(f"goldens/{file}.npz"), allow_pickle=False) as arrays:
            assert array in arrays.files, parameter
