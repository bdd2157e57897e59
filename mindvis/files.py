"""Files that are whole or absent: atomic writes and checksums."""

import filecmp
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an exception.

    A file that already holds the same bytes is left alone, so that its time of modification tells
    when its content last changed. A process that is killed inside the block leaves `path` as it
    was, and a `.partial` file that the next writer of the same path replaces.

    Args:
        path: The file to write; its folder is made when absent.

    Yields:
        The temporary path, in the same folder and with the same suffix.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial{''.join(target.suffixes)}")
    try:
        yield partial
        if target.is_file() and filecmp.cmp(partial, target, shallow=False):
            partial.unlink()
        else:
            partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON atomically: two-space indent, NaN refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_folder() -> Path:
    """The shipped configurations: within an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    return next(
        folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()
    )
