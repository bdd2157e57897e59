"""Results of several runs in one table: only numbers of one protocol share a column."""

from collections.abc import Mapping
from typing import Any

from mindvis.errors import DataError

# What makes two numbers the same quantity. Weights: another judge asks another question.
IDENTITY = {
    "protocol": "protocol",
    "title": "question",
    "definition": "definition",
    "chance": "chance level",
    "unit": "unit",
    "better": "direction",
    "weights": "weights",
}


def column(metric: str, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The entries of one metric in several runs, to stand in one column or be averaged.

    Args:
        metric: Key of `metrics` or `sets`.
        runs: For each run what its metrics.json holds.

    Returns:
        The entry of each run that has the metric; a value may be null.

    Raises:
        DataError: No run has the metric, or two of them measured different quantities under it.
    """
    found = {
        name: part[metric]
        for name, content in runs.items()
        for part in (content["metrics"], content.get("sets", {}))
        if metric in part
    }
    if not found:
        raise DataError(f"no run has a metric {metric!r}", f"one of {', '.join(_names(runs))}")
    measured = {name: entry for name, entry in found.items() if entry["value"] is not None}
    if measured:
        first, *others = measured
        for other in others:
            _check_same(metric, first, measured[first], other, measured[other])
    return found


def _names(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All metrics of some runs, in their order."""
    parts = [part for c in runs.values() for part in (c["metrics"], c.get("sets", {}))]
    return list(dict.fromkeys(name for part in parts for name in part))


def _check_same(
    metric: str, first: str, one: Mapping[str, Any], second: str, other: Mapping[str, Any]
) -> None:
    """Refuse two entries that are not the same quantity."""
    for key, words in IDENTITY.items():
        if one.get(key) != other.get(key):
            raise DataError(
                f"{metric} of {first} and {second} differ in {words}: {_short(one.get(key))} and "
                f"{_short(other.get(key))}",
                "one protocol in one column",
                "evaluate both runs with the same options, or show them in columns of their own",
            )


def _short(value: Any) -> str:
    """A value as a reader of a sentence needs it: digests by their first figures."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {str(digest)[:12]}" for name, digest in value.items()) or "none"
    return repr(value)
