"""The output folder of `mindvis decode`: made by one set of options, shared by all shards."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from tqdm import tqdm

from mindvis.data.store import StoredStimuli
from mindvis.decoding.listing import truth_file
from mindvis.errors import ConfigError
from mindvis.files import atomic_path
from mindvis.provenance import (
    CONFIG,
    ENVIRONMENT,
    MANIFEST,
    file_manifest,
    read_manifest,
    write_provenance,
)

# Where things are and who computes them; files are compared by what is in them.
PLACES = frozenset({"model", "store", "output", "device", "shard"})


def prepare_output(
    output: Path,
    config: Mapping[str, Any],
    inputs: Sequence[Path],
    staging: str,
    lineage: Mapping[str, Any],
) -> None:
    """Record the options of a new folder, or refuse to mix two sets of options in an old one.

    Args:
        output: The folder.
        config: Every option.
        inputs: Store and model.
        staging: Name of a folder inside, of this shard alone.
        lineage: What the model was trained on and chosen by, kept with its pictures.

    Raises:
        ConfigError: The folder's pictures were made with other options or from other files.
    """
    if (output / CONFIG).is_file():
        _check_same_options(output, config)
        _check_same_inputs(output, inputs)
        return
    with staged(output / staging) as folder:
        facts = {"transductive": config["transductive"], "lineage": dict(lineage)}
        write_provenance(folder, config, inputs, **facts)
        for name in (ENVIRONMENT, MANIFEST, CONFIG):
            (folder / name).replace(output / name)


def _check_same_options(output: Path, config: Mapping[str, Any]) -> None:
    earlier = yaml.safe_load((output / CONFIG).read_text(encoding="utf-8")) or {}
    for name in sorted((earlier.keys() | config.keys()) - PLACES):
        before, now = earlier.get(name), config.get(name)
        if before != now:
            raise ConfigError(
                f"{output} holds pictures decoded with {name} {before!r}, now {name} is {now!r}",
                "the options of its config.yaml",
                "choose another --output, or delete that folder",
            )


def _check_same_inputs(output: Path, inputs: Sequence[Path]) -> None:
    before = read_manifest(output).get("files", [])
    now = file_manifest(inputs, before)
    if {entry["sha256"] for entry in before} != {entry["sha256"] for entry in now}:
        raise ConfigError(
            f"{output} holds pictures decoded from another content of {inputs[0]} or {inputs[1]}",
            "the model and store that its manifest.json lists",
            "choose another --output, or delete that folder",
        )


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder for files that are moved to a place which several processes write to."""
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all."""
    with atomic_path(path) as partial:
        image.save(partial, format="PNG")


def save_truth(output: Path, stimuli: StoredStimuli, names: Sequence[str]) -> None:
    """Write the pictures that were shown, at the store's size; those that are there stay."""
    for name in tqdm(names, desc="true pictures", delay=2, leave=False):
        path = output / truth_file(name)
        if not path.is_file():
            (image,) = stimuli.images(stimuli.index([name]))
            save_png(Image.fromarray(image), path)
