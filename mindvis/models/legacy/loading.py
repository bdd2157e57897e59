"""MinD-Vis' and CompVis' checkpoints as networks of ours, every tensor accounted for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import yaml
from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.encoder import BrainEncoder
from mindvis.models.legacy.accounts import Accounts
from mindvis.models.legacy.names import CONDITION, UNET, brain_table
from mindvis.models.legacy.reading import plain_values, read_checkpoint, tensors_in
from mindvis.models.legacy.sizes import decoder_sizes, encoder_sizes
from mindvis.models.mae import BrainMAE

Kind = Literal["encoder", "pipeline", "ldm"]
Config: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | None

KEYS: dict[Kind, str] = {"encoder": "model", "pipeline": "model_state_dict", "ldm": "state_dict"}
MARKS: dict[Kind, str] = {
    "encoder": "patch_embed.proj.weight",
    "pipeline": f"{CONDITION}mae.patch_embed.proj.weight",
    "ldm": f"{UNET}input_blocks.0.0.weight",
}
# What is in a file beside its state dict, and why none of it is needed.
REST = {
    "optimizer": "state of the optimiser",
    "optimizer_states": "state of the optimiser",
    "scaler": "state of the gradient scaler",
    "state": "random state of the draw that was saved",
    "callbacks": "state of Lightning's callbacks",
    "lr_schedulers": "state of the learning-rate schedule",
    "config": "kept by the configuration beside its values",
}
DECODER = {
    "decoder_": "decoder of the autoencoder, which an encoder does not have",
    "mask_token": "mask token of the autoencoder, which an encoder does not have",
}
IMAGE_LOSS = {"nature_img_decoder": "head of the optional image-feature loss"}


class Checkpoint(NamedTuple):
    """A file that was recognised.

    Attributes:
        kind: "encoder" (stage A), "pipeline" (stage B) or "ldm" (CompVis).
        accounts: Its weights; what is beside them is listed as left out.
        config: Values of its configuration.
    """

    kind: Kind
    accounts: Accounts
    config: dict[str, Any]


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file and recognise it by its keys; nothing that it names is executed.

    Raises:
        CheckpointError: It is damaged, pickles something else, or is no such checkpoint.
    """
    content = read_checkpoint(path)
    for kind, key in KEYS.items():
        weights = content.get(key)
        if isinstance(weights, Mapping) and MARKS[kind] in weights:
            _check_weights(weights, os.fspath(path))
            accounts = Accounts(os.fspath(path), weights)
            rest = {name: value for name, value in content.items() if name != key}
            for name, _ in tensors_in(rest):
                accounts.left_out[name] = REST.get(name.split(".")[0], "beside the weights")
            return Checkpoint(kind, accounts, plain_values(content.get("config")))
    keys = ", ".join(sorted(map(str, content))) or "nothing"
    raise CheckpointError(
        f"{os.fspath(path)} holds {keys}",
        "MinD-Vis' model, config (fmri_encoder.pth) or model_state_dict, config (checkpoint.pth), "
        "or CompVis' state_dict (model.ckpt)",
        "give one of these files",
    )


def _check_weights(weights: Mapping[Any, Any], file: str) -> None:
    for name, weight in weights.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise CheckpointError(
                f"{name!r} among the weights in {file} is a {type(weight).__name__}", "a tensor"
            )


def load_mindvis_mae(
    path: str | os.PathLike[str], encoder_config: Config = None
) -> tuple[BrainMAE, Checkpoint]:
    """The masked autoencoder in an `fmri_encoder.pth`, and what became of each tensor.

    Args:
        path: The file.
        encoder_config: As in `load_mindvis_encoder`.

    Raises:
        CheckpointError: As `open_checkpoint`; a tensor is missing, surplus or of another shape.
    """
    return mae_in(open_checkpoint(path), encoder_config)


def mae_in(checkpoint: Checkpoint, encoder_config: Config = None) -> tuple[BrainMAE, Checkpoint]:
    """As `load_mindvis_mae`, of a file that is open."""
    accounts = checkpoint.accounts
    config = checkpoint.config | encoder_values(encoder_config)
    if checkpoint.kind != "encoder":
        raise CheckpointError(f"{accounts.file} is a {checkpoint.kind}", "an fmri_encoder.pth")
    with torch.device("meta"):
        mae = BrainMAE(
            **encoder_sizes(accounts.weights, "", config, accounts.file),
            **decoder_sizes(accounts.weights, config, accounts.file),
        )
    accounts.take("mae", brain_table(mae.state_dict()), mae)
    accounts.leave_prefixed(IMAGE_LOSS)
    accounts.close()
    return mae.eval(), checkpoint


def take_encoder(
    accounts: Accounts, prefix: str, config: Mapping[str, Any], pool: bool = False
) -> BrainEncoder:
    """The encoder whose names have a prefix; without class token, as MinD-Vis uses it.

    Raises:
        CheckpointError: A weight is missing, or the number of heads is not known.
    """
    sizes = encoder_sizes(accounts.weights, prefix, config, accounts.file)
    with torch.device("meta"):
        encoder = BrainEncoder(**sizes, class_token=False, pool=pool)
    accounts.take("encoder", brain_table(encoder.state_dict(), prefix), encoder)
    accounts.leave_prefixed(
        {f"{prefix}{name}": why for name, why in (DECODER | IMAGE_LOSS).items()}
    )
    return encoder.eval()


def is_pooled(accounts: Accounts) -> bool:
    """Whether a pipeline's encoder gives its mean token alone ("global_pool")."""
    return f"{CONDITION}channel_mapper.0.weight" not in accounts.weights


def load_mindvis_encoder(
    path: str | os.PathLike[str], encoder_config: Config = None
) -> BrainEncoder:
    """The encoder in any of MinD-Vis' files.

    Args:
        path: An `fmri_encoder.pth`, `checkpoint.pth` or `finetuned.pth`.
        encoder_config: Configuration of stage A: values, or a file that has them; needed where
            the file has none and the encoder is not of the published size.

    Returns:
        The encoder without class token, as MinD-Vis uses it.

    Raises:
        CheckpointError: As `open_checkpoint`; a tensor is missing or of another shape.
    """
    checkpoint = open_checkpoint(path)
    if checkpoint.kind == "ldm":
        raise CheckpointError(f"{os.fspath(path)} has no brain encoder", "one of MinD-Vis' files")
    prefix = "" if checkpoint.kind == "encoder" else f"{CONDITION}mae."
    config = checkpoint.config | encoder_values(encoder_config)
    pool = bool(prefix) and is_pooled(checkpoint.accounts)
    encoder = take_encoder(checkpoint.accounts, prefix, config, pool)
    if not prefix:
        checkpoint.accounts.close()
    return encoder


def encoder_values(source: Config) -> dict[str, Any]:
    """Values of stage A's configuration: given, in an `fmri_encoder.pth`, or in YAML or JSON.

    Raises:
        CheckpointError: There are none in the file.
    """
    if source is None or isinstance(source, Mapping):
        return dict(source or {})
    if Path(source).suffix.lower() in {".yaml", ".yml", ".json"}:
        return read_yaml(source)
    return open_checkpoint(source).config


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A YAML or JSON file of named values.

    Raises:
        CheckpointError: It is absent or holds something else.
    """
    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} cannot be read ({reason})", "a YAML file") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__}", "named values")
    return content
