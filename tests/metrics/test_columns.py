"""Numbers of different protocols do not meet in one column."""

import pytest

from mindvis.errors import DataError
from mindvis.metrics.columns import column


def run(value=0.5, **changes):
    entry = {
        "title": "50-way top-1",
        "value": value,
        "protocol": "mindvis-nway",
        "chance": 0.02,
        "unit": "stimulus",
    }
    entry |= {"better": "higher", "definition": "d", "weights": {"judge": "ab" * 32}}
    return {"metrics": {"n_way": {**entry, **changes}, "mse": {**entry, "value": 1.0}}}


def test_the_same_quantity_shares_a_column():
    runs = {"a": run(0.5), "b": run(0.75), "c": run(None, protocol="other")}
    assert [entry["value"] for entry in column("n_way", runs).values()] == [0.5, 0.75, None]
    del runs["b"]["metrics"]["n_way"]
    assert list(column("n_way", runs)) == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "mindvis-nway-true-label"}, "a and b differ in protocol: 'mindvis-nway' and"),
        ({"title": "100-way top-2"}, "differ in question: '50-way top-1' and '100-way top-2'"),
        ({"chance": 0.1}, "differ in chance level: 0.02 and 0.1; expected one protocol in one"),
        ({"weights": {"judge": "cd" * 32}}, "weights: judge abababababab and judge cdcdcdcdcdcd"),
        ({"weights": {}}, "weights: judge abababababab and none"),
        ({"unit": "set"}, "differ in unit"),
        ({"definition": "other"}, "differ in definition"),
        ({"better": "lower"}, "differ in direction"),
    ],
)
def test_different_quantities_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        column("n_way", {"a": run(), "b": run(**change)})


def test_an_unknown_metric_is_named_with_those_there_are():
    with pytest.raises(DataError, match="no run has a metric 'nway'; expected one of n_way, mse"):
        column("nway", {"a": run()})


def test_scores_of_whole_sets_have_columns_too():
    fid = {**run()["metrics"]["mse"], "unit": "set", "protocol": "fid-2048"}
    runs = {name: {**run(), "sets": {"fid": fid}} for name in "ab"}
    assert list(column("fid", runs)) == ["a", "b"]
