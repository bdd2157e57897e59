"""The `mindvis import-checkpoint` and `export-checkpoint` commands: MinD-Vis' files and ours."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from mindvis.console import say
from mindvis.data.ordering import Order
from mindvis.data.recordings import (
    Recipe,
    divide,
    fit_preprocessing,
    open_recordings,
    region_names,
)
from mindvis.data.transforms import Preprocessing
from mindvis.errors import ConfigError
from mindvis.files import atomic_path, write_json
from mindvis.models.legacy import load_mindvis_mae
from mindvis.models.legacy.exporting import export_mae
from mindvis.models.legacy.loading import Checkpoint
from mindvis.models.loading import component_folder, load_component
from mindvis.models.mae import BrainMAE
from mindvis.provenance import write_lineage, write_provenance

REPORT: Final = "import.json"


def import_checkpoint(
    file: str,
    output: str,
    store: str | None = None,
    subjects: list[str] | None = None,
    roi: str | list[str] | None = None,
    order: Order = "stored",
    transductive: bool = True,
) -> None:
    """Turn a checkpoint of MinD-Vis into a model folder of this package.

    Nothing that the file names is executed, and every tensor is used or listed with the reason in
    import.json.

    Args:
        file: MinD-Vis' fmri_encoder.pth.
        output: Folder for the model; an earlier import in it is replaced.
        store: A VoxelStore whose training responses say how to standardise, as MinD-Vis does it:
            one mean and deviation a subject, padded by wrapping.
        subjects: Subjects of the store; all when omitted.
        roi: Regions whose voxels the model reads, their union; all stored voxels when omitted.
        order: Voxels as stored, or along a Hilbert curve through the volume.
        transductive: Whether the model has seen test responses, as those that went through
            MinD-Vis' second stage have; every result of it will say so.

    Raises:
        MindVisError: The file is no such checkpoint, or does not fit the store.
    """
    options = dict(locals())
    folder = check_folder(output)
    mae, checkpoint = load_mindvis_mae(file)
    length, patch = mae.config.num_voxels, mae.config.patch_size
    with replaced(folder) as partial:
        if store is not None:
            fit_to_store(store, subjects, roi, order, length, patch).save(partial)
        mae.save_pretrained(partial / "mae")
        write_lineage(partial, task="import-checkpoint", transductive=transductive)
        write_report(partial, checkpoint)
        inputs = [path for path in (file, store) if path is not None]
        write_provenance(partial, options, inputs, transductive=transductive)
    tell(folder, checkpoint)


def export_checkpoint(directory: str, output: str) -> None:
    """Write a model as a file that MinD-Vis' own code loads.

    Args:
        directory: A run of stage A, or a folder that import-checkpoint wrote.
        output: The file, such as fmri_encoder.pth.

    Raises:
        MindVisError: There is no model, or MinD-Vis has nothing like it.
    """
    mae = load_component(BrainMAE, component_folder(directory, ("mae",)))
    content = export_mae(mae, imported_config(directory))
    with atomic_path(output) as partial:
        torch.save(content, partial)
    say(f"{output}: {len(content['model'])} tensors, {Path(output).stat().st_size / 1e6:.1f} MB")


def fit_to_store(
    store: str,
    subjects: list[str] | None,
    roi: str | list[str] | None,
    order: Order,
    length: int,
    patch_size: int,
) -> Preprocessing:
    """MinD-Vis' way from stored responses to its networks, fitted on training rows alone.

    Args:
        store: A VoxelStore.
        subjects: Of it; None for all.
        roi: Regions; None for all voxels.
        order: Of the voxels.
        length: Voxels that the network reads.
        patch_size: Voxels of a patch.
    """
    recordings = open_recordings(store, subjects)
    rows = divide(recordings, "train", kinds=("task",), val_fraction=0.0, seed=0)
    recipe = Recipe(region_names(roi), order, "legacy", "global", patch_size, length)
    return fit_preprocessing(recordings, rows, recipe)


def check_folder(output: str | os.PathLike[str]) -> Path:
    """The output folder, absent or of an earlier import.

    Raises:
        ConfigError: It holds something else.
    """
    folder = Path(output)
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file()
    ):
        raise ConfigError(
            f"{folder} holds something else", "a new folder, or one of an earlier import"
        )
    return folder


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends without an exception."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_report(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `import.json`: where each tensor went, and the configuration that came with them."""
    source = {"file": Path(checkpoint.accounts.file).name, "kind": checkpoint.kind}
    content = {**source, "config": checkpoint.config, **checkpoint.accounts.report()}
    write_json(folder / REPORT, content)


def tell(folder: Path, checkpoint: Checkpoint) -> None:
    """Say what was imported, and what was not."""
    say(f"{folder}: {checkpoint.kind} of {checkpoint.accounts.file}")
    for line in checkpoint.accounts.summary():
        say(f"  {line}")


def imported_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Values of the configuration that a model was imported with; empty for one trained here."""
    file = Path(directory) / REPORT
    return json.loads(file.read_text(encoding="utf-8"))["config"] if file.is_file() else {}
