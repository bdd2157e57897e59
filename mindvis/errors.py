"""The package's exceptions: each says in one sentence what was found, expected, and to be done."""

from collections.abc import Iterable
from difflib import get_close_matches


class MindVisError(Exception):
    """A user's mistake; the command line prints it as one sentence and exits with code 2.

    Args:
        found: What is there, with its value and where it was met.
        expected: What should have been there; empty where `found` says it all.
        remedy: What to do about it, as an imperative.
    """

    def __init__(self, found: str, expected: str = "", remedy: str = "") -> None:
        clauses = [found, f"expected {expected}" if expected else "", remedy]
        super().__init__("; ".join(clause.rstrip(".") for clause in clauses if clause) + ".")


class SourceError(MindVisError):
    """Raw data (a BIDS folder, an image, somebody's arrays) that cannot be prepared."""


class StoreError(MindVisError):
    """A VoxelStore that is damaged, of another version, or lacks what was asked for."""


class DataError(MindVisError):
    """Responses or pictures whose values or shapes cannot be used."""


class ConfigError(MindVisError):
    """An option whose value cannot work."""


class CheckpointError(MindVisError):
    """Saved weights that do not fit the data or the model."""


def one_of(name: str, value: str, choices: Iterable[str]) -> str:
    """Sentence part for an unknown choice: the value, the choices, and the nearest of them.

    Args:
        name: What was chosen, in the user's words ("subject", "ROI").
        value: The unknown choice.
        choices: All that would have been accepted.

    Returns:
        A text for `expected` or `remedy` of a `MindVisError`.
    """
    known = sorted(choices)
    near = get_close_matches(value, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{name} to be one of {', '.join(known) or 'none'}{hint}"
