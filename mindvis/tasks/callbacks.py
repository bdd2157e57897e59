"""What happens around training: moving average, checkpoints, figures, stop on NaN, export."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

from mindvis.errors import ConfigError, MindVisError
from mindvis.files import atomic_path, write_json
from mindvis.provenance import read_lineage, write_lineage
from mindvis.runs import COMPLETE, LAST
from mindvis.tasks.base import BrainTask
from mindvis.tasks.records import MetricsTable
from mindvis.tasks.schedule import ema_decay, update_average


class EMA(Callback):
    """Exponential moving average of the weights that train, used by validation and by the export.

    Args:
        decay: Share that the average keeps at each step; 0 switches it off.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"ema.decay is {decay}", "0 or more, and less than 1")
        self.decay = decay
        self.updates = 0
        self.averages: dict[str, Tensor] = {}
        self._step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue at the step of the checkpoint, on the device of the weights."""
        self._step = trainer.global_step
        self.averages = {n: a.to(pl_module.device) for n, a in self.averages.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Update after an optimiser step, not after every accumulated batch."""
        if self.decay > 0 and trainer.global_step > self._step:
            self._step = trainer.global_step
            self.update(pl_module)

    def update(self, task: BrainTask) -> None:
        """Move the averages towards the weights; new weights begin as they are."""
        weights = {name: p.detach() for name, p in task.averaged_parameters().items()}
        new = {n: w.clone() for n, w in weights.items() if n not in self.averages}
        self.averages.update(new)
        if weights:
            averages = [self.averages[name] for name in weights]
            update_average(averages, list(weights.values()), ema_decay(self.updates, self.decay))
            self.updates += 1

    def _swap(self, task: LightningModule) -> None:
        """Exchange weights and averages, without a copy."""
        parameters = dict(task.named_parameters())
        for name, average in self.averages.items():
            weight = parameters[name].data
            parameters[name].data = average.to(weight.device)
            self.averages[name] = weight

    @contextmanager
    def applied(self, task: LightningModule) -> Iterator[None]:
        """A block in which the task has the averaged weights."""
        self._swap(task)
        try:
            yield
        finally:
            self._swap(task)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the averaged weights."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the weights themselves."""
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Averages and their number of updates."""
        return {"updates": self.updates, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.updates = state_dict["updates"]
        self.averages = dict(state_dict["averages"])


class RunCheckpoint(Checkpoint):
    """`checkpoints/last.ckpt`, written at the ends of epochs: when due, and always after the last.

    Args:
        every_minutes: Least time between two checkpoints; 0 writes one after every epoch.
    """

    def __init__(self, every_minutes: float = 1.0) -> None:
        self.every_minutes = every_minutes
        self._written = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the table of metrics from the epoch that begins."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsTable) and trainer.is_global_zero:
                logger.begin(trainer.current_epoch)
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint when it is due; all processes agree on the first one's clock."""
        due = time.monotonic() - self._written >= 60 * self.every_minutes
        if trainer.fast_dev_run or not trainer.strategy.broadcast(due or _is_last_epoch(trainer)):
            return
        trainer.save_checkpoint(Path(trainer.default_root_dir) / LAST)
        self._written = time.monotonic()


def _is_last_epoch(trainer: Trainer) -> bool:
    """Whether training ends with the epoch that is ending."""
    epochs_done = trainer.current_epoch + 1 >= (trainer.max_epochs or float("inf"))
    steps_done = 0 <= trainer.max_steps <= trainer.global_step
    return bool(epochs_done or steps_done or trainer.should_stop)


class StopOnNaN(Callback):
    """Stop when the loss is no longer finite, before a checkpoint is written over a good one.

    The loss is looked at every `log_every_n_steps` batches and at the end of each epoch, so that a
    GPU is not made to wait at every step.
    """

    def __init__(self) -> None:
        self._finite: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember whether the loss was finite."""
        finite = torch.isfinite(outputs["loss"].detach())
        self._finite = finite if self._finite is None else self._finite & finite
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before the checkpoint is written."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self._finite is not None and not bool(self._finite):
            raise MindVisError(
                f"the loss became NaN or infinite in epoch {trainer.current_epoch}, by step "
                f"{trainer.global_step}",
                "a finite loss",
                "lower --model.lr or --trainer.gradient_clip_val",
            )
        self._finite = None


class Figures(Callback):
    """`figures/<task>-epoch<n>.png`: what the task makes of the first validation batch.

    Args:
        every_n_epochs: Epochs between two figures; the last epoch has one too.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        if every_n_epochs < 1:
            raise ConfigError(f"figures.every_n_epochs is {every_n_epochs}", "1 or more")
        self.every_n_epochs = every_n_epochs

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch, with the averaged weights that validation uses."""
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        practice = trainer.fast_dev_run or trainer.sanity_checking
        if batch_idx > 0 or not due or practice or not trainer.is_global_zero:
            return
        picture = pl_module.figure(batch)
        if picture is not None:
            name = f"{pl_module.name}-epoch{epoch:04d}.png"
            with atomic_path(Path(trainer.default_root_dir) / "figures" / name) as partial:
                picture.save(partial)


class ExportModel(Callback):
    """`model/`: the trained components and the preprocessing they expect, after the last epoch."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the averaged weights, then say that the run is complete."""
        if trainer.fast_dev_run or not trainer.is_global_zero or trainer.interrupted:
            return
        run = Path(trainer.default_root_dir)
        averages = [c for c in trainer.callbacks if isinstance(c, EMA)]
        with (averages[0] if averages else EMA(0)).applied(pl_module):
            export_model(pl_module, trainer.datamodule, run / "model", trainer.callbacks)
        done = {"epochs": trainer.current_epoch, "steps": trainer.global_step}
        write_json(run / COMPLETE, done)


def export_model(
    task: BrainTask, data: Any, folder: Path, callbacks: Iterable[Callback] = ()
) -> None:
    """Write a task's components, preprocessing and lineage; the folder appears when it is whole."""
    partial = folder.with_name(".model.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    task.export(partial)
    preprocessing = getattr(data, "preprocessing", None)
    if preprocessing is not None:
        preprocessing.save(partial)
    write_lineage(partial, **lineage_of(task, data, callbacks))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def is_transductive(task: BrainTask, data: Any) -> bool:
    """Whether test responses were seen, by this stage or by one that it starts from."""
    inherited = any(read_lineage(path)["transductive"] for path in task.ancestors)
    return inherited or bool(getattr(data, "sees_test", False))


def lineage_of(task: BrainTask, data: Any, callbacks: Iterable[Callback] = ()) -> dict[str, Any]:
    """What a model was trained on and chosen by, with the lineages of those it starts from."""
    return {
        "task": task.name,
        "transductive": is_transductive(task, data),
        "selected_on": selected_on(data, callbacks),
        "splits": data.splits() if hasattr(data, "splits") else {},
        "ancestors": [read_lineage(path) for path in task.ancestors],
    }


def selected_on(data: Any, callbacks: Iterable[Callback]) -> str:
    """The split whose scores chose the epoch: "val" or "test"; "nothing" for the last epoch.

    A callback that monitors a value, as EarlyStopping does, chooses by the validation scores.
    """
    if not any(getattr(callback, "monitor", None) for callback in callbacks):
        return "nothing"
    return "test" if getattr(data, "watches_test", False) else "val"
