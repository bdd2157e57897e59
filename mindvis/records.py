"""Small records read and checked: JSON, YAML and tables; every damage is one sentence.

A record that somebody else wrote, or that was cut short, must neither crash a command nor be read
as something it does not say. All cells of a table are text: no word stands for a missing value, no
column becomes an index, no number is guessed.
"""

import csv
import io
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mindvis.errors import MindVisError

#: no record of ours comes near it; a larger file is something else
LARGEST = 512 << 20  # bytes
#: nesting that no record needs, far below what exhausts Python's stack
DEEPEST = 64


class RecordError(MindVisError):
    """A record (JSON, YAML, a table) that cannot be read, or does not hold what it must."""


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        RecordError: If it is no regular file, too large, or of another encoding.
    """
    data = _bytes(Path(path))
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{path} is not {encoding.removesuffix('-sig').upper()} text "
            f"(byte {error.start}: {error.reason})",
            "UTF-8",
            "save the file as UTF-8",
        ) from None
    if "\x00" in text:
        raise RecordError(f"{path} holds NUL characters", "text", "fetch or write the file again")
    return text


def _bytes(path: Path) -> bytes:
    """All bytes of a regular file; pipes and devices, which may never end, are refused."""
    if not path.exists():
        raise RecordError(f"{path} does not exist")
    if not path.is_file():
        raise RecordError(f"{path} is no regular file", "a file")
    size = path.stat().st_size
    if size > LARGEST:
        raise RecordError(f"{path} has {size >> 20} MiB", f"a record of at most {LARGEST >> 20}")
    return path.read_bytes()


def read_json(path: str | os.PathLike[str], keys: Collection[str] = ()) -> dict[str, Any]:
    """A JSON object.

    Args:
        path: The file.
        keys: Keys that it must have.

    Raises:
        RecordError: If it is damaged, no object, lacks a key, or nests absurdly deep.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{path} is not valid JSON ({_first_line(error)})",
            remedy="correct the file, or write it again",
        ) from None
    return _object(content, Path(path), keys, "a JSON object")


def read_yaml(path: str | os.PathLike[str], keys: Collection[str] = ()) -> dict[str, Any]:
    """A YAML mapping, without aliases, which could make a small file huge, and without tags.

    Args:
        path: The file.
        keys: Keys that it must have.

    Raises:
        RecordError: If it is damaged, no mapping, or lacks a key.
    """
    try:
        content = yaml.load(read_text(path), Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecordError(
            f"{path} is not valid YAML ({_first_line(error)})",
            remedy="correct the file, or write it again",
        ) from None
    return _object(content, Path(path), keys, "a YAML mapping")


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it has an alias, expected plain values")
        return super().compose_node(parent, index)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {double!r} stands twice")
    return content


def _first_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it nests too deep"
    return " ".join(str(error).split())[:200]


def _object(content: Any, path: Path, keys: Collection[str], what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise RecordError(f"{path} holds {_kind(content)}", what)
    if not all(isinstance(key, str) for key in content):
        raise RecordError(f"{path} has keys that are no text", what)
    if _depth(content) > DEEPEST:
        raise RecordError(f"{path} nests more than {DEEPEST} levels deep", what)
    missing = [key for key in keys if key not in content]
    if missing:
        raise RecordError(f"{path} lacks {', '.join(missing)}", remedy="write the file again")
    return content


def _depth(content: Any) -> int:
    """Levels of nesting, counted no further than one beyond `DEEPEST`."""
    level, depth = [content], 0
    while level and depth <= DEEPEST:
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        depth += 1
    return depth


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "a boolean", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def typed(record: dict[str, Any], key: str, kind: type[Any], path: Any, default: Any = None) -> Any:
    """A value of a record, checked to be of a type.

    Args:
        record: The record.
        key: Which value.
        kind: Its type; `float` accepts integers, and nothing but `bool` accepts booleans.
        path: The file, for the message.
        default: What an absent value stands for.

    Raises:
        RecordError: If it is of another type, or is a number that is not finite.
    """
    value = record.get(key, default)
    if value is default:
        return value
    kinds = (int, float) if kind is float else (kind,)
    wrong = not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool)
    if wrong or value != value or value in (float("inf"), -float("inf")):
        raise RecordError(f"{key} in {path} is {value!r:.80}", f"a {_WORDS.get(kind, 'value')}")
    return value


_WORDS = {int: "whole number", float: "number", str: "text", bool: "truth value", list: "list",
          dict: "mapping"}  # fmt: skip


def read_table(
    path: str | os.PathLike[str], columns: Collection[str] = (), delimiter: str | None = None
) -> pd.DataFrame:
    """A table with a header, all cells as text without surrounding blanks.

    A delimiter at the end of every row, which some programs write, is passed over.

    Args:
        path: A .tsv or .csv file.
        columns: Columns that it must have.
        delimiter: Between cells; by default a comma for .csv and a tab otherwise.

    Raises:
        RecordError: If a row has more or fewer cells than the header, a column stands twice or
            is missing, or the file is no table.
    """
    mark = delimiter or ("," if Path(path).suffix.lower() == ".csv" else "\t")
    rows = list(_rows(Path(path), mark))
    if not rows:
        raise RecordError(f"{path} is empty", "a table with a header")
    header = rows[0][1]
    body = _aligned(rows[1:], len(header), Path(path), mark)
    while header and not header[-1] and all(not row[-1] for row in body):
        header, body = header[:-1], [row[:-1] for row in body]
    _check_header(header, columns, Path(path))
    return pd.DataFrame(body, columns=header, dtype=str)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row; empty lines are passed over."""
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise RecordError(
            f"{path} cannot be read in line {reader.line_num} ({error})", "a table"
        ) from None


def _aligned(
    rows: list[tuple[int, list[str]]], width: int, path: Path, delimiter: str
) -> list[list[str]]:
    """The rows without the empty cell that a delimiter at the end of each of them makes."""
    trailing = bool(rows) and all(len(row) == width + 1 and not row[-1] for _, row in rows)
    for line, row in rows:
        if len(row) != width + trailing:
            raise RecordError(
                f"line {line} of {path} has {len(row)} cells",
                f"{width}, as the header has, divided by "
                + ("tabs" if delimiter == "\t" else f"{delimiter!r}"),
                "correct the line",
            )
    return [row[:width] for _, row in rows]


def _check_header(header: list[str], columns: Collection[str], path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise RecordError(f"{path} has the column {twice[0]!r} twice", "each column once")
    missing = [name for name in columns if name not in header]
    if missing:
        raise RecordError(f"{path} has no column {missing[0]!r}", f"one among {', '.join(header)}")
