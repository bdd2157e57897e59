"""Trees of random ingredients give what was planted in them, or one sentence."""

import pytest

from benchmarks.planted.breaks import BREAKS, caught
from benchmarks.planted.check import check_tree
from benchmarks.planted.recipe import KINDS, draw

TREES = 100
SLICES = 10


@pytest.mark.parametrize("part", range(SLICES))
def test_planted_trees(part, tmp_path):
    outcomes = [check_tree(n, tmp_path / str(n)) for n in range(part, TREES, SLICES)]
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []


def test_recipes_have_every_ingredient():
    recipes = [draw(number) for number in range(2000)]
    for kind, items in KINDS.items():
        assert {recipe.chosen[kind] for recipe in recipes} == {name for name, *_ in items}
    verdicts = [recipe.verdict for recipe in recipes]
    assert min(map(verdicts.count, ("accept", "either", "refuse"))) > 200
    assert verdicts.count("accept") > 600


@pytest.mark.parametrize("fault", BREAKS, ids=[fault.name for fault in BREAKS])
def test_a_fault_that_is_put_back_is_found(fault, tmp_path):
    assert caught(fault, 1000, tmp_path) is not None
