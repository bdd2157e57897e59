"""What the two diffusion stages share: draws of noise and noise levels, validation, samples."""

from typing import Any

import torch
from torch import Tensor

from mindvis.models.autoencoder import encode_images
from mindvis.models.conditioning import Conditioning, drop_condition
from mindvis.tasks.base import Batch, BrainTask
from mindvis.tasks.noising import (
    LatentCache,
    diffusion_errors,
    min_snr_weights,
    sample_images,
)

FIGURE_ITEMS = 8


class DiffusionTask(BrainTask):
    """A task with a denoiser of latents; subclasses build its parts and say what conditions it.

    Attributes:
        unet: The denoiser.
        first_stage: Between pictures and latents.
        conditioner: Gives the conditioning, and the empty one.
        scheduler: The stock scheduler that adds the noise.
        condition_dropout: Share of conditions replaced by the empty one in training.
        snr_gamma: Highest weight of an error in training, see `min_snr_weights`; None weighs alike.
        cache: Latents that were encoded before.
    """

    unet: Any
    first_stage: Any
    conditioner: Any
    scheduler: Any
    condition_dropout: float
    snr_gamma: float | None
    cache: LatentCache

    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents."""
        size = self.unet.config.sample_size
        return int(self.unet.config.in_channels), int(size), int(size)

    def keep_latents(self) -> None:
        """Encode every training picture once, unless each epoch changes the pictures."""
        self.first_stage.eval()
        if not self.facts.get("augmented"):
            self.cache.fill(self.training_pictures(), self.device)

    @torch.no_grad()
    def training_latents(self, batch: Batch) -> Tensor:
        """Latents (B, C, h, w) of a training batch: kept ones, or of its augmented pictures."""
        if self.facts.get("augmented"):
            return encode_images(self.first_stage, batch["image"])
        return self.cache(batch)

    def training_errors(
        self, latents: Tensor, conditioning: Conditioning, batch_idx: int
    ) -> Tensor:
        """Squared error (B,) at random noise levels, weighted, some conditions dropped.

        Args:
            latents: (B, C, h, w), clean.
            conditioning: Of B samples.
            batch_idx: Of the training batch, for the seeds.
        """
        size = len(latents)
        noise = self.step_normal((size, *self.latent_shape()), "noise", batch_idx)
        levels = self.scheduler.config.num_train_timesteps
        t = (self.step_uniform((size,), "level", batch_idx) * levels).long()
        keep = self.step_uniform((size,), "drop", batch_idx) >= self.condition_dropout
        condition = drop_condition(conditioning, self.conditioner.null(size), keep)
        errors = diffusion_errors(self.unet, self.scheduler, latents, noise, t, condition)
        if self.snr_gamma is None:
            return errors
        return errors * min_snr_weights(self.scheduler, t, self.snr_gamma)

    def validation_errors(
        self, latents: Tensor, conditioning: Conditioning, items: Tensor
    ) -> Tensor:
        """Squared error (B,) at the noise and noise level that belong to each item."""
        noise, t = self.item_noise("val noise", items), self.item_levels(items)
        return diffusion_errors(self.unet, self.scheduler, latents, noise, t, conditioning)

    def item_noise(self, purpose: str, items: Tensor) -> Tensor:
        """Noise (B, C, h, w) that belongs to validation items."""
        shape = self.latent_shape()
        draws = [torch.randn(shape, generator=g) for g in self.item_generators(purpose, items)]
        return torch.stack(draws).to(self.device)

    def item_levels(self, items: Tensor) -> Tensor:
        """Noise levels (B,) that belong to validation items."""
        levels = self.scheduler.config.num_train_timesteps
        generators = self.item_generators("val level", items)
        draws = [torch.randint(levels, (1,), generator=g) for g in generators]
        return torch.cat(draws).to(self.device)

    def samples(self, conditioning: Conditioning, items: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) sampled from the noise that belongs to each item."""
        return sample_images(
            self.unet,
            self.first_stage,
            self.scheduler,
            conditioning,
            self.conditioner.null(len(items)),
            self.item_noise("figure", items),
        )
