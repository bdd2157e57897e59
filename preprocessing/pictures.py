"""The pictures that event tables name: found, checked, and read a few at a time."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.data.picture_files import PictureReader, colour_of, picture_size, square
from mindvis.data.schema import StimulusData
from mindvis.errors import SourceError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")


def picture_id(name: str) -> str:
    """A picture's id: its path in the events, with forward slashes and without the suffix.

    Examples:
        >>> picture_id("./test/0007.PNG")
        'test/0007'
        >>> picture_id("n03626115_19498.2")
        'n03626115_19498.2'
    """
    path = PurePosixPath(normalize("NFC", name).replace("\\", "/")) if name else None
    if path is None:
        return ""
    return str(path.with_suffix("") if path.suffix.lower() in PICTURE_SUFFIXES else path)


def find_picture(name: str, roots: Sequence[Path]) -> Path | None:
    """The file of a picture; a name without suffix finds the image of that name.

    A name is found in either normal form: a Mac writes decomposed names, most tables composed ones.

    Raises:
        SourceError: If the file lies outside of the folders, or two files have the name.
    """
    forms = dict.fromkeys([name, normalize("NFC", name), normalize("NFD", name)])
    found = next((path for form in forms if (path := _find(form, roots))), None)
    if found is not None:
        refuse_outside(found, name, roots)
    return found


def refuse_outside(path: Path, name: str, roots: Sequence[Path]) -> None:
    """Refuse a file that dots, an absolute name or a link lead to outside of all folders.

    Links that stay within a data set, as those of git-annex do, are followed.

    Raises:
        SourceError: If it lies outside.
    """
    homes = [root.resolve() for root in roots]
    if not any(path.resolve().is_relative_to(home) for home in homes):
        raise SourceError(
            f"the picture {name!r} is {path.resolve()}, outside of {roots[-1]}",
            "pictures within the data set",
            "copy it there, or name its folder where you give the command",
        )


def picture_roots(source: Path, folder: str) -> list[Path]:
    """Where pictures of a BIDS data set are: the folder that the command names, and the data set.

    Raises:
        SourceError: If a link of the data set leads out of it.
    """
    roots = [source / folder, source]
    if not os.path.normpath(folder).startswith((os.pardir, os.sep)):
        refuse_outside(roots[0], folder, [source])
    return roots


def _find(name: str, roots: Sequence[Path]) -> Path | None:
    clean = name.replace("\\", "/")
    if not clean or "\x00" in clean or max(map(len, clean.encode().split(b"/"))) > 200:
        return None  # no name of a file
    for root in roots:
        if (root / clean).is_file():
            return root / clean
        if not clean.lower().endswith(PICTURE_SUFFIXES):
            whole = root / clean
            near = sorted(whole.parent.glob(f"{glob.escape(whole.name)}.*"))
            images = [path for path in near if path.suffix.lower() in PICTURE_SUFFIXES]
            if len(images) > 1:
                raise SourceError(
                    f"the picture {name!r} may be {images[0].name} or {images[1].name}",
                    "one file of that name",
                    "write the ending into the events",
                )
            if images:
                return images[0]
    return None


class PictureRows:
    """Pictures as rows of one uint8 array (n, H, W, 3), read when a slice is asked for.

    Args:
        paths: One file a picture.
        size: Side in pixels to which the centre square is resized; None keeps them as they are.
        background: Colour behind transparent pixels, where the command has an option for it.

    Raises:
        SourceError: If a picture cannot be read, or they differ in size and `size` is None.
    """

    def __init__(
        self, paths: Sequence[Path], size: int | None, background: str | None = None
    ) -> None:
        self.paths = list(paths)
        self.size = size
        option = "--background" if background else ""
        self.reader = PictureReader(colour_of(background or "white"), option)
        sizes = {path: picture_size(path) for path in self.paths}
        first = self.paths[0]
        for path, pixels in sizes.items():
            if size is None and pixels != sizes[first]:
                raise SourceError(
                    f"{path} has {pixels[0]} x {pixels[1]} pixels and {first} has "
                    f"{sizes[first][0]} x {sizes[first][1]}",
                    "one size",
                    "pass --image_size",
                )
        width, height = sizes[first] if size is None else (size, size)
        self.shape: tuple[int, ...] = (len(self.paths), height, width, 3)

    def __getitem__(self, key: slice, /) -> NDArray[np.uint8]:
        loaded = [self._load(path) for path in self.paths[key]]
        return np.stack(loaded) if loaded else np.empty((0, *self.shape[1:]), dtype=np.uint8)

    def _load(self, path: Path) -> NDArray[np.uint8]:
        picture = self.reader.read(path)
        return picture if self.size is None else square(picture, self.size)


_FIND = "check --stimulus_root, or pass --stimulus_column null to prepare without pictures"


def gather_stimuli(
    trials: pd.DataFrame,
    roots: Sequence[Path],
    image_size: int | None,
    remedy: str = _FIND,
    background: str | None = None,
) -> tuple[StimulusData | None, list[Path]]:
    """All pictures that trials name, in order of their ids, and their files.

    Args:
        trials: Columns stimulus, file, label, category.
        roots: Folders in which to look for the files, in order of preference.
        image_size: Side in pixels; None keeps the pictures' own.
        remedy: What to do where pictures are missing.
        background: Colour behind transparent pixels, where the command has an option for it.

    Raises:
        SourceError: If a picture is missing, or two files or two classes share an id.
    """
    shown = trials.loc[trials["stimulus"] != "", ["stimulus", "file", "label", "category"]]
    table = shown.drop_duplicates()
    table = table.assign(path=table["file"].map(lambda name: find_picture(name, roots)))
    # two spellings of one file are one picture: ./a.png and a.png, composed and decomposed
    same = table["path"].map(str).where(table["path"].notna(), table["file"])
    table = table[~table.assign(file=same).duplicated()].sort_values("stimulus", kind="stable")
    if table.empty:
        return None, []
    twice = table[table["stimulus"].duplicated(keep=False)].head(2)
    if len(twice):
        one, two = ("/".join(row[1:4]) for row in twice.itertuples(index=False))
        raise SourceError(
            f"the picture {twice['stimulus'].iloc[0]!r} is once {one} and once {two}",
            "one file, label and category for each picture",
            "check --label_column and --category_column",
        )
    files = table["path"].tolist()
    missing = table.loc[table["path"].isna(), "file"].tolist()
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(files)} pictures that the events name are not in {roots[0]}, "
            f"{missing[0]!r} the first",
            "every picture",
            remedy,
        )
    paths = [path for path in files if path is not None]
    ids, labels, categories = (table[name].tolist() for name in ("stimulus", "label", "category"))
    return StimulusData(PictureRows(paths, image_size, background), ids, labels, categories), paths
