"""Pictures that another system decoded: a folder of them, a folder of truths, a table of names."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from mindvis.data.picture_files import refuse_odd_name
from mindvis.decoding.keys import check_distinct, normal
from mindvis.decoding.predictions import Predictions, SubjectPictures, read_flags
from mindvis.errors import DataError, one_of
from mindvis.records import read_table

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
REQUIRED = ("sample", "truth")
COLUMNS = {
    "sample": "file of a decoded picture, within the folder of pictures",
    "truth": "file of the picture that was seen, within the folder of truths",
    "subject": "whose brain it was decoded from; one subject where absent",
    "draw": "number of the draw, where a stimulus has several; order of the rows where absent",
    "label": "class of the true picture",
    "category": "coarser group of the true picture",
    "seen": "whether brain responses to its class were in training: true, t, yes, y, 1 or 1.0; "
    "false, f, no, n, 0 or 0.0; or blank for all",
}


def read_foreign(
    images: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    names: str | os.PathLike[str] | None = None,
) -> Predictions:
    """Decoded pictures of any origin with the pictures that were seen.

    Args:
        images: Folder of decoded pictures.
        truth: Folder of the pictures that were seen.
        names: CSV file with the columns `sample` and `truth`, and any of `subject`, `draw`,
            `label`, `category` and `seen`; without it, files of the same name belong together.

    Raises:
        DataError: A folder, a column or a picture is missing, or two rows say the same.
    """
    found = {kind: _list(Path(folder), kind) for kind, folder in _folders(images, truth).items()}
    table = _match(found, Path(images)) if names is None else _read_table(Path(names))
    where = str(names if names is not None else images)
    samples = _resolve(table["sample"], found["decoded"], where, "sample")
    truths = _resolve(table["truth"], found["true"], where, "truth")
    _check_endings(dict.fromkeys(path.relative_to(truth).as_posix() for _, path in truths), "true")
    table = table.assign(
        file=[str(path) for _, path in samples],
        stimulus=[stimulus for stimulus, _ in truths],
        seen_file=[str(path) for _, path in truths],
    )
    table = _complete(table, where)
    subjects = tuple(
        _subject(str(name), rows, where) for name, rows in table.groupby("subject", sort=True)
    )
    return Predictions(Path(images), subjects, {})


def _folders(images: str | os.PathLike[str], truth: str | os.PathLike[str]) -> dict[str, Path]:
    return {"decoded": Path(images), "true": Path(truth)}


def _list(folder: Path, kind: str) -> dict[str, Path]:
    """Pictures of a folder and of those below it, by their name within it."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", f"a folder of {kind} pictures")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not files:
        raise DataError(f"{folder} holds no pictures", f"files ending in {', '.join(PICTURES)}")
    for path in files:
        refuse_odd_name(path)
    return {path.relative_to(folder).as_posix(): path for path in files}


def _stem(name: str) -> str:
    """A file's name within its folder, without the ending, in one Unicode form."""
    path = PurePosixPath(normal(name))
    return str(path.with_suffix("")) if path.suffix.lower() in PICTURES else str(path)


def _match(found: Mapping[str, Mapping[str, Path]], images: Path) -> pd.DataFrame:
    """The table of files that have the same name, for a folder without one."""
    for kind, files in found.items():
        _check_endings(files, kind)
    truths = {_stem(name): name for name in found["true"]}
    alone = [name for name in found["decoded"] if _stem(name) not in truths]
    if alone:
        raise DataError(
            f"{len(alone)} of {len(found['decoded'])} pictures in {images} have no true picture of "
            f"the same name, {alone[0]} the first",
            remedy="say which belong together with --names CSV, of the columns sample and truth",
        )
    pairs = {"sample": list(found["decoded"])}
    return pd.DataFrame({**pairs, "truth": [truths[_stem(name)] for name in pairs["sample"]]})


