"""What every training stage shares: optimiser, schedule, randomness by position, checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from PIL import Image
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from mindvis.errors import CheckpointError, ConfigError
from mindvis.seeding import torch_generator
from mindvis.tasks.schedule import Decayed, Schedule, decay_groups, warmup_cosine

Batch = dict[str, Tensor]


class BrainTask(LightningModule, ABC):
    """One training stage.

    Every random draw of a step is seeded by (seed, purpose, epoch, batch, rank) and every draw of
    validation by (seed, purpose, item), so that a resumed run continues bit for bit.

    Args:
        facts: Sizes the data module knows (num_voxels, patch_size, num_classes, ...).
        lr: Peak learning rate.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decay, of matrices and kernels alone.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        min_lr: Learning rate at the end of the cosine.
        seed: Of masks, noise and dropped conditions.
        schedule: What follows the warm-up.
        decayed: What weight_decay applies to.
    """

    name: ClassVar[str] = "task"
    entries: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        facts: dict[str, int] | None,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        warmup_epochs: float,
        min_lr: float,
        seed: int,
        schedule: Schedule = "cosine",
        decayed: Decayed = "matrices",
    ) -> None:
        super().__init__()
        self.facts = dict(facts or {})
        self.lr, self.min_lr = lr, min_lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.schedule, self.decayed = schedule, decayed
        self.warmup_epochs = warmup_epochs
        self.seed = seed
        self.strict_loading = (
            False  # frozen weights are not in the checkpoint; ours are verified below
        )

    def fact(self, name: str) -> int:
        """A size that the data module must know.

        Raises:
            ConfigError: The data module does not have it.
        """
        if name not in self.facts:
            known = ", ".join(sorted(self.facts)) or "nothing"
            raise ConfigError(
                f"{type(self).__name__} needs {name} but its data module knows {known}",
                remedy="choose the data module of the stage's own configuration file",
            )
        return self.facts[name]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Look at what the data module gives."""
        self.check_entries(batch)

    def on_validation_batch_start(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at what the data module gives."""
        self.check_entries(batch)

    def check_entries(self, batch: Batch) -> None:
        """Refuse batches of another kind than the task's.

        Raises:
            ConfigError: With the entries that are missing.
        """
        missing = [name for name in self.entries if name not in batch]
        if missing:
            raise ConfigError(
                f"the data module's batches have {', '.join(batch)}",
                f"{', '.join(missing)} too, which {type(self).__name__} reads",
                "choose the data module of the stage's own configuration file",
            )

    # -- randomness -------------------------------------------------------------------------

    def step_generator(self, purpose: str, batch_idx: int) -> torch.Generator:
        """Generator of one training step's draw, on the CPU whatever the device."""
        return torch_generator(self.seed, purpose, self.current_epoch, batch_idx, self.global_rank)

    def step_normal(self, shape: tuple[int, ...], purpose: str, batch_idx: int) -> Tensor:
        """Standard normal draw of a training step, on the task's device."""
        generator = self.step_generator(purpose, batch_idx)
        return torch.randn(shape, generator=generator).to(self.device)

    def step_uniform(self, shape: tuple[int, ...], purpose: str, batch_idx: int) -> Tensor:
        """Uniform draw in [0, 1) of a training step, on the task's device."""
        generator = self.step_generator(purpose, batch_idx)
        return torch.rand(shape, generator=generator).to(self.device)

    def item_generators(self, purpose: str, items: Tensor) -> Iterator[torch.Generator]:
        """One generator for each item of a validation batch, the same at every epoch."""
        return (torch_generator(self.seed, purpose, item) for item in items.tolist())

    def training_pictures(self) -> Iterator[Batch]:
        """Batches of all training items once, in the order of the data set, on the CPU."""
        loader = self.trainer.train_dataloader
        size = loader.batch_size or 64
        return iter(DataLoader(loader.dataset, batch_size=size, collate_fn=loader.collate_fn))

    # -- optimisation -----------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups of everything that trains; overridden where rates differ."""
        return self.groups(self.named_parameters(), self.lr)

    def groups(
        self, parameters: Iterable[tuple[str, nn.Parameter]], lr: float
    ) -> list[dict[str, Any]]:
        """Optimiser groups of some parameters, with and without weight decay."""
        return decay_groups(parameters, lr=lr, weight_decay=self.weight_decay, decayed=self.decayed)

    def lr_factor(self, step: int, steps_per_epoch: float, total: int) -> float:
        """Factor of every group's learning rate after `step` optimiser steps."""
        warmup = round(self.warmup_epochs * steps_per_epoch)
        floor = self.min_lr / self.lr
        return warmup_cosine(step, total=total, warmup=warmup, floor=floor, schedule=self.schedule)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with a schedule by step.

        Raises:
            ConfigError: The run has no end, so that no schedule can be laid out.
        """
        total = self.trainer.estimated_stepping_batches
        epochs = self.trainer.max_epochs
        if total == float("inf") or not epochs or epochs < 0:
            raise ConfigError(
                f"trainer.max_epochs is {epochs}",
                "a number of epochs, over which the learning rate falls",
                "set --trainer.max_epochs",
            )
        optimizer = AdamW(
            self.parameter_groups(), lr=self.lr, betas=self.betas, fused=self._fused()
        )
        per_epoch = int(total) / epochs
        schedule = LambdaLR(optimizer, lambda step: self.lr_factor(step, per_epoch, int(total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _fused(self) -> bool:
        """Whether the fused AdamW works: not beside a gradient scaler, nor on other devices.

        Where gradients are clipped, Lightning takes every mixed precision for one with a scaler.
        """
        mixed = "mixed" in self.trainer.precision and bool(self.trainer.gradient_clip_val)
        scaled = self.trainer.precision == "16-mixed" or mixed
        return not scaled and self.device.type in {"cpu", "cuda"}

    def averaged_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters whose moving average is exported: by default all that train."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def on_train_epoch_end(self) -> None:
        """Log the learning rate of the first group."""
        optimizer = self.optimizers()
        if isinstance(optimizer, Optimizer):
            self.log("lr", optimizer.param_groups[0]["lr"])

    def log_train(self, loss: Tensor, size: int, name: str = "train_loss") -> None:
        """Log a training loss: the mean over the epoch, and the last value in the progress bar."""
        self.log(name, loss, batch_size=size, on_step=False, on_epoch=True, prog_bar=True)

    def log_val(self, values: dict[str, Tensor], size: int) -> None:
        """Log validation values under `val_...`, averaged over items and processes."""
        for name, value in values.items():
            bar = name in {"loss", "reconstruction", "accuracy"}
            self.log(f"val_{name}", value, batch_size=size, prog_bar=bar, sync_dist=True)

    # -- checkpoints ------------------------------------------------------------------------

    def is_reloaded(self, name: str) -> bool:
        """Whether a weight is read from the model the task starts from, and so not saved again."""
        return False

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the weights that a resumed run reads from where they came."""
        state = checkpoint["state_dict"]
        kept = {name: value for name, value in state.items() if not self.is_reloaded(name)}
        checkpoint["state_dict"] = kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Verify that the checkpoint has this task's weights, name by name and shape by shape.

        Raises:
            CheckpointError: It is a checkpoint of another model.
        """
        saved = checkpoint["state_dict"]
        own = {n: v for n, v in self.state_dict().items() if not self.is_reloaded(n)}
        for name, value in own.items():
            found = tuple(saved[name].shape) if name in saved else "absent"
            if found != tuple(value.shape):
                raise CheckpointError(
                    f"the checkpoint's weight {name} is {found}",
                    f"{tuple(value.shape)}, from this model and data",
                    "use the options the run began with, or another --output folder",
                )

    # -- results ----------------------------------------------------------------------------

    @property
    def ancestors(self) -> list[str]:
        """Run or model folders that this stage starts from."""
        return []

    def figure(self, batch: Batch) -> Image.Image | None:
        """A picture of what the task does with a validation batch, None where nothing is to see."""
        return None

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the trained components into a folder, each as its library saves it."""
