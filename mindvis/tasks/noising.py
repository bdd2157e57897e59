"""The forward process of diffusion and its training loss, on stock schedulers; latents kept."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from tqdm import tqdm

from mindvis.errors import ConfigError
from mindvis.models.autoencoder import FirstStage, decode_latents, encode_images
from mindvis.models.conditioning import Conditioning
from mindvis.models.denoiser import predict_noise
from mindvis.models.sampling import denoise, guide, make_scheduler
from mindvis.models.schedules import NoiseSchedule, noise_betas

Prediction = Literal["epsilon", "v_prediction"]


def make_noise_schedule(
    prediction_type: Prediction = "epsilon",
    num_train_timesteps: int = 1000,
    beta_start: float = 0.0015,
    beta_end: float = 0.0195,
    noise_schedule: NoiseSchedule = "scaled_linear",
) -> DDPMScheduler:
    """A stock scheduler, by default of "High-resolution image synthesis with latent diffusion".

    Args:
        prediction_type: What the network predicts: the noise, or the velocity.
        num_train_timesteps: Number of noise levels.
        beta_start: First beta.
        beta_end: Last beta.
        noise_schedule: How the betas go from one to the other; see `noise_betas`.
    """
    betas = noise_betas(noise_schedule, num_train_timesteps, beta_start, beta_end)
    return DDPMScheduler(
        trained_betas=None if noise_schedule == "scaled_linear" else betas.tolist(),
        num_train_timesteps=num_train_timesteps,
        beta_schedule="scaled_linear",
        beta_start=beta_start,
        beta_end=beta_end,
        prediction_type=prediction_type,
        clip_sample=False,
    )


def diffusion_target(scheduler: Any, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should predict at steps `t` (B,): the noise, or the velocity.

    Velocity: v = sqrt(a) noise - sqrt(1 - a) latents, Salimans and Ho 2022, appendix D.
    """
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, t)
    return noise


def min_snr_weights(scheduler: Any, t: Tensor, gamma: float) -> Tensor:
    """Weights (B,) of the errors at steps `t` (B,), so that no noise level outweighs the others.

    Min-SNR of Hang et al. 2023, "Efficient diffusion training via min-SNR weighting": the error of
    the picture that a prediction implies counts min(SNR, gamma) times. That is a weight of
    min(1, gamma / SNR) for the error of the noise, and of SNR / (SNR + 1) times this for that of
    the velocity.

    Args:
        scheduler: A diffusers scheduler, for its noise levels and for what is predicted.
        t: int64 (B,), noise levels.
        gamma: 5 in the paper. At 1 the velocity counts most where half of the variance is noise.

    Raises:
        ConfigError: Nothing would count.
    """
    if gamma <= 0:
        raise ConfigError(f"model.snr_gamma is {gamma}", "a number above 0, or null")
    kept = scheduler.alphas_cumprod.to(t.device)[t]
    weights = (gamma * (1 - kept) / kept).clamp(max=1)
    return weights * kept if scheduler.config.prediction_type == "v_prediction" else weights


def diffusion_errors(
    unet: UNet2DConditionModel,
    scheduler: Any,
    latents: Tensor,
    noise: Tensor,
    t: Tensor,
    conditioning: Conditioning,
) -> Tensor:
    """Mean squared error of the network's prediction, (B,).

    Args:
        unet: The denoiser.
        scheduler: A diffusers scheduler, which adds the noise.
        latents: (B, C, h, w), clean.
        noise: (B, C, h, w), standard normal.
        t: int64 (B,), noise levels.
        conditioning: Of B samples.
    """
    noisy = scheduler.add_noise(latents, noise, t)
    predicted = predict_noise(unet, noisy, t, conditioning)
    target = diffusion_target(scheduler, latents, noise, t)
    return F.mse_loss(predicted.float(), target.float(), reduction="none").mean(dim=(1, 2, 3))


@torch.no_grad()
def sample_images(
    unet: UNet2DConditionModel,
    first_stage: FirstStage,
    scheduler: Any,
    conditioning: Conditioning,
    null: Conditioning,
    noise: Tensor,
    *,
    steps: int = 20,
    guidance: float = 2.0,
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] from noise (B, C, h, w), by DPM-Solver++ with guidance.

    Args:
        unet: The denoiser.
        first_stage: Decodes the latents.
        scheduler: The one of training, for its noise levels.
        conditioning: Of B samples.
        null: The empty conditioning of B samples.
        noise: Standard normal.
        steps: Evaluations of the network.
        guidance: Scale; 1 is none.
    """

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        times = t.to(latents.device).expand(len(latents))
        with_condition = predict_noise(unet, latents, times, conditioning)
        return guide(predict_noise(unet, latents, times, null), with_condition, guidance)

    latents = denoise(predict, make_scheduler("dpm", scheduler.config), noise, steps)
    return decode_latents(first_stage, latents)


class LatentCache:
    """Latents of pictures that are met again and again, each encoded once.

    Args:
        first_stage: The frozen first stage.
        key: Name of the batch entry that tells pictures apart.
    """

    def __init__(self, first_stage: FirstStage, key: str) -> None:
        self.first_stage = first_stage
        self.key = key
        self.rows: dict[int, int] = {}
        self.latents = torch.empty(0)

    @torch.no_grad()
    def fill(self, batches: Iterable[dict[str, Tensor]], device: torch.device) -> None:
        """Encode every picture that is new, in the order of the batches.

        Args:
            batches: With "image" (B, 3, H, W) and the key's integers (B,).
            device: Where the first stage computes.
        """
        found = [self.latents] if len(self.rows) else []
        for batch in tqdm(batches, desc="latents", delay=2, leave=False):
            keys = batch[self.key].tolist()
            new = [i for i, k in enumerate(keys) if k not in self.rows and k not in keys[:i]]
            if new:
                self.rows.update({keys[i]: len(self.rows) + n for n, i in enumerate(new)})
                images = batch["image"][new].to(device)
                found.append(encode_images(self.first_stage, images).float().cpu())
        self.latents = torch.cat(found) if found else self.latents

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """Latents (B, C, h, w) of a batch, on its device."""
        rows = [self.rows[key] for key in batch[self.key].tolist()]
        return self.latents[rows].to(batch[self.key].device)
