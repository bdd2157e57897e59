"""A pipeline small enough to run in milliseconds, fitted to the tiny store's two subjects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mindvis.data.places import VoxelPlaces
from mindvis.data.store import VoxelStore
from mindvis.data.transforms import Moments, Preprocessing, fit_transform
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.models.autoencoder import build_first_stage
from mindvis.models.conditioning import BrainConditioner
from mindvis.models.denoiser import build_denoiser
from mindvis.models.encoder import BrainEncoder
from mindvis.models.sampling import make_scheduler

LENGTH, PATCH = 96, 8


def fit_preprocessing(store_path: Path) -> Preprocessing:
    with VoxelStore(store_path) as store:
        subjects = {
            subject.name: fit_transform(
                Moments([subject.responses(np.flatnonzero(subject.trials["split"] == "train"))]),
                np.arange(subject.num_voxels),
                patch_size=PATCH,
                length=LENGTH,
                subject=subject.name,
                places=VoxelPlaces.of(subject),
            )
            for subject in store
        }
    return Preprocessing(patch_size=PATCH, length=LENGTH, subjects=subjects)


def strengthen_condition(module: torch.nn.Module) -> None:
    """Random weights where training starts from zeros, so that the condition shows."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = torch.where(parameter == 0, 0.3 * noise, parameter.data)


def build_pipeline(preprocessing: Preprocessing | None, first_stage: str = "kl") -> MindVisPipeline:
    """Pictures of 16 x 16 from latents of 3 x 8 x 8."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = BrainEncoder(LENGTH, PATCH, embed_dim=32, depth=1, num_heads=4)
        conditioner = BrainConditioner(encoder.num_tokens, 32, 24, 20, 5, num_heads=2)
        unet = build_denoiser(8, 3, 24, 20, (16, 32), attention_head_dim=8)
        vae = build_first_stage(first_stage, 3, (8, 16), num_codes=32)
    for module in (conditioner, unet):
        strengthen_condition(module)
    base = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
    scheduler = make_scheduler("dpm", base)
    parts = [part.eval() for part in (encoder, conditioner, unet, vae)]
    pipeline = MindVisPipeline(*parts, scheduler, preprocessing)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def make_pipeline(store: Path) -> Callable[..., MindVisPipeline]:
    preprocessing = fit_preprocessing(store)

    def make(first_stage: str = "kl", raw: bool = True) -> MindVisPipeline:
        return build_pipeline(preprocessing if raw else None, first_stage)

    return make


@pytest.fixture
def pipeline(make_pipeline: Callable[..., MindVisPipeline]) -> MindVisPipeline:
    return make_pipeline()


@pytest.fixture(scope="session")
def model(
    make_pipeline: Callable[..., MindVisPipeline], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved pipeline; never write to it."""
    path = tmp_path_factory.mktemp("saved") / "model"
    make_pipeline().save_pretrained(path)
    return path
