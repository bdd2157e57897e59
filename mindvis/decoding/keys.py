"""Names of stimuli and subjects as keys, in one normal form and none standing for two things."""

import unicodedata
from collections.abc import Iterable

from mindvis.errors import DataError


def normal(name: str) -> str:
    """A name in Unicode's composed form: some systems write an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name.strip())


def folded(name: str) -> str:
    """A name without what some file systems ignore: its Unicode form and its case."""
    return unicodedata.normalize("NFC", normal(name).casefold())


def check_distinct(names: Iterable[str], what: str) -> None:
    """Refuse names that differ only by case or Unicode form.

    Args:
        names: Each name once.
        what: Names them in the message, such as "stimuli of names.csv".

    Raises:
        DataError: With both names.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(folded(name), name)
        if other != name:
            raise DataError(
                f"{other!r} and {name!r} among the {what} differ only by case or Unicode form",
                "names that no file system takes for one",
                "rename one of them",
            )
