"""The `mindvis import-checkpoint` and `export-checkpoint` commands: MinD-Vis' files and ours."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import torch
import yaml

from mindvis.console import say
from mindvis.data.ordering import Order
from mindvis.data.recordings import (
    Recipe,
    fit_preprocessing,
    fitting_rows,
    open_recordings,
    region_names,
)
from mindvis.data.transforms import Preprocessing, Statistics
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.errors import ConfigError
from mindvis.files import atomic_path, write_json, write_text
from mindvis.models.legacy.configuration import compvis_config
from mindvis.models.legacy.diffusion import ldm_in
from mindvis.models.legacy.exporting import export_ldm, export_mae, export_pipeline
from mindvis.models.legacy.loading import Checkpoint, mae_in, open_checkpoint
from mindvis.models.loading import component_folder, load_component
from mindvis.models.mae import BrainMAE
from mindvis.provenance import write_lineage, write_provenance

REPORT: Final = "import.json"
INDEX: Final = "model_index.json"


def import_checkpoint(
    file: str,
    output: str,
    ldm_config: str | None = None,
    encoder_config: str | None = None,
    store: str | None = None,
    subjects: list[str] | None = None,
    roi: str | list[str] | None = None,
    order: Order = "stored",
    statistics: Statistics = "train",
    transductive: bool = True,
    selected_on: Literal["nothing", "val", "test"] | None = "test",
) -> None:
    """Turn a checkpoint of MinD-Vis or CompVis into a model folder of this package.

    Nothing that the file names is executed, and every tensor is used or listed with the reason in
    import.json. Decode with --guidance 1, and as MinD-Vis did with --scheduler plms --steps 250.

    Args:
        file: MinD-Vis' fmri_encoder.pth, checkpoint.pth or finetuned.pth, or CompVis' model.ckpt.
        output: Folder for the model; an earlier import in it is replaced.
        ldm_config: CompVis' config.yaml; when omitted the one beside the file, or else the
            published sizes.
        encoder_config: The fmri_encoder.pth (or a YAML file of its configuration) that a
            checkpoint.pth was trained from; needed where its encoder is not of the published size.
        store: A VoxelStore whose responses say how to standardise, as MinD-Vis does it: one mean
            and deviation a subject, padded by wrapping. Needed to decode.
        subjects: Subjects of the store; all when omitted.
        roi: Regions whose voxels the model reads, their union; all stored voxels when omitted.
        order: Voxels as stored, or along a Hilbert curve through the volume.
        statistics: Rows that mean and deviation are of: "train"; "train_only", which leaves test
            responses as they are stored, as MinD-Vis does with GOD; or "all", as with BOLD5000.
        transductive: Whether the model has seen test responses, as those that went through
            MinD-Vis' second stage have; every result of it will say so.
        selected_on: By whose scores the epoch of a checkpoint.pth or finetuned.pth was chosen;
            every result of it will say so. MinD-Vis keeps the epoch that is best on the test
            pictures. "nothing" for the last epoch, null where it is not known.

    Raises:
        MindVisError: The file is no such checkpoint, or does not fit the store.
    """
    options = dict(locals())
    folder = check_folder(output, file)
    model, checkpoint = load_model(file, ldm_config, encoder_config)
    lineage = {
        "transductive": transductive and checkpoint.kind != "ldm",
        "selected_on": selected_on if checkpoint.kind == "pipeline" else None,
    }
    with replaced(folder) as partial:
        if store is not None:
            sizes = read_sizes(model, checkpoint)
            recipe = Recipe(region_names(roi), order, "legacy", "global", *sizes, statistics)
            fit_to_store(store, subjects, recipe).save(partial)
        save_model(model, partial)
        write_lineage(partial, task="import-checkpoint", **lineage)
        write_report(partial, checkpoint)
        inputs = [path for path in (file, ldm_config, encoder_config, store) if path is not None]
        write_provenance(partial, options, inputs, **lineage)
    tell(folder, checkpoint)


def load_model(
    file: str, ldm_config: str | None, encoder_config: str | None
) -> tuple[BrainMAE | MindVisPipeline, Checkpoint]:
    """The autoencoder or pipeline in a file, weights still in it.

    Raises:
        CheckpointError: The file holds neither.
    """
    checkpoint = open_checkpoint(file)
    if checkpoint.kind == "encoder":
        return mae_in(checkpoint, encoder_config)
    model = ldm_in(checkpoint, ldm_config, encoder_config)
    parts = (model.encoder, model.conditioner, model.unet, model.first_stage, model.scheduler)
    return MindVisPipeline(*parts), model.checkpoint


def read_sizes(model: BrainMAE | MindVisPipeline, checkpoint: Checkpoint) -> tuple[int, int]:
    """Voxels of a patch, and voxels that the model reads.

    Raises:
        ConfigError: It reads labels.
    """
    brain = model if isinstance(model, BrainMAE) else model.encoder
    if brain is None:
        raise ConfigError(
            f"{checkpoint.accounts.file} reads labels and no responses", remedy="leave --store out"
        )
    return brain.config.patch_size, brain.config.num_voxels


def save_model(model: BrainMAE | MindVisPipeline, folder: Path) -> None:
    """Write safetensors and JSON as a run of the stage that makes such a model has them."""
    if isinstance(model, BrainMAE):
        model.save_pretrained(folder / "mae")
    else:
        model.save_pretrained(folder)


def export_checkpoint(directory: str, output: str) -> None:
    """Write a model as a file that MinD-Vis' own code loads.

    A pipeline's file has the config.yaml of its latent diffusion model beside it, as FILE.yaml.

    Args:
        directory: A run of stage A or B, or a folder that import-checkpoint wrote.
        output: The file, such as fmri_encoder.pth, checkpoint.pth or model.ckpt.

    Raises:
        MindVisError: There is no model, or MinD-Vis has nothing like it.
    """
    imported = imported_config(directory)
    if any((Path(directory) / place / INDEX).is_file() for place in (".", "model")):
        content, config = export_parts(MindVisPipeline.from_pretrained(directory), imported)
        write_text(Path(output).with_suffix(".yaml"), yaml.safe_dump(config, sort_keys=False))
    else:
        mae = load_component(BrainMAE, component_folder(directory, ("mae",)))
        content = export_mae(mae, imported)
    with atomic_path(output) as partial:
        torch.save(content, partial)
    count = max(len(value) for value in content.values() if isinstance(value, dict))
    say(f"{output}: {count} tensors, {Path(output).stat().st_size / 1e6:.1f} MB")


def export_parts(
    pipeline: MindVisPipeline, imported: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pipeline's checkpoint and CompVis' configuration of it.

    Raises:
        CheckpointError: MinD-Vis has nothing like one of its parts.
    """
    diffusion = (pipeline.unet, pipeline.vae, pipeline.scheduler.config)
    if pipeline.encoder is None:
        content = export_ldm(pipeline.conditioner, *diffusion)
        return content, compvis_config(*diffusion, pipeline.conditioner.config.num_classes)
    content = export_pipeline(pipeline.encoder, pipeline.conditioner, *diffusion, imported)
    return content, compvis_config(*diffusion)


def fit_to_store(store: str, subjects: list[str] | None, recipe: Recipe) -> Preprocessing:
    """The way from stored responses to the model's input, fitted to subjects of a store."""
    recordings = open_recordings(store, subjects)
    rows = fitting_rows(recordings, recipe.statistics, kinds=("task",), val_fraction=0.0, seed=0)
    return fit_preprocessing(recordings, rows, recipe)


def check_folder(output: str, file: str) -> Path:
    """The output folder: absent, empty, or of an earlier import that the file is no part of.

    Raises:
        ConfigError: It holds something else.
    """
    folder = Path(output)
    other = folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file()
    if folder.is_file() or other or Path(file).resolve().is_relative_to(folder.resolve()):
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


def imported_config(directory: str) -> dict[str, Any]:
    """Values of the configuration that a model was imported with; empty for one trained here."""
    file = Path(directory) / REPORT
    return json.loads(file.read_text(encoding="utf-8"))["config"] if file.is_file() else {}
