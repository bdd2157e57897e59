"""Run folders: whether one is complete, and whether a command is the one that began it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mindvis.errors import ConfigError
from mindvis.provenance import CONFIG, file_manifest, read_manifest

COMPLETE = "complete.json"
LAST = Path("checkpoints") / "last.ckpt"
# options that name what is read; all other texts are choices
PATH_OPTIONS = ("store", "pictures", "preprocessing", "encoder", "ldm", "first_stage", "init_from")
# options that change how fast a run is, not what it computes
FREE_OPTIONS = ("num_workers", "cache_bytes", "pin_memory")


def input_paths(config: Mapping[str, Any]) -> list[Path]:
    """Files and folders that a run's model and data options name, those that exist.

    Args:
        config: The resolved configuration; of a run folder, its `model` alone is an input.
    """
    paths: list[Path] = []
    for part in ("data", "model"):
        options = (config.get(part) or {}).get("init_args") or {}
        for name in PATH_OPTIONS:
            value = options.get(name)
            paths += [
                Path(text) for text in (value if isinstance(value, list) else [value]) if text
            ]
    found = [path / "model" if (path / "model").is_dir() else path for path in paths]
    return [path for path in found if path.exists()]


def is_complete(run: Path, max_epochs: int | None) -> bool:
    """Whether a run folder holds a model that was trained for that many epochs."""
    path = run / COMPLETE
    if max_epochs is None or not path.is_file() or not (run / "model").is_dir():
        return False
    return bool(json.loads(path.read_text())["epochs"] >= max_epochs)


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys at which two configurations differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            if name not in FREE_OPTIONS:
                below = f"{key}.{name}".lstrip(".")
                yield from differences(old.get(name), new.get(name), below)
    elif old != new:
        yield key.replace(".init_args", ""), old, new


def check_same_run(run: Path, config: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other options, or on inputs that have changed.

    Args:
        run: The run folder.
        config: The resolved configuration of the command.

    Raises:
        ConfigError: With the first option or file that differs.
    """
    saved = run / CONFIG
    if not saved.is_file() or not ((run / LAST).is_file() or (run / "model").is_dir()):
        return
    old = yaml.safe_load(saved.read_text(encoding="utf-8"))
    remedy = "choose another --output folder, or delete this one"
    for part in ("data", "model"):
        for key, before, now in differences(old.get(part), config.get(part), part):
            raise ConfigError(
                f"{run} was begun with {key} {before!r}, and now it is {now!r}",
                "the options the run began with",
                remedy,
            )
    known = read_manifest(run).get("files", [])
    digests = {entry["path"]: entry["sha256"] for entry in known}
    for entry in file_manifest(input_paths(config), known):
        if digests.get(entry["path"], entry["sha256"]) != entry["sha256"]:
            raise ConfigError(f"{entry['path']} has changed since {run} was begun", remedy=remedy)
