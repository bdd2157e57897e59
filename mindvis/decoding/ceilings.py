"""What no decoder can exceed: the first stage on true pictures, and the signal in responses."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mindvis.data.reader import VoxelStore
from mindvis.data.reliability import explainable_variance
from mindvis.decoding.baseline import voxel_columns
from mindvis.decoding.listing import first_stage_file, task_trials
from mindvis.decoding.output import save_png
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.errors import DataError
from mindvis.metrics.pairing import fit_size
from mindvis.models.autoencoder import downsampling, encode_images


@torch.no_grad()
def save_first_stage(
    output: Path, pipeline: MindVisPipeline, store: VoxelStore, names: Sequence[str]
) -> None:
    """Shown pictures through the first stage and back, at the model's size: none can be better."""
    if store.stimuli is None:
        return
    scale = downsampling(pipeline.vae)
    height, width = (scale * side for side in pipeline.latent_shape()[1:])
    for name in tqdm(names, desc="first stage", delay=2, leave=False):
        path = output / first_stage_file(name)
        if not path.is_file():
            shown = fit_size(store.stimuli.images(store.stimuli.index([name])), height, width)
            pixels = pipeline.image_processor.preprocess(Image.fromarray(shown[0]))
            pixels = pixels.to(pipeline.vae.device, pipeline.vae.dtype)
            latents = encode_images(pipeline.vae, pixels)
            save_png(pipeline.to_images(latents)[0], path)


def noise_ceiling(
    store: VoxelStore,
    subject: str,
    stimuli: Sequence[str],
    model: str | os.PathLike[str] | None = None,
    split: str = "test",
    single: bool = False,
) -> dict[str, Any]:
    """How much of the decoded responses is signal, over the voxels that the model reads.

    From the repeats of the decoded stimuli: of one trial's variance the part v is signal, of the
    mean of k trials k v / (1 + (k - 1) v) (Spearman and Brown). Voxels without signal may score
    below zero.

    Args:
        store: Responses.
        subject: Whose.
        stimuli: What was decoded.
        model: Folder of the decoding model.
        split: Trials that were decoded.
        single: Whether single trials were decoded rather than means.

    Returns:
        `median` and `best` (95th percentile) over voxels, `voxels`, `repeats` (mean number of
        trials of what was decoded) and `source`; or the `reason` why it is not known.
    """
    if subject not in store.subjects:
        return {"reason": f"{store.path} has no subject {subject}"}
    stored = store[subject]
    task = task_trials(stored)
    rows = task[(task["split"] == split) & task["stimulus"].isin(list(stimuli))]
    responses = stored.responses(rows.index.to_numpy())[:, voxel_columns(stored, model)]
    try:
        part = explainable_variance(responses, rows["stimulus"].tolist())
    except DataError as error:
        return {"reason": f"it needs repeats: {error}"}
    repeats = 1.0 if single else len(rows) / rows["stimulus"].nunique()
    part = part[np.isfinite(part)]
    if not len(part):
        return {"reason": "every voxel is constant"}
    part = repeats * part / (1 + (repeats - 1) * part)
    return {
        "median": float(np.median(part)),
        "best": float(np.quantile(part, 0.95)),
        "voxels": len(part),
        "repeats": repeats,
        "source": "explainable variance of the decoded responses, from repeats",
    }
