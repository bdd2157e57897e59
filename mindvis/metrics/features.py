"""Judges: image classifiers from a local folder that say what a picture shows."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from mindvis.errors import CheckpointError
from mindvis.metrics import swag
from mindvis.metrics.digests import folder_digest
from mindvis.metrics.weights import in_hub_cache

CLASSIFIER_CONFIG = "config.json"
PROCESSOR_CONFIG = "preprocessor_config.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_classifier(directory: str | os.PathLike[str]) -> Path:
    """The folder that holds the classifier: the one given, or its `model/`.

    Args:
        directory: A folder of `save_pretrained`, a run folder of `mindvis fit`, or the name of a
            repository (owner/name) in the Hugging Face cache.

    Returns:
        The folder with `config.json`.

    Raises:
        CheckpointError: Where neither holds a whole classifier.
    """
    root = Path(directory)
    if not root.exists() and HUB_NAME.fullmatch(str(directory)):
        root = in_hub_cache(str(directory)) or root
    for folder in (root, root / "model"):
        if (folder / CLASSIFIER_CONFIG).is_file():
            break
    else:
        raise CheckpointError(
            f"no judge in {root}",
            f"a transformers image classifier ({CLASSIFIER_CONFIG}, model.safetensors, "
            f"{PROCESSOR_CONFIG})",
            "train one with `mindvis fit -c configs/judge.yaml` or name another folder",
        )
    missing = [] if list(folder.glob("*.safetensors")) else ["*.safetensors"]
    missing += [] if (folder / PROCESSOR_CONFIG).is_file() else [PROCESSOR_CONFIG]
    if missing:
        raise CheckpointError(
            f"the judge in {folder} lacks {' and '.join(missing)}",
            "weights in safetensors and the preprocessing that the classifier was trained with",
            "save it again with save_pretrained",
        )
    return folder


@dataclass
class Judge:
    """An image classifier with its preprocessing, class names and the digest of its weights.

    Args:
        model: Maps `pixel_values` (n, 3, height, width) to an output with `logits` (n, classes).
        processor: Maps a list of uint8 (H, W, 3) pictures to `pixel_values`.
        labels: Name of each class.
        digest: SHA-256 of the weights, recorded with every score.
        name: What to call it in a report.
    """

    model: nn.Module
    processor: Any
    labels: tuple[str, ...]
    digest: str
    name: str

    @classmethod
    def load(cls, directory: str | os.PathLike[str], device: str = "cpu") -> "Judge":
        """Any `transformers` image classifier from this machine, read from safetensors alone.

        Args:
            directory: See `find_classifier`; "vit-h-14" is MinD-Vis' judge, by torchvision.
            device: Where it runs.

        Raises:
            CheckpointError: Where the folder holds no such classifier.
        """
        if str(directory) == swag.NAME:
            network, preparation, classes, digest = swag.load_swag()
            return cls(network.to(device).eval(), preparation, classes, digest, swag.NAME)
        folder = find_classifier(directory)
        try:
            model, processor = _read(folder)
            names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the judge in {folder} cannot be read: {reason}",
                "a transformers image classifier",
            ) from error
        run = Path(directory).resolve()
        title = run.parent.name if run.name == "model" else run.name
        return cls(model.to(device).eval(), processor, tuple(names), folder_digest(folder), title)

    @torch.inference_mode()
    def probabilities(
        self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], batch_size: int = 64
    ) -> Tensor:
        """Class probabilities of pictures.

        The softmax is taken in float64, so that classes which a confident judge rules out do not
        tie at zero.

        Args:
            images: (n, height, width, 3) bytes, or a sequence of such pictures.
            batch_size: Pictures at once.

        Returns:
            float64 (n, classes).
        """
        device = next(self.model.parameters()).device
        starts = range(0, len(images), batch_size)
        rows = [torch.empty(0, len(self.labels), dtype=torch.float64)]
        for start in tqdm(starts, desc=f"judge {self.name}", delay=2, leave=False):
            batch = list(images[start : start + batch_size])
            pixels = self.processor(batch, return_tensors="pt")["pixel_values"].to(device)
            logits = self.model(pixel_values=pixels).logits
            rows.append(logits.to("cpu", torch.float64).softmax(-1))
        return torch.cat(rows)

    def class_numbers(self, names: Sequence[str]) -> Tensor:
        """Class number of each name, -1 where the judge does not know it.

        Case is ignored, and "red_circle", as folders are named, is "red circle".
        """
        known = {_plain(label): i for i, label in enumerate(self.labels)}
        return torch.tensor([known.get(_plain(name), -1) for name in names])


def _plain(name: str) -> str:
    """A class name without case and underscores."""
    return " ".join(name.replace("_", " ").casefold().split())


def _read(folder: Path) -> tuple[Any, Any]:
    """Model and image processor of a folder, through Pillow rather than torchvision."""
    # seconds to import: only a command that judges pays them
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model, report = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    absent = sorted(report["missing_keys"])
    if absent:  # transformers would draw them at random
        raise ValueError(f"its weights lack {len(absent)} of the model's, {absent[0]} among them")
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return model, processor
