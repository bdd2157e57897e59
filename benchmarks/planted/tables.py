"""Tables as programs of all kinds write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Columns = Mapping[str, Sequence[str]]


def number(value: float, form: str) -> str:
    """A number of at most three decimals as text."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return {
        "decimal": text,
        "exponent": f"{value:.7e}",
        "fixed": f"{value:.4f}",
        "padded": f" {text} ",
        "decimal comma": text.replace(".", ","),
    }[form]


def write_table(path: Path, columns: Columns, dialect: str) -> None:
    """Write columns of text in a dialect of `recipe.KINDS`."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    lines = [list(columns), *rows]
    if dialect == "quoted":
        lines = [[f'"{cell}"' for cell in line] for line in lines]
    separator = "," if dialect == "commas" else "\t"
    texts = [separator.join(line) for line in lines]
    if dialect == "tab at the end of rows":
        texts[1:] = [f"{text}\t" for text in texts[1:]]
    if dialect == "tab at the end of all lines":
        texts = [f"{text}\t" for text in texts]
    end = {"CRLF": "\r\n", "CR": "\r"}.get(dialect, "\n")
    whole = end.join(texts) + ("" if dialect == "no newline at the end" else end)
    whole += end if dialect == "blank line at the end" else ""
    encoding = {"BOM": "utf-8-sig", "UTF-16": "utf-16", "Latin-1": "latin-1"}.get(dialect, "utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole.encode(encoding))
