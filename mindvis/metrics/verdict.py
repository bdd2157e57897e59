"""The first line of every result: what speaks against it, or that nothing was found."""

from collections.abc import Mapping
from typing import Any


def findings(content: Mapping[str, Any]) -> list[str]:
    """Sentences about what forbids reporting these numbers: leaks and controls that failed.

    Args:
        content: What metrics.json holds.
    """
    return [*content["leakage"]["problems"], *content.get("controls_failed", {}).values()]


def first_line(content: Mapping[str, Any]) -> str:
    """One line that says whether the numbers below it can be reported.

    >>> clean = {"leakage": {"problems": [], "reservations": []}, "transductive": False}
    >>> first_line(clean)
    'OK: no leak was found and no control failed.'
    """
    found = findings(content)
    if found:
        return f"DO NOT REPORT: {'; '.join(found)}."
    reservations = []
    if content["transductive"]:
        reservations.append("the encoder was tuned on unlabelled test responses (transductive)")
    if content["transductive"] is None:
        reservations.append("whether test responses were used is not known")
    reservations += content["leakage"]["reservations"]
    if reservations:
        return f"WITH RESERVATIONS: {'; '.join(reservations)}."
    return "OK: no leak was found and no control failed."
