"""Finding and loading saved components: diffusers folders with a config.json and safetensors."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mindvis.errors import CheckpointError


def component_folder(path: str | os.PathLike[str], names: Sequence[str]) -> Path:
    """The first component found in a run folder, its `model` folder, or `path` itself.

    Args:
        path: A run folder, a model folder, or a component's own folder.
        names: Acceptable sub-folder names, the preferred one first.

    Raises:
        CheckpointError: None of them is there.
    """
    root = Path(path)
    if (root / "config.json").is_file():
        return root
    places = [base / name for base in (root, root / "model") for name in names]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"{root} holds no {' or '.join(names)} folder with a config.json"
        if root.is_dir()
        else f"There is no folder {root}",
        "the run folder of a finished stage, or its model folder",
        "run the stage that makes it, or correct the path",
    )


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The configuration of a saved component.

    Raises:
        CheckpointError: The file is absent or no JSON object.
    """
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})", "a JSON file") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}", "a JSON object")
    return config


def load_component(cls: type[Any], folder: Path) -> Any:
    """A diffusers model from `folder`: local files, safetensors only, every weight accounted for.

    Args:
        cls: A `ModelMixin`.
        folder: The folder that `save_pretrained` wrote.

    Raises:
        CheckpointError: Weights are absent, damaged, missing or of another shape.
    """
    try:
        model, info = cls.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"The weights in {folder} do not load as {cls.__name__} ({reason})",
            remedy="save the model again, or choose another folder",
        ) from error
    if info["missing_keys"] or info["unexpected_keys"]:
        raise CheckpointError(
            f"{folder} lacks {len(info['missing_keys'])} weights of {cls.__name__} and has "
            f"{len(info['unexpected_keys'])} unknown ones",
            "exactly the weights that its config.json describes",
            "save the model again with the same version of mindvis and diffusers",
        )
    return model.eval()
