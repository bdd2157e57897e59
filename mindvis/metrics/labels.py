"""Which class of a judge a stimulus' label is: one rule, and a sentence about what it leaves out.

A label is a class whose whole name is the label; failing that, whose whole name is the label apart
from case, underscores, hyphens and blanks; failing that, one of whose names between commas is one
of the label's ("tench" is "tench, Tinca tinca"). A WordNet id before a name counts as a name of its
own. A label that several classes have at the first of these steps which finds any is none of them.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WORDNET = re.compile(r"(n\d{8})[\s:_-]+(.+)")
SHOWN = 3  # labels that a sentence names


@dataclass(frozen=True)
class Matched:
    """Classes of labels.

    Args:
        numbers: Class number of each label, -1 where it has none.
        unknown: Labels that are no class, each once.
        ambiguous: Labels that are several classes, and the names of these.
    """

    numbers: tuple[int, ...]
    unknown: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def match_labels(labels: Sequence[str], classes: Sequence[str]) -> Matched:
    """The class of each label; see the head of this module for the rule.

    Args:
        labels: One for each stimulus; empty for none.
        classes: Names of the judge's classes.
    """
    steps = [(keys, _index(classes, keys)) for keys in (_whole, _plain_whole, _parts)]
    found = {label: _find(label, steps) for label in dict.fromkeys(labels) if label.strip()}
    return Matched(
        tuple(found[n][0] if len(found.get(n, ())) == 1 else -1 for n in labels),
        tuple(name for name, numbers in found.items() if not numbers),
        {n: tuple(classes[i] for i in numbers) for n, numbers in found.items() if len(numbers) > 1},
    )


Keys = Callable[[str], set[str]]


def _find(label: str, steps: Sequence[tuple[Keys, Mapping[str, list[int]]]]) -> list[int]:
    """Numbers of the classes found by the first step that finds any."""
    for keys, index in steps:
        numbers = sorted({i for key in keys(label) for i in index.get(key, ())})
        if numbers:
            return numbers
    return []


def _index(classes: Sequence[str], keys: Keys) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, name in enumerate(classes):
        for key in keys(name):
            found.setdefault(key, []).append(i)
    return found


def _whole(name: str) -> set[str]:
    return {unicodedata.normalize("NFC", name)}


def _plain_whole(name: str) -> set[str]:
    return {plain(name)}


def _parts(name: str) -> set[str]:
    """The names between commas, and a WordNet id before them."""
    wordnet = WORDNET.fullmatch(name.strip())
    words = [wordnet[1], *wordnet[2].split(",")] if wordnet else name.split(",")
    return {plain(word) for word in words} - {""}


def plain(name: str) -> str:
    """A class name in one Unicode form, without case, underscores, hyphens and double blanks.

    >>> plain(" Green_star ")
    'green star'
    """
    text = unicodedata.normalize("NFC", name).casefold()
    return " ".join(re.sub(r"[_-]", " ", text).split())


def label_sentence(labels: Sequence[str], classes: Sequence[str]) -> str:
    """A sentence about the stimuli whose label is no single class; empty where there are none.

    Args:
        labels: One for each stimulus.
        classes: Names of the judge's classes.
    """
    matched = match_labels(labels, classes)
    known = sum(number >= 0 for number in matched.numbers)
    if known == len(labels):
        return ""
    if not any(label.strip() for label in labels):
        return "the stimuli have no labels"
    parts = [
        f"the judge knows the labels of {known or 'none'} of {len(labels)} "
        f"stimul{'us' if len(labels) == 1 else 'i'}"
    ]
    blank = sum(not label.strip() for label in labels)
    if blank:
        parts.append(f"{blank} {'has' if blank == 1 else 'have'} no label")
    if matched.unknown:
        have = ", ".join(map(repr, classes[:SHOWN])) + ", ..." * (len(classes) > SHOWN)
        parts.append(f"it has no class {_some(matched.unknown)}; its classes are {have}")
    if matched.ambiguous:
        name, several = next(iter(matched.ambiguous.items()))
        parts.append(
            f"{_some(tuple(matched.ambiguous), 'and')} may be several of its classes "
            f"({name!r}: {', '.join(map(repr, several[:SHOWN]))})"
        )
    return "; ".join(parts)


def _some(names: Sequence[str], last: str = "or") -> str:
    """The first names, and how many there are besides."""
    shown = [repr(name) for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} {last} {len(names) - SHOWN} others"
    return f" {last} ".join([", ".join(shown[:-1])] * (len(shown) > 1) + shown[-1:])
