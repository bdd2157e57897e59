"""Stage A: masked modelling of brain responses, and the same task continued on other responses."""

from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from mindvis.errors import CheckpointError, ConfigError
from mindvis.models.loading import component_folder, load_component
from mindvis.models.mae import BrainMAE, MAEOutput
from mindvis.tasks.base import Batch, BrainTask
from mindvis.tasks.figures import draw_reconstructions
from mindvis.tasks.schedule import Decayed, Schedule


def masked_correlation(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Pearson correlation along the last axis, over the places of weight 1.

    Args:
        x: (..., V).
        y: (..., V).
        weight: (..., V), 0 or 1.

    Returns:
        (...); 0 where either side does not vary.
    """
    count = weight.sum(-1, keepdim=True).clamp(min=1)
    x = (x - (x * weight).sum(-1, keepdim=True) / count) * weight
    y = (y - (y * weight).sum(-1, keepdim=True) / count) * weight
    norm = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(norm > 0, (x * y).sum(-1) / norm.clamp(min=1e-12), norm)


class MaskedModelling(BrainTask):
    """Stage A: reconstruct hidden patches of brain responses from the others (SC-MBM of MinD-Vis).

    Args:
        facts: num_voxels and patch_size, from the data module.
        embed_dim: Width of the encoder's tokens.
        depth: Blocks of the encoder.
        num_heads: Attention heads of the encoder.
        mlp_ratio: Hidden width of each MLP over its width.
        decoder_embed_dim: Width of the decoder's tokens.
        decoder_depth: Blocks of the decoder.
        decoder_num_heads: Attention heads of the decoder.
        patch_weights: One map for all patches, as MinD-Vis has it, or one for each patch; each
            learns far faster from few responses.
        position_scale: Factor of the fixed positions, which outweigh embedded responses at 1, the
            factor of MinD-Vis.
        mask_ratio: Share of patches that are hidden.
        visible_weight: Weight of the error over the patches that are not. Where little of a hidden
            patch can be guessed, it keeps the response in the tokens; 0 as in MinD-Vis.
        init_from: Run of stage A to start from; its sizes replace those above.
        lr: Peak learning rate.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decay.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        min_lr: Learning rate at the end of the cosine.
        seed: Of the masks.
        schedule: Of the rate: "cosine", or "cosine_from_zero", whose first step is wasted as in
            MinD-Vis; "constant" does not fall.
        decayed: What weight_decay applies to: "matrices", "tokens" as well, as in MinD-Vis, or
            "all".
    """

    name = "masked"
    entries = ("voxels", "valid", "index")

    def __init__(
        self,
        facts: dict[str, int] | None = None,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 1.0,
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        patch_weights: Literal["shared", "own"] = "shared",
        position_scale: float = 1.0,
        mask_ratio: float = 0.75,
        visible_weight: float = 0.0,
        init_from: str | None = None,
        lr: float = 2.5e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.05,
        warmup_epochs: float = 40,
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
        if not 0 < mask_ratio < 1:
            raise ConfigError(f"model.mask_ratio is {mask_ratio}", "more than 0 and less than 1")
        if not visible_weight >= 0:
            raise ConfigError(f"model.visible_weight is {visible_weight}", "0 or more")
        self.mask_ratio, self.visible_weight = mask_ratio, visible_weight
        self.init_from = init_from
        self.mae = (
            self._load(init_from)
            if init_from is not None
            else BrainMAE(
                num_voxels=self.fact("num_voxels"),
                patch_size=self.fact("patch_size"),
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                decoder_embed_dim=decoder_embed_dim,
                decoder_depth=decoder_depth,
                decoder_num_heads=decoder_num_heads,
                patch_weights=patch_weights,
                position_scale=position_scale,
            )
        )

    def _load(self, path: str) -> BrainMAE:
        """The autoencoder of an earlier run, which must fit the data."""
        mae = load_component(BrainMAE, component_folder(path, ("mae",)))
        for size in ("num_voxels", "patch_size"):
            if mae.config[size] != self.fact(size):
                raise CheckpointError(
                    f"the autoencoder in {path} was trained with {size} {mae.config[size]}",
                    f"{self.fact(size)}, as the data have",
                    f"pass --data.preprocessing {path}, or train stage A on these data",
                )
        return mae.train()

    @property
    def ancestors(self) -> list[str]:
        """The run it starts from."""
        return [self.init_from] if self.init_from is not None else []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch under a fresh mask."""
        voxels = batch["voxels"]
        noise = self.step_uniform((len(voxels), self.mae.num_patches), "mask", batch_idx)
        output = self.mae(voxels, self.mask_ratio, noise, valid=batch["valid"])
        self.log_train(output.loss, len(voxels))
        if self.visible_weight == 0:
            return output.loss
        visible = self.mae.forward_loss(voxels, output.prediction, 1 - output.mask, batch["valid"])
        self.log_train(visible, len(voxels), "train_visible_loss")
        return output.loss + self.visible_weight * visible

    def reconstruct(self, batch: Batch) -> MAEOutput:
        """Reconstruct validation responses, each under its own mask, the same at every epoch."""
        shape = (self.mae.num_patches,)
        draws = [
            torch.rand(shape, generator=g) for g in self.item_generators("val", batch["index"])
        ]
        noise = torch.stack(draws).to(self.device)
        return self.mae(batch["voxels"], self.mask_ratio, noise, valid=batch["valid"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss, and correlation of the reconstruction over hidden and over all voxels."""
        output = self.reconstruct(batch)
        valid = batch["valid"].float()
        predicted = self.mae.unpatchify(output.prediction)
        removed = self.mae.unpatchify(output.mask[..., None].expand_as(output.prediction))
        voxels = batch["voxels"]
        values = {
            "loss": output.loss,
            "correlation_masked": masked_correlation(voxels, predicted, removed * valid).mean(),
            "correlation": masked_correlation(voxels, predicted, valid).mean(),
        }
        self.log_val(values, len(voxels))

    def figure(self, batch: Batch) -> Image.Image:
        """Responses, what was seen of them, and their reconstructions."""
        output = self.reconstruct(batch)
        removed = self.mae.unpatchify(output.mask[..., None].expand_as(output.prediction))
        full = self.mae.reconstruct(output, batch["voxels"])
        return draw_reconstructions(batch["voxels"], full, removed > 0, batch["valid"])

    def export(self, folder: Path) -> None:
        """Write `mae/`."""
        self.mae.save_pretrained(folder / "mae")
