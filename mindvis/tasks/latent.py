"""A latent diffusion model from pictures alone: first stage, then label-conditional denoiser."""

from itertools import islice
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

from mindvis.errors import ConfigError
from mindvis.files import write_json
from mindvis.models import autoencoder
from mindvis.models.autoencoder import (
    FIRST_STAGES,
    LDM,
    build_first_stage,
    decode_latents,
    downsampling,
    encode_images,
    estimate_scaling,
    first_stage_loss,
    load_one_of,
    save_ldm,
    set_scaling,
    start_codebook,
)
from mindvis.models.conditioning import LabelConditioner, WordConditioner
from mindvis.models.denoiser import build_denoiser
from mindvis.models.loading import component_folder
from mindvis.models.schedules import NoiseSchedule
from mindvis.tasks.base import Batch
from mindvis.tasks.denoising import FIGURE_ITEMS, DiffusionTask
from mindvis.tasks.figures import draw_grid
from mindvis.tasks.noising import LatentCache, Prediction, make_noise_schedule
from mindvis.tasks.schedule import decay_groups, warmup_cosine

SCALING_BATCHES = 32


class LatentDiffusion(DiffusionTask):
    """Train a first stage on pictures, freeze it, then train a label-conditional denoiser.

    Args:
        facts: num_classes and image_size, from the data module.
        first_stage: Folder of a trained first stage, or of a whole model; None trains one.
        first_stage_kind: "vq" (codebook), "kl" (Gaussian latents) or "tiny" (plain autoencoder).
        first_stage_channels: Channels of its levels, finest first; each but the last halves.
        first_stage_layers: Residual blocks of a level.
        latent_channels: Channels of the latents.
        num_codes: Size of the codebook of "vq".
        first_stage_epochs: Epochs of the first stage; the denoiser has the others.
        first_stage_lr: Peak learning rate of the first stage.
        unet_channels: Channels of the denoiser's levels, finest first.
        unet_layers: Residual blocks of a level.
        unet_attention: Whether each level attends to itself and to the context; null is all but
            the finest.
        attention_head_dim: Channels of an attention head; null is one head at every level.
        context_dim: Width of the context tokens.
        pooled_dim: Width of the vector that is added to the time embedding.
        num_context_tokens: Context tokens of a label.
        label_words: Condition on the words of a class's name, a token each, instead of the class.
        condition_dropout: Share of labels replaced by the empty one, for guidance.
        prediction_type: What the denoiser predicts.
        noise_schedule: How the betas grow; "scaled_linear" in MinD-Vis.
        beta_start: First beta, MinD-Vis' by default.
        beta_end: Last beta; half of it spends fewer levels on noise that hides everything, which
            small latents reach early.
        snr_gamma: Highest weight that a noise level's error has in training (min-SNR); null weighs
            all alike, as MinD-Vis.
        lr: Peak learning rate of the denoiser.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decay, of matrices and kernels alone.
        warmup_epochs: Epochs of linear warm-up of each phase.
        min_lr: Learning rate at the end of each cosine.
        seed: Of noise, noise levels and dropped labels.
    """

    name = "latent"
    entries = ("image", "label", "index")

    def __init__(
        self,
        facts: dict[str, int] | None = None,
        first_stage: str | None = None,
        first_stage_kind: Literal["vq", "kl", "tiny"] = "kl",
        first_stage_channels: tuple[int, ...] = (32, 64, 64),
        first_stage_layers: int = 1,
        latent_channels: int = 4,
        num_codes: int = 256,
        first_stage_epochs: int = 20,
        first_stage_lr: float = 1e-3,
        unet_channels: tuple[int, ...] = (64, 128, 192),
        unet_layers: int = 1,
        unet_attention: tuple[bool, ...] | None = None,
        attention_head_dim: int | None = 32,
        context_dim: int = 128,
        pooled_dim: int = 128,
        num_context_tokens: int = 1,
        label_words: bool = False,
        condition_dropout: float = 0.1,
        prediction_type: Prediction = "epsilon",
        noise_schedule: NoiseSchedule = "scaled_linear",
        beta_start: float = 0.0015,
        beta_end: float = 0.0195,
        snr_gamma: float | None = None,
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        warmup_epochs: float = 1,
        min_lr: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            facts,
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
            min_lr=min_lr,
            seed=seed,
        )
        self.save_hyperparameters(logger=False)
        self.first_stage_path = first_stage
        self.first_stage_epochs = 0 if first_stage is not None else first_stage_epochs
        self.first_stage_lr = first_stage_lr
        self.condition_dropout, self.snr_gamma = condition_dropout, snr_gamma
        self.first_stage = build_first_stage(
            first_stage_kind, latent_channels, first_stage_channels, first_stage_layers, num_codes
        )
        if first_stage is not None:
            folder = component_folder(first_stage, ("vae", "vqvae"))
            self.first_stage = load_one_of(folder, FIRST_STAGES).requires_grad_(False)
        self.unet = build_denoiser(
            sample_size=self._latent_size(),
            in_channels=autoencoder.latent_channels(self.first_stage),
            context_dim=context_dim,
            pooled_dim=pooled_dim,
            block_out_channels=unet_channels,
            layers_per_block=unet_layers,
            attention=unet_attention,
            attention_head_dim=attention_head_dim,
        )
        self.label_words = label_words
        self.conditioner: LabelConditioner | WordConditioner = LabelConditioner(
            self.fact("num_classes"), context_dim, pooled_dim, num_context_tokens
        )
        self.scheduler = make_noise_schedule(
            prediction_type,
            beta_start=beta_start,
            beta_end=beta_end,
            noise_schedule=noise_schedule,
        )
        self.cache = LatentCache(self.first_stage, "index")
        self._keeps_latents = False

    def _latent_size(self) -> int:
        """Height and width of the latents of a picture.

        Raises:
            ConfigError: The first stage cannot halve the picture as often as it should.
        """
        size, factor = self.fact("image_size"), downsampling(self.first_stage)
        if size % factor:
            raise ConfigError(
                f"pictures are {size} pixels wide and the first stage divides by {factor}",
                f"a multiple of {factor}",
                "set --data.image_size, or fewer first_stage_channels",
            )
        return size // factor

    def setup(self, stage: str) -> None:
        """Read the names of the classes, which the sizes of the data do not tell."""
        if self.label_words and isinstance(self.conditioner, LabelConditioner):
            sizes = self.conditioner.config
            names = self.trainer.datamodule.class_names
            self.conditioner = WordConditioner(names, sizes.context_dim, sizes.pooled_dim)

    # -- phases -----------------------------------------------------------------------------

    @property
    def trains_first_stage(self) -> bool:
        """Whether this epoch belongs to the first stage."""
        return self.current_epoch < self.first_stage_epochs

    def on_fit_start(self) -> None:
        """Refuse a run that would end before the denoiser begins."""
        epochs = self.trainer.max_epochs or 0
        if epochs <= self.first_stage_epochs:
            raise ConfigError(
                f"trainer.max_epochs is {epochs} and model.first_stage_epochs is "
                f"{self.first_stage_epochs}",
                "epochs left for the denoiser",
                "raise --trainer.max_epochs",
            )

    def on_train_epoch_start(self) -> None:
        """Enter the second phase: freeze the first stage, measure its scale, keep its latents."""
        if self.trains_first_stage or self._keeps_latents:
            return
        self._keeps_latents = True
        self.first_stage.requires_grad_(False).eval()
        if self.first_stage_path is None:
            batches = islice(self.training_pictures(), SCALING_BATCHES)
            images = (batch["image"].to(self.device) for batch in batches)
            set_scaling(self.first_stage, estimate_scaling(self.first_stage, images))
        self.keep_latents()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of the phase's network."""
        if self.trains_first_stage:
            return self.first_stage_step(batch, batch_idx)
        condition = self.conditioner(batch["label"])
        loss = self.training_errors(self.training_latents(batch), condition, batch_idx).mean()
        self.log_train(loss, len(batch["label"]))
        return loss

    def first_stage_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of the first stage."""
        images = batch["image"]
        if self.current_epoch == 0 and batch_idx == 0 and hasattr(self.first_stage, "quantize"):
            start_codebook(self.first_stage, images, self.step_generator("codebook", batch_idx))
        result = first_stage_loss(
            self.first_stage, images, self.step_generator("posterior", batch_idx)
        )
        self.log_train(result.loss, len(images), "train_first_stage_loss")
        return result.loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the phase's loss, with the same noise and noise level of an item at every epoch."""
        images = batch["image"]
        if self.trains_first_stage:
            decoded = decode_latents(self.first_stage, encode_images(self.first_stage, images))
            self.log_val({"reconstruction": (decoded - images).square().mean()}, len(images))
            return
        self.cache.fill([batch], self.device)
        condition = self.conditioner(batch["label"])
        errors = self.validation_errors(self.cache(batch), condition, batch["index"])
        self.log_val({"loss": errors.mean()}, len(images))

    # -- optimisation, checkpoints, results -------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The first stage and the denoiser at their own rates."""
        both = list(self.named_parameters())
        first = [(n, p) for n, p in both if n.startswith("first_stage.")]
        rest = [(n, p) for n, p in both if not n.startswith("first_stage.")]
        return [
            *decay_groups(rest, lr=self.lr, weight_decay=self.weight_decay),
            *decay_groups(first, lr=self.first_stage_lr, weight_decay=self.weight_decay),
        ]

    def lr_factor(self, step: int, steps_per_epoch: float, total: int) -> float:
        """Warm-up and cosine within each phase."""
        switch = round(self.first_stage_epochs * steps_per_epoch)
        begin, end = (0, switch) if step < switch else (switch, total)
        warmup = min(round(self.warmup_epochs * steps_per_epoch), end - begin)
        floor = self.min_lr / self.lr
        return warmup_cosine(step - begin, total=end - begin, warmup=warmup, floor=floor)

    def averaged_parameters(self) -> dict[str, nn.Parameter]:
        """The denoiser and its conditioner, once they train."""
        if self.trains_first_stage:
            return {}
        return {
            name: p for name, p in self.named_parameters() if not name.startswith("first_stage.")
        }

    def is_reloaded(self, name: str) -> bool:
        """A first stage that was given is read from its folder again."""
        return self.first_stage_path is not None and name.startswith("first_stage.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the measured scale of the latents."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["scaling_factor"] = float(self.first_stage.config.scaling_factor)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the measured scale of the latents."""
        super().on_load_checkpoint(checkpoint)
        set_scaling(self.first_stage, checkpoint["scaling_factor"])

    @property
    def ancestors(self) -> list[str]:
        """Where the first stage came from."""
        return [self.first_stage_path] if self.first_stage_path is not None else []

    def figure(self, batch: Batch) -> Image.Image:
        """Pictures, their reconstructions and, in the second phase, samples for their labels."""
        images = batch["image"][:FIGURE_ITEMS]
        latents = encode_images(self.first_stage, images)
        rows = [images, decode_latents(self.first_stage, latents)]
        if not self.trains_first_stage:
            condition = self.conditioner(batch["label"][:FIGURE_ITEMS])
            rows.append(self.samples(condition, batch["index"][:FIGURE_ITEMS]))
        return draw_grid(*rows)

    def export(self, folder: Path) -> None:
        """Write `unet/`, `vae/`, `scheduler/`, `conditioner/` and the names of the classes."""
        save_ldm(LDM(self.unet, self.first_stage, self.scheduler, self.conditioner), folder)
        names = list(getattr(self.trainer.datamodule, "class_names", []))
        write_json(folder / "classes.json", names)
