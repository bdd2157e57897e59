"""BrainEncoder: the trunk of stage A on all patches, tokens out."""

import os

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.models.layers import PatchWeights, Trunk, initialise, patchify, resample_positions
from mindvis.models.loading import component_folder, load_component, read_config
from mindvis.models.mae import BrainMAE


class BrainEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Encoder of whole brain responses.

    Args:
        num_voxels: V, a multiple of `patch_size`.
        patch_size: Voxels of a patch.
        embed_dim: D, width of a token.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of each MLP over D.
        class_token: Whether the class token is used, as it was in stage A; MinD-Vis drops it.
        patch_weights: Whether all patches are embedded by one map, or each by its own.
        pool: Whether the mean token is the only one, as MinD-Vis can have it ("global_pool").
        position_scale: Factor of the fixed positions.

    Raises:
        ConfigError: Sizes that do not divide.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        num_voxels: int,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 1.0,
        class_token: bool = True,
        patch_weights: PatchWeights = "shared",
        pool: bool = False,
        position_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(
            num_voxels,
            patch_size,
            embed_dim,
            depth,
            num_heads,
            mlp_ratio,
            patch_weights,
            position_scale,
        )
        self.trunk.class_token.requires_grad_(class_token)
        initialise(self)

    @classmethod
    def from_mae(cls, mae: BrainMAE, class_token: bool = True) -> "BrainEncoder":
        """The encoder of a trained `BrainMAE`, with a copy of its weights."""
        encoder = cls(**mae.encoder_config(), class_token=class_token)
        encoder.trunk.load_state_dict(mae.trunk.state_dict())
        return encoder

    @property
    def num_tokens(self) -> int:
        """T: patches, and the class token where it is used; 1 where they are pooled."""
        if self.config.pool:
            return 1
        return self.trunk.num_patches + int(self.config.class_token)

    def forward(self, voxels: Tensor) -> Tensor:
        """Encode voxels (B, V) to tokens (B, T, D), class token first.

        Raises:
            DataError: The number of voxels is not the one that the network was built for.
        """
        self.trunk.check(voxels)
        patches = patchify(voxels, self.trunk.patch_size)
        return self.trunk(self.trunk.embed(patches), self.config.class_token, self.config.pool)

    def resized(self, num_voxels: int) -> "BrainEncoder":
        """A copy for another number of voxels: the same weights, positions of the nearest patch.

        Args:
            num_voxels: The new V, a multiple of `patch_size`.

        Raises:
            CheckpointError: Each patch has weights of its own, which fit no other patch.
        """
        if self.config.patch_weights == "own":
            raise CheckpointError(
                f"The encoder has a map of its own for each patch of {self.config.num_voxels} "
                f"voxels and cannot be resized to {num_voxels}",
                remedy="train stage A with patch_weights shared, or on these data",
            )
        config = {key: value for key, value in self.config.items() if not key.startswith("_")}
        other = BrainEncoder(**{**config, "num_voxels": num_voxels})
        weights = self.trunk.state_dict()
        weights["positions"] = resample_positions(weights["positions"], other.trunk.num_patches)
        other.trunk.load_state_dict(weights)
        return other


def load_encoder(
    path: str | os.PathLike[str],
    num_voxels: int,
    patch_size: int,
    class_token: bool = True,
    resize: bool = False,
) -> BrainEncoder:
    """The encoder in a run of stage A, in a saved pipeline, or in a component's own folder.

    Args:
        path: A run folder, its `model` folder, or a folder with a `config.json` of `BrainMAE` or
            `BrainEncoder`.
        num_voxels: Voxels of the data, padding included.
        patch_size: Voxels of a patch in the data's configuration.
        class_token: Whether an encoder taken from a `BrainMAE` uses its class token.
        resize: Accept a checkpoint of another number of voxels, with positions resampled.

    Raises:
        CheckpointError: There is no encoder, or it was trained on other sizes.
    """
    folder = component_folder(path, ("encoder", "mae"))
    if read_config(folder).get("_class_name") == "BrainMAE":
        encoder = BrainEncoder.from_mae(load_component(BrainMAE, folder), class_token)
    else:
        encoder = load_component(BrainEncoder, folder)
    check_sizes(encoder, num_voxels, patch_size, resize, os.fspath(path))
    return encoder if encoder.config.num_voxels == num_voxels else encoder.resized(num_voxels)


def check_sizes(
    encoder: BrainEncoder, num_voxels: int, patch_size: int, resize: bool, path: str
) -> None:
    """Refuse an encoder of other sizes than the data's, with a sentence for each."""
    found, patch = encoder.config.num_voxels, encoder.config.patch_size
    if patch != patch_size:
        raise CheckpointError(
            f"The encoder in {path} has patches of {patch} voxels",
            f"{patch_size}, as the data's configuration says",
            f"set patch_size to {patch}, or train stage A again",
        )
    if found != num_voxels and not resize:
        raise CheckpointError(
            f"The encoder in {path} was trained on {found} voxels",
            f"{num_voxels}, as the data have",
            f"set the data's length to {found}, choose the store and ROI it was trained on, "
            "or train stage A on these data",
        )
