"""Data sets that nilearn downloads: its cache, given as a folder or filled by its fetcher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindvis.errors import SourceError


def cached_folder(source: str | None, name: str, fetch: Callable[[], Any]) -> Path:
    """The folder of a data set in nilearn's cache.

    Args:
        source: The cache, or the data set's folder in it; nothing is downloaded then. None asks
            nilearn, which downloads what is not in its own cache yet.
        name: What nilearn calls the data set, such as "haxby2001".
        fetch: nilearn's fetcher, with its arguments.

    Raises:
        SourceError: If the folder is absent, or the download fails.
    """
    if source is not None:
        root = Path(source)
        folder = root / name if (root / name).is_dir() else root
        if not folder.is_dir():
            raise SourceError(f"{folder} is not a folder", f"nilearn's cache, or its folder {name}")
        return folder
    from nilearn.datasets import get_data_dirs

    try:
        fetch()
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"nilearn could not download {name} ({error})",
            "a connection to the internet",
            "download it elsewhere with nilearn and give the cache with --source",
        ) from None
    return next(Path(root) / name for root in get_data_dirs() if (Path(root) / name).is_dir())
