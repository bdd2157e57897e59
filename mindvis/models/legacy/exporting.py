"""Networks of ours as files that MinD-Vis' own code loads: its names, its layout, no class of ours.

Its code reads sizes as attributes of `config`, which a pickled `argparse.Namespace` of the standard
library has. Values it reads and we do not know (paths, augmentation, sampling) are its published
ones, unless the model was imported from a file that had others.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.encoder import BrainEncoder
from mindvis.models.legacy.names import brain_table, export_weights
from mindvis.models.mae import BrainMAE

STAGE_A: Final[dict[str, Any]] = {
    "lr": 2.5e-4,
    "min_lr": 0.0,
    "weight_decay": 0.05,
    "num_epoch": 500,
    "warmup_epochs": 40,
    "batch_size": 100,
    "clip_grad": 0.8,
    "mask_ratio": 0.75,
    "root_path": ".",
    "output_path": ".",
    "seed": 2022,
    "roi": "VC",
    "aug_times": 1,
    "num_sub_limit": None,
    "include_hcp": True,
    "include_kam": True,
    "accum_iter": 1,
    "use_nature_img_loss": False,
    "img_recon_weight": 0.5,
    "focus_range": None,
    "focus_rate": 0.6,
    "local_rank": 0,
}
ENCODER_SIZES: Final = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
DECODER_SIZES: Final = ("decoder_embed_dim", "decoder_depth", "decoder_num_heads")


def export_mae(mae: BrainMAE, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What an `fmri_encoder.pth` holds: model, epoch, config.

    Args:
        mae: With one map for all patches.
        config: Values of the configuration it was imported with.

    Raises:
        CheckpointError: Each patch has a map of its own, which MinD-Vis cannot hold.
    """
    check_shared(mae)
    sizes = {name: mae.config[name] for name in (*ENCODER_SIZES, *DECODER_SIZES)}
    weights = mae.state_dict()
    return {
        "model": export_weights(brain_table(weights), weights),
        "epoch": 0,
        "config": Namespace(**{**STAGE_A, **(config or {}), **sizes}),
    }


def check_shared(network: BrainMAE | BrainEncoder) -> None:
    """Refuse a network with a map for each patch.

    Raises:
        CheckpointError: It has one.
    """
    if network.config.patch_weights != "shared":
        raise CheckpointError(
            "the encoder has a map of its own for each patch, and MinD-Vis one for all",
            "an encoder trained with patch_weights shared",
            "train stage A with --model.patch_weights shared",
        )


def bytes_of(weights: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(weight.numel() * weight.element_size() for weight in weights.values())
