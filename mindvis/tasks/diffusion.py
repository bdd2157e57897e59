"""Stage B: the latent diffusion model conditioned on brain responses instead of labels."""

from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from PIL import Image
from torch import Tensor

from mindvis.errors import ConfigError
from mindvis.files import write_json
from mindvis.models.autoencoder import downsampling, load_ldm
from mindvis.models.conditioning import (
    BrainConditioner,
    Conditioning,
    NullConditioning,
    WordConditioner,
    conditioning_distance,
)
from mindvis.models.denoiser import BranchStart, Opened, open_denoiser, with_pooled_input
from mindvis.models.encoder import BrainEncoder, load_encoder
from mindvis.models.frozen import store_frozen, widened
from mindvis.tasks.base import Batch
from mindvis.tasks.denoising import FIGURE_ITEMS, DiffusionTask
from mindvis.tasks.figures import draw_grid
from mindvis.tasks.noising import LatentCache
from mindvis.tasks.schedule import Decayed, Schedule


class BrainDiffusion(DiffusionTask):
    """Stage B: train the encoder, the conditioner and the denoiser's cross-attention on pairs.

    Everything else is frozen before the optimiser sees it, and is read again from `ldm` when a
    run resumes.

    Args:
        facts: num_voxels, patch_size and image_size, from the data module.
        ldm: Run of the latent stage, or any folder of a diffusers latent diffusion model.
        encoder: Run of stage A; null builds a random encoder of the sizes below.
        encoder_weights: "random" keeps the sizes of `encoder` and forgets its training (control).
        embed_dim: Width of the tokens of a random encoder.
        depth: Blocks of a random encoder.
        num_heads: Attention heads of a random encoder.
        mlp_ratio: Hidden width over width of a random encoder's MLPs.
        patch_weights: Of a random encoder: one map for all patches, or one for each.
        position_scale: Of a random encoder: factor of the fixed positions.
        class_token: Whether the encoder's class token is used; MinD-Vis drops it.
        resize: Accept an encoder of another number of voxels, with positions resampled.
        projection: From brain tokens to context: "attention", "linear" or "compat" (MinD-Vis);
            the branch to the time embedding that "compat" adds to a denoiser without one starts at
            random, as there, else at zero.
        num_context_tokens: Context tokens that replace those of the text.
        projection_heads: Heads of the attention projection.
        opened: What of the denoiser trains: the part that carries the condition, or "all", where
            pairs are as many as the pictures it was trained on.
        frozen_dtype: How frozen weights of the denoiser lie in memory; "bfloat16" takes half of it,
            rounds them, and computes as before.
        condition_dropout: Share of responses replaced by the empty condition, for guidance.
        snr_gamma: Highest weight that a noise level's error has in training (min-SNR); null weighs
            all alike, as MinD-Vis.
        label_loss: Weight of the distance between what the brain says and what the label says to
            the denoiser, for training classes; needs a denoiser trained with label_words. The
            first context tokens then stand for the words of the class's name.
        voxel_dropout: Share of voxels set to zero in each training response.
        voxel_noise: Standard deviation of noise added to training responses.
        encoder_lr: Peak learning rate of the encoder; null is that of all else.
        lr: Peak learning rate.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decay.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        min_lr: Learning rate at the end of the cosine.
        seed: Of noise, noise levels, dropped conditions and augmentation.
        schedule: Of the rate: "cosine", or "constant" as in MinD-Vis.
        decayed: What weight_decay applies to: "matrices", "tokens" as well, or "all" as in
            MinD-Vis.
    """

    name = "diffusion"
    entries = ("voxels", "image", "stimulus", "label", "index")
    encoder: BrainEncoder
    conditioner: BrainConditioner

    def __init__(
        self,
        ldm: str,
        facts: dict[str, int] | None = None,
        encoder: str | None = None,
        encoder_weights: Literal["pretrained", "random"] = "pretrained",
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 1.0,
        patch_weights: Literal["shared", "own"] = "shared",
        position_scale: float = 1.0,
        class_token: bool = True,
        resize: bool = False,
        projection: Literal["attention", "linear", "compat"] = "attention",
        num_context_tokens: int = 77,
        projection_heads: int = 8,
        opened: Opened = "conditioning",
        frozen_dtype: Literal["float32", "bfloat16"] = "float32",
        condition_dropout: float = 0.1,
        snr_gamma: float | None = None,
        label_loss: float = 0.0,
        voxel_dropout: float = 0.0,
        voxel_noise: float = 0.0,
        encoder_lr: float | None = None,
        lr: float = 5.3e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        warmup_epochs: float = 0,
        min_lr: float = 0.0,
        seed: int = 0,
        schedule: Schedule = "cosine",
        decayed: Decayed = "matrices",
    ) -> None:
        super().__init__(
            facts,
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
            min_lr=min_lr,
            seed=seed,
            schedule=schedule,
            decayed=decayed,
        )
        self.save_hyperparameters(logger=False)
        self.encoder_path, self.ldm_path = encoder, ldm
        self.encoder_lr = encoder_lr
        self.condition_dropout, self.snr_gamma = condition_dropout, snr_gamma
        self.voxel_dropout, self.voxel_noise = voxel_dropout, voxel_noise
        self.label_loss = label_loss
        empty = self._load_ldm("random" if projection == "compat" else "zero")
        sizes = {
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "patch_weights": patch_weights,
            "position_scale": position_scale,
        }
        self.encoder = self._build_encoder(sizes, class_token, resize, encoder_weights)
        self.conditioner = self._build_conditioner(
            empty, num_context_tokens, projection, projection_heads
        )
        self.opened = frozenset(f"unet.{name}" for name in open_denoiser(self.unet, opened))
        if frozen_dtype == "bfloat16":
            store_frozen(self.unet, torch.bfloat16)
        self.cache = LatentCache(self.first_stage, "stimulus")
        self.train()

    def _load_ldm(self, branch: BranchStart) -> NullConditioning | None:
        """Load denoiser, first stage and scheduler; the empty condition they were trained with."""
        model = load_ldm(self.ldm_path)
        self.unet = with_pooled_input(model.unet, model.unet.config.cross_attention_dim, branch)
        self.first_stage, self.scheduler = model.first_stage, model.scheduler
        self.first_stage.requires_grad_(False)
        self._check_pictures()
        self.labels = self._label_conditioner(model.conditioner) if self.label_loss > 0 else None
        return None if model.conditioner is None else model.conditioner.empty

    def _label_conditioner(self, conditioner: object) -> WordConditioner:
        """What the denoiser was trained with, frozen.

        Raises:
            ConfigError: It knows no classes by name.
        """
        if not isinstance(conditioner, WordConditioner):
            raise ConfigError(
                f"model.label_loss is {self.label_loss} and the model in {self.ldm_path} knows no "
                "classes by the words of their names",
                remedy="train it with --model.label_words true, or set label_loss to 0",
            )
        return conditioner.requires_grad_(False)

    def _build_conditioner(
        self,
        empty: NullConditioning | None,
        num_context_tokens: int,
        projection: Literal["attention", "linear", "compat"],
        num_heads: int,
    ) -> BrainConditioner:
        """From the encoder's tokens to what the denoiser takes, starting at its empty condition."""
        conditioner = BrainConditioner(
            num_tokens=self.encoder.num_tokens,
            embed_dim=self.encoder.config.embed_dim,
            context_dim=self.unet.config.cross_attention_dim,
            pooled_dim=self.unet.config.projection_class_embeddings_input_dim,
            num_context_tokens=num_context_tokens,
            projection=projection,
            num_heads=num_heads,
            guidable=empty is not None or self.condition_dropout > 0,
        )
        if empty is not None:
            conditioner.empty.adopt(empty)
        return conditioner

    def _build_encoder(
        self,
        sizes: dict[str, Any],
        class_token: bool,
        resize: bool,
        weights: Literal["pretrained", "random"],
    ) -> BrainEncoder:
        """The encoder of stage A, one of its sizes, or a random one of the given sizes."""
        voxels, patch = self.fact("num_voxels"), self.fact("patch_size")
        if self.encoder_path is None:
            return BrainEncoder(voxels, patch, **sizes, class_token=class_token)
        encoder = load_encoder(self.encoder_path, voxels, patch, class_token, resize)
        if weights == "random":
            return BrainEncoder.from_config(encoder.config)
        return encoder

    def _check_pictures(self) -> None:
        """Refuse pictures of another size than the denoiser's latents.

        Raises:
            ConfigError: With both sizes.
        """
        size = self.unet.config.sample_size * downsampling(self.first_stage)
        if self.fact("image_size") != size:
            raise ConfigError(
                f"pictures are {self.fact('image_size')} pixels wide",
                f"{size}, as the latent diffusion model in {self.ldm_path} has them",
                f"set --data.image_size {size}",
            )

    # -- training ---------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Encode every training picture once."""
        self.keep_latents()

    def condition(self, voxels: Tensor) -> Conditioning:
        """What responses (B, V) tell the denoiser."""
        return self.conditioner(self.encoder(voxels))

    def augment(self, batch: Batch, batch_idx: int) -> Tensor:
        """Responses with voxels dropped and noise added; padding stays as it is."""
        voxels, shape = batch["voxels"], tuple(batch["voxels"].shape)
        if self.voxel_noise > 0:
            noise = self.voxel_noise * self.step_normal(shape, "voxel noise", batch_idx)
            voxels = voxels + noise
        if self.voxel_dropout > 0:
            kept = self.step_uniform(shape, "voxel dropout", batch_idx) >= self.voxel_dropout
            voxels = voxels * kept
        return voxels

    def loss(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one training batch."""
        condition = self.condition(self.augment(batch, batch_idx))
        latents = self.training_latents(batch)
        loss = self.training_errors(latents, condition, batch_idx).mean()
        if self.labels is None:
            return loss
        with torch.no_grad():
            target = self.labels(self.places.to(self.device)[batch["label"]])
        distance = conditioning_distance(condition, target)
        self.log_train(distance, len(latents), "train_label_distance")
        return loss + self.label_loss * distance

    def setup(self, stage: str) -> None:
        """Find the data's classes among those of the denoiser.

        Raises:
            ConfigError: The denoiser does not know a class.
        """
        if self.labels is None:
            return
        known = [name.replace("_", " ") for name in self.labels.config.class_names]
        names = [name.replace("_", " ") for name in self.trainer.datamodule.class_names]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"model.label_loss is {self.label_loss} and the model in {self.ldm_path} does not "
                f"know {len(unknown)} classes of the store, such as {unknown[0]!r}",
                remedy="train it on pictures of all classes, or set label_loss to 0",
            )
        self.places = torch.tensor([known.index(name) for name in names])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one training batch, logged."""
        loss = self.loss(batch, batch_idx)
        self.log_train(loss, len(batch["voxels"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss, with the same noise and noise level of an item at every epoch."""
        self.cache.fill([batch], self.device)
        condition = self.condition(batch["voxels"])
        errors = self.validation_errors(self.cache(batch), condition, batch["index"])
        self.log_val({"loss": errors.mean()}, len(errors))

    # -- optimisation, checkpoints, results -------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at its own rate, then all else that trains."""
        both = list(self.named_parameters())
        encoder = [(n, p) for n, p in both if n.startswith("encoder.")]
        rest = [(n, p) for n, p in both if not n.startswith("encoder.")]
        rate = self.lr if self.encoder_lr is None else self.encoder_lr
        return [*self.groups(rest, self.lr), *self.groups(encoder, rate)]

    def is_reloaded(self, name: str) -> bool:
        """The first stage and the denoiser's frozen weights are read from `ldm` again."""
        frozen_unet = name.startswith("unet.") and name not in self.opened
        return frozen_unet or name.startswith(("first_stage.", "labels."))

    @property
    def ancestors(self) -> list[str]:
        """The encoder's run and that of the latent stage."""
        return [path for path in (self.encoder_path, self.ldm_path) if path is not None]

    def figure(self, batch: Batch) -> Image.Image:
        """Validation pictures above what is decoded from their responses."""
        images = batch["image"][:FIGURE_ITEMS]
        condition = self.condition(batch["voxels"][:FIGURE_ITEMS])
        return draw_grid(images, self.samples(condition, batch["index"][:FIGURE_ITEMS]))

    def export(self, folder: Path) -> None:
        """Write a pipeline: every part as its library saves it, and `model_index.json`."""
        parts: dict[str, Any] = {
            "encoder": self.encoder,
            "conditioner": self.conditioner,
            "unet": self.unet,
            "vae": self.first_stage,
            "scheduler": self.scheduler,
        }
        with widened(self.unet):  # one precision in the file, however it trained
            for name, part in parts.items():
                part.save_pretrained(folder / name)
        write_json(folder / "model_index.json", pipeline_index(parts))


def pipeline_index(parts: dict[str, Any]) -> dict[str, Any]:
    """`model_index.json` of a `MindVisPipeline`: the library and class of each part."""
    index: dict[str, Any] = {
        "_class_name": "MindVisPipeline",
        "_diffusers_version": diffusers.__version__,
    }
    for name, part in parts.items():
        module = type(part).__module__
        library = "diffusers" if module.startswith("diffusers.") else module
        index[name] = [library, type(part).__name__]
    return index
