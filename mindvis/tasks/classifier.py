"""The judge: a small picture classifier that evaluation asks what a decoded picture shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
)
from transformers.utils import logging as hf_logging

from mindvis.files import write_json
from mindvis.tasks.base import Batch, BrainTask


def build_classifier(
    architecture: Literal["resnet", "convnext"],
    num_classes: int,
    hidden_sizes: tuple[int, ...],
    depths: tuple[int, ...],
) -> PreTrainedModel:
    """A stock transformers classifier of RGB pictures.

    Args:
        architecture: "resnet" (basic blocks) or "convnext" (ConvNeXt V2 on 2 x 2 patches).
        num_classes: Number of labels.
        hidden_sizes: Channels of each stage, finest first.
        depths: Blocks of each stage.
    """
    if architecture == "convnext":
        config = ConvNextV2Config(
            num_stages=len(depths),
            hidden_sizes=list(hidden_sizes),
            depths=list(depths),
            patch_size=2,
            num_labels=num_classes,
        )
        return ConvNextV2ForImageClassification(config)
    sizes = ResNetConfig(
        embedding_size=hidden_sizes[0],
        hidden_sizes=list(hidden_sizes),
        depths=list(depths),
        layer_type="basic",
        num_labels=num_classes,
    )
    return ResNetForImageClassification(sizes)


def shift_images(images: Tensor, offsets: Tensor) -> Tensor:
    """Pictures moved by whole pixels, the border repeated.

    Args:
        images: (B, C, H, W).
        offsets: int64 (B, 2), pixels down and right.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)[None] - offsets[:, :1]
    columns = torch.arange(width, device=images.device)[None] - offsets[:, 1:]
    item = torch.arange(len(images), device=images.device)[:, None, None]
    y = rows.clamp(0, height - 1)[:, :, None]
    x = columns.clamp(0, width - 1)[:, None, :]
    return images.movedim(1, -1)[item, y, x].movedim(-1, 1)


@contextmanager
def quiet_saving() -> Iterator[None]:
    """No progress bar of transformers' own for a file of a few megabytes."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


class PictureClassifier(BrainTask):
    """Train a picture classifier from scratch, for evaluation where no pretrained one can be had.

    Args:
        facts: num_classes and image_size, from the data module.
        architecture: "resnet" or "convnext".
        hidden_sizes: Channels of each stage, finest first.
        depths: Blocks of each stage.
        shift: Largest random shift of a training picture, in pixels, in each direction.
        noise: Standard deviation of noise added to training pictures, whose range is [-1, 1].
        label_smoothing: Share of each target that is spread over all classes.
        lr: Peak learning rate.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decay, of matrices and kernels alone.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        min_lr: Learning rate at the end of the cosine.
        seed: Of shifts and noise.
    """

    name = "judge"
    entries = ("image", "label")

    def __init__(
        self,
        facts: dict[str, int] | None = None,
        architecture: Literal["resnet", "convnext"] = "resnet",
        hidden_sizes: tuple[int, ...] = (32, 64, 128),
        depths: tuple[int, ...] = (1, 1, 1),
        shift: int = 4,
        noise: float = 0.1,
        label_smoothing: float = 0.0,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.05,
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
        self.shift, self.noise = shift, noise
        self.label_smoothing = label_smoothing
        self.classifier = build_classifier(
            architecture, self.fact("num_classes"), hidden_sizes, depths
        )

    def augment(self, images: Tensor, batch_idx: int) -> Tensor:
        """Training pictures, shifted and with noise."""
        draws = self.step_uniform((len(images), 2), "shift", batch_idx)
        offsets = (draws * (2 * self.shift + 1)).long() - self.shift
        noise = self.step_normal(tuple(images.shape), "noise", batch_idx)
        return shift_images(images, offsets) + self.noise * noise

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of augmented pictures."""
        logits = self.classifier(self.augment(batch["image"], batch_idx)).logits
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        self.log_train(loss, len(logits))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log cross-entropy and accuracy."""
        logits = self.classifier(batch["image"]).logits
        hits = (logits.argmax(-1) == batch["label"]).float()
        loss = F.cross_entropy(logits, batch["label"])
        self.log_val({"loss": loss, "accuracy": hits.mean()}, len(logits))

    def export(self, folder: Path) -> None:
        """Write the classifier as transformers does, with class names and the pictures' scale."""
        names = list(getattr(self.trainer.datamodule, "class_names", []))
        if names:
            self.classifier.config.id2label = dict(enumerate(names))
            self.classifier.config.label2id = {name: row for row, name in enumerate(names)}
        with quiet_saving():
            self.classifier.save_pretrained(folder)
        size = self.fact("image_size")
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": size, "width": size},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        }
        write_json(folder / "preprocessor_config.json", processor)