def _check_endings(names: Iterable[str], kind: str) -> None:
    """Refuse pictures whose names differ by their ending alone: they would be draws of one."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_stem(name), name)
        if other != name:
            raise DataError(
                f"the {kind} pictures {other!r} and {name!r} have the same name up to ending, "
                "Unicode form and blanks",
                "one picture of a name",
                "rename or remove one of them",
            )


def _read_table(path: Path) -> pd.DataFrame:
    """The table of names as text."""
    if not path.is_file():
        raise DataError(f"there is no {path}", "a CSV file with the columns sample and truth")
    table = read_table(path)
    table.columns = table.columns.str.strip().str.lower()
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{path} has the column {twice!r} twice", "each column once")
    for name in REQUIRED:
        if name not in table.columns:
            near = one_of("a column", name, table.columns)
            raise DataError(
                f"{path} has no column {name!r} but {', '.join(table.columns)}",
                f"{name}: {COLUMNS[name]}",
                "rename it" if "did you mean" in near else "",
            )
    if table.empty:
        raise DataError(f"{path} has no rows", "one for each decoded picture")
    return table


def _resolve(
    names: pd.Series, found: Mapping[str, Path], where: str, column: str
) -> list[tuple[str, Path]]:
    """For each name its stimulus id and file; the ending may be left out where it is clear."""
    by_stem: dict[str, list[Path]] = {}
    for file, path in found.items():
        by_stem.setdefault(_stem(file), []).append(path)
    resolved, missing = [], []
    for name in names.tolist():
        key = PurePosixPath(name.strip()).as_posix()
        exact = [found[key]] if key in found else by_stem.get(_stem(key), [])
        if len(exact) > 1:
            raise DataError(f"{column} {name!r} of {where} may be any of {len(exact)} files")
        resolved.append((_stem(key), exact[0] if exact else Path()))
        missing += [] if exact else [name]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} names in column {column} of {where} are no picture, "
            f"{missing[0]!r} the first",
            f"one such as {next(iter(found))!r}",
        )
    return resolved


def _complete(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Every column, with what its absence means."""
    table["subject"] = _subjects(table, where)
    check_distinct(table["subject"].unique(), f"subjects of {where}")
    check_distinct(table["stimulus"].unique(), f"true pictures of {where}")
    for name in ("label", "category", "seen"):
        table[name] = table[name].str.strip().replace("n/a", "") if name in table else ""
        _check_constant(table, name, where)
    if "draw" not in table:
        return table.assign(draw=table.groupby(["subject", "stimulus"]).cumcount())
    wrong = ~table["draw"].str.strip().str.fullmatch(r"[0-9]{1,9}")
    if wrong.any():
        raise DataError(
            f"draw of row {int(wrong.to_numpy().argmax()) + 1} in {where} is "
            f"{table.loc[wrong, 'draw'].iloc[0]!r}",
            "a whole number",
        )
    return table.assign(draw=table["draw"].astype(int))


def _subjects(table: pd.DataFrame, where: str) -> pd.Series:
    """The subject of each row; one where the column is absent or blank throughout."""
    if "subject" not in table or not table["subject"].str.strip().any():
        return pd.Series("subject", index=table.index)
    names = table["subject"].map(normal)
    if (names == "").any():
        row = int((names == "").to_numpy().argmax()) + 1
        raise DataError(f"subject of row {row} in {where} is blank", "a subject in every row")
    return names


def _check_constant(table: pd.DataFrame, column: str, where: str) -> None:
    """Refuse a stimulus about which the rows of its draws disagree."""
    for (subject, stimulus), cells in table.groupby(["subject", "stimulus"])[column]:
        if cells.nunique() > 1:
            raise DataError(
                f"{column} of {stimulus!r}, subject {subject}, in {where} is "
                f"{' and '.join(map(repr, cells.unique()))}",
                "one for all draws of a stimulus",
            )


def _subject(name: str, table: pd.DataFrame, where: str) -> SubjectPictures:
    """The pictures of one subject, in order of stimulus and draw."""
    doubled = table[table.duplicated(["stimulus", "draw"])]
    if len(doubled):
        row = doubled.iloc[0]
        raise DataError(
            f"{where} has two pictures of draw {row['draw']} of {row['stimulus']!r}, subject "
            f"{name}",
            "one row for each subject, truth and draw",
        )
    draws = tuple(sorted(table["draw"].unique().tolist()))
    table = table.sort_values(["stimulus", "draw"], kind="stable")
    rows = {str(stimulus): group for stimulus, group in table.groupby("stimulus", sort=True)}
    for stimulus, group in rows.items():
        if len(group) != len(draws):
            raise DataError(
                f"{stimulus!r} of subject {name} in {where} has draws {group['draw'].tolist()}",
                f"draws {list(draws)} for every stimulus, as others have them",
            )
    first = pd.DataFrame([group.iloc[0] for group in rows.values()])
    return SubjectPictures(
        subject=name,
        stimuli=tuple(rows),
        labels=tuple(first["label"]),
        categories=tuple(first["category"]),
        seen=read_flags(first["seen"].tolist(), list(rows), where),
        draws=draws,
        files=tuple(tuple(map(Path, group["file"])) for group in rows.values()),
        truths=tuple(map(Path, first["seen_file"])),
    )
