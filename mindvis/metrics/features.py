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
from mindvis.metrics.labels import match_labels
from mindvis.metrics.weights import in_hub_cache
from mindvis.records import read_json

CLASSIFIER_CONFIG = "config.json"
PROCESSOR_CONFIG = "preprocessor_config.json"
# logits that differ by no more than this, beside the largest, are equal but for rounding
CONSTANT = 1e-6
# what transformers raises for folders that are not as it expects
LIBRARY_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, SafetensorError, TypeError, AttributeError,
    ImportError,
)  # fmt: skip
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
        _check_own_code(folder)
        try:
            model, processor = _read(folder)
            names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
        except LIBRARY_ERRORS as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the judge in {folder} cannot be read: {reason}",
                "a transformers image classifier",
            ) from error
        run = Path(directory).resolve()
        title = run.parent.name if run.name == "model" else run.name
        return cls(model.to(device).eval(), processor, tuple(names), folder_digest(folder), title)

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

        Raises:
            CheckpointError: The judge cannot see the pictures, or answers NaN.
        """
        return self.logits(images, batch_size).softmax(-1)

    @torch.inference_mode()
    def logits(
        self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], batch_size: int = 64
    ) -> Tensor:
        """The judge's answers before the softmax, float64 (n, classes); see `probabilities`.

        Raises:
            CheckpointError: The judge cannot see the pictures, or answers NaN.
        """
        device = next(self.model.parameters()).device
        starts = range(0, len(images), batch_size)
        rows = [torch.empty(0, len(self.labels), dtype=torch.float64)]
        for start in tqdm(starts, desc=f"judge {self.name}", delay=2, leave=False):
            batch = list(images[start : start + batch_size])
            rows += [self._answers(p.to(device), batch[0]) for p in self._prepared(batch)]
        return torch.cat(rows)

    def class_numbers(self, names: Sequence[str]) -> Tensor:
        """Class number of each name, -1 where it is no single class; see `mindvis.metrics.labels`.

        >>> judge = Judge(nn.Identity(), None, ("tench, Tinca tinca", "red circle"), "", "")
        >>> judge.class_numbers(["Tench", "red_circle", "dog"]).tolist()
        [0, 1, -1]
        """
        return torch.tensor(match_labels(names, self.labels).numbers, dtype=torch.int64)

    def _prepared(self, batch: list[NDArray[np.uint8]]) -> list[Tensor]:
        """Batches of `pixel_values`: one, or one a picture where they come out in other sizes.

        Raises:
            CheckpointError: The processor refuses the pictures.
        """
        options = {"return_tensors": "pt", "input_data_format": "channels_last"}
        parts = [[picture] for picture in batch] if _sizes(batch) > 1 else [batch]
        try:
            return [self.processor(part, **options)["pixel_values"] for part in parts]
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            raise self._refused(batch[0], error) from error

    def _answers(self, pixels: Tensor, picture: NDArray[np.uint8]) -> Tensor:
        """Finite logits (n, classes), float64.

        Raises:
            CheckpointError: The network refuses the prepared size, or answers something else.
        """
        try:
            logits: Tensor = self.model(pixel_values=pixels).logits.to("cpu", torch.float64)
        except (ValueError, RuntimeError) as error:
            raise self._refused(picture, error) from error
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise CheckpointError(
                f"the judge {self.name} answers {tuple(logits.shape[1:])} values a picture",
                f"one for each of its {len(self.labels)} classes",
            )
        bad = int((~logits.isfinite()).any(1).sum())
        if bad:
            raise CheckpointError(
                f"the judge {self.name} answers NaN or infinity about {bad} of {len(logits)} "
                "pictures",
                "finite numbers",
                "its weights are damaged, or its training diverged; name another judge",
            )
        return logits

    def _refused(self, picture: NDArray[np.uint8], error: Exception) -> CheckpointError:
        height, width = picture.shape[:2]
        return CheckpointError(
            f"the judge {self.name} cannot see a picture of {width} x {height} pixels "
            f"({' '.join(str(error).split())[:200]})",
            "pictures that its processor brings to the size of its network",
            "evaluate pictures of another shape, or name a judge whose processor resizes to a "
            "fixed height and width",
        )

    def check_answers(self, pictures: Sequence[NDArray[np.uint8]], logits: Tensor) -> None:
        """Refuse a judge that answers alike whatever it sees.

        Args:
            pictures: True pictures of any size.
            logits: The judge's answers to them, (n, classes).

        Raises:
            CheckpointError: Pictures differ and the answers do not.
        """
        if len({(picture.shape, picture.tobytes()) for picture in pictures}) < 2:
            return
        spread = (logits - logits[0]).abs().max()
        if spread <= CONSTANT * (1 + logits.abs().max()):
            raise CheckpointError(
                f"the judge {self.name} gives one answer to all {len(pictures)} true pictures, "
                "which differ",
                "a classifier whose answers depend on the picture",
                "its weights are damaged, or its training failed; name another judge",
            )

    def note(self, pictures: Sequence[NDArray[np.uint8]]) -> str:
        """What the judge does not see of pictures that are not square; empty where it sees all."""
        uneven = [picture for picture in pictures if picture.shape[0] != picture.shape[1]]
        cropped = getattr(self.processor, "do_center_crop", False) or self.name == swag.NAME
        if not (uneven and cropped):
            return ""
        return (
            f"the judge {self.name} crops to the middle: it does not see the ends of "
            f"{len(uneven)} true picture{'s' * (len(uneven) != 1)} that "
            f"{'are' if len(uneven) != 1 else 'is'} not square"
        )


def _sizes(pictures: Sequence[NDArray[np.uint8]]) -> int:
    """How many sizes of pictures there are."""
    return len({picture.shape for picture in pictures})


def _check_own_code(folder: Path) -> None:
    """Refuse a classifier that brings a program of its own, which mindvis never runs."""
    for name in (CLASSIFIER_CONFIG, PROCESSOR_CONFIG):
        if "auto_map" in read_json(folder / name):
            raise CheckpointError(
                f"the judge in {folder} asks in {name} to run code of its own (auto_map)",
                "a classifier whose network transformers itself defines",
                "name another judge",
            )


def _read(folder: Path) -> tuple[Any, Any]:
    """Model and image processor of a folder, through Pillow rather than torchvision."""
    # seconds to import: only a command that judges pays them
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    # float32 whatever the weights were saved in: the pictures are float32 as well
    model, report = AutoModelForImageClassification.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    absent = sorted(report["missing_keys"])
    if absent:  # transformers would draw them at random
        raise ValueError(f"its weights lack {len(absent)} of the model's, {absent[0]} among them")
    processor = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    return model, processor
