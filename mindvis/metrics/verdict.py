"""The first line of every result: what speaks against it, or that nothing was found."""

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["bad", "reserved", "good"]
LABELS: dict[Kind, str] = {
    "bad": "DO NOT REPORT",
    "reserved": "WITH RESERVATIONS",
    "good": "OK",
}


def findings(content: Mapping[str, Any]) -> list[str]:
    """Sentences about what forbids reporting these numbers: leaks and controls that failed.

    Args:
        content: What metrics.json holds.
    """
    return [*content["leakage"]["problems"], *content.get("controls_failed", {}).values()]


def reservations(content: Mapping[str, Any]) -> list[str]:
    """Sentences about what a reader must know: test responses used, checks that were not made."""
    known = []
    if content["transductive"]:
        known.append("the encoder was tuned on unlabelled test responses (transductive)")
    if content["transductive"] is None:
        known.append("whether test responses were used is not known")
    known += content["leakage"]["reservations"]
    checks = content.get("control_checks", {})
    untested = [name for name, check in checks.items() if check["passed"] is None]
    return [*known, *([f"controls not tested: {', '.join(untested)}"] if untested else [])]


def verdict(content: Mapping[str, Any]) -> tuple[Kind, str]:
    """Whether the numbers can be reported, and a sentence that says why."""
    found, known = findings(content), reservations(content)
    if found:
        return "bad", f"{_joined(found)}."
    if known:
        return "reserved", f"{_joined(known)}."
    return "good", "no leak was found and no control failed."


def _joined(sentences: list[str]) -> str:
    return "; ".join(sentence.rstrip(".") for sentence in sentences)


def first_line(content: Mapping[str, Any]) -> str:
    """One line that says whether the numbers below it can be reported.

    >>> clean = {"leakage": {"problems": [], "reservations": []}, "transductive": False}
    >>> first_line(clean)
    'OK: no leak was found and no control failed.'
    """
    kind, sentence = verdict(content)
    return f"{LABELS[kind]}: {sentence}"
