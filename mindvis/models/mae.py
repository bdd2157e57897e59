"""BrainMAE, the masked autoencoder of stage A: "Masked autoencoders are scalable vision learners"
(2022) over one-dimensional patches of voxels, as "Seeing beyond the brain" (MinD-Vis, 2023) has it.

Axes: B batch, V voxels, L patches, P voxels of a patch, K kept patches, D width of a token.
"""  # noqa: D205

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mindvis.models.layers import (
    Blocks,
    PatchWeights,
    Trunk,
    initialise,
    patch_linear,
    patchify,
    sincos_positions,
    unpatchify,
)
from mindvis.models.masking import (
    Masking,
    random_masking,
    random_noise,
    scatter_rows,
)


class MAEOutput(NamedTuple):
    """What one pass of `BrainMAE` gives.

    Attributes:
        loss: Mean squared error over the voxels of removed patches; 0 when none is removed.
        prediction: (B, L, P), every patch as the decoder sees it.
        mask: (B, L), 1 where the patch was removed.
    """

    loss: Tensor
    prediction: Tensor
    mask: Tensor


class BrainMAE(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Masked autoencoder of brain responses: deep encoder of kept patches, light decoder of all.

    Args:
        num_voxels: V, a multiple of `patch_size`.
        patch_size: P, voxels of a patch.
        embed_dim: Width of the encoder.
        depth: Blocks of the encoder.
        num_heads: Attention heads of the encoder.
        mlp_ratio: Hidden width of each MLP over its width, in encoder and decoder.
        decoder_embed_dim: Width of the decoder.
        decoder_depth: Blocks of the decoder.
        decoder_num_heads: Attention heads of the decoder.
        patch_weights: "shared" embeds and predicts all patches by one map, as MinD-Vis does; "own"
            gives each patch its own, since patches of different voxels have nothing in common.
        position_scale: Factor of the fixed positions of encoder and decoder. Their entries are of
            size .7 and those of embedded responses of .5 or less, so that tokens tell mostly
            their place; a smaller factor lets them tell the response.

    Raises:
        ConfigError: Sizes that do not divide.
    """

    _supports_gradient_checkpointing = True
    decoder_positions: Tensor

    @register_to_config
    def __init__(
        self,
        num_voxels: int,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 1.0,
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        patch_weights: PatchWeights = "shared",
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
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        positions = position_scale * sincos_positions(self.trunk.num_patches, decoder_embed_dim)
        self.register_buffer("decoder_positions", positions.float())
        self.decoder_blocks = Blocks(decoder_embed_dim, decoder_depth, decoder_num_heads, mlp_ratio)
        self.decoder_norm = nn.LayerNorm(decoder_embed_dim)
        self.decoder_pred = patch_linear(
            patch_weights, self.trunk.num_patches, decoder_embed_dim, patch_size
        )
        initialise(self)
        for parameter in self.decoder_pred.parameters():
            nn.init.zeros_(parameter)  # its noise would first teach tokens to say nothing

    @property
    def num_patches(self) -> int:
        """L."""
        return self.trunk.num_patches

    def patchify(self, voxels: Tensor) -> Tensor:
        """Cut voxels (B, V) into patches (B, L, P)."""
        self.trunk.check(voxels)
        return patchify(voxels, self.trunk.patch_size)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Join patches (B, L, P) into voxels (B, V)."""
        return unpatchify(patches)

    def forward_encoder(
        self, voxels: Tensor, mask_ratio: float, noise: Tensor
    ) -> tuple[Tensor, Masking]:
        """Encode the kept patches of voxels (B, V).

        Returns:
            Tokens (B, 1 + K, D), class token first, kept patches in order of ascending noise; and
            the masking.
        """
        masking = random_masking(noise, mask_ratio)
        return self.trunk(self.trunk.embed(self.patchify(voxels), masking.kept)), masking

    def forward_decoder(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Predict every patch (B, L, P) from tokens (B, 1 + K, D) of patches `kept` (B, K)."""
        places = F.pad(kept + 1, (1, 0))
        seen = self.decoder_embed(tokens) + self.decoder_positions[places]
        unseen = self.decoder_positions + self.mask_token[0]
        decoded = self.decoder_norm(self.decoder_blocks(scatter_rows(unseen, places, seen)))
        return self.decoder_pred(decoded[:, 1:])

    def forward_loss(
        self, voxels: Tensor, prediction: Tensor, mask: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Mean squared error over valid voxels of removed patches.

        Args:
            voxels: (B, V).
            prediction: (B, L, P).
            mask: (B, L), 1 = removed.
            valid: bool (V,) or (B, V), False where a voxel is padding; None counts every voxel.

        Returns:
            A scalar; 0 when no patch is removed.
        """
        weight = mask[..., None].expand_as(prediction)
        if valid is not None:
            weight = weight * self.patchify(valid)
        squares = (prediction - self.patchify(voxels)).square()
        return (squares * weight).sum() / weight.sum().clamp(min=1)

    def forward(
        self,
        voxels: Tensor,
        mask_ratio: float = 0.75,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        valid: Tensor | None = None,
    ) -> MAEOutput:
        """Remove patches at random, reconstruct them, and score the reconstruction.

        Args:
            voxels: (B, V), standardised responses.
            mask_ratio: Share of patches to remove, in [0, 1).
            noise: (B, L), the patches of smallest noise are kept; None draws it.
            generator: Source of the noise.
            valid: bool (V,) or (B, V), False where a voxel is padding.

        Raises:
            DataError: The number of voxels is not the one that the network was built for.
            ConfigError: The mask ratio keeps no patch.
        """
        self.trunk.check(voxels)
        if noise is None:
            noise = random_noise(len(voxels), self.num_patches, generator, voxels.device)
        tokens, masking = self.forward_encoder(voxels, mask_ratio, noise)
        prediction = self.forward_decoder(tokens, masking.kept)
        loss = self.forward_loss(voxels, prediction, masking.mask, valid)
        return MAEOutput(loss, prediction, masking.mask)

    def reconstruct(self, output: MAEOutput, voxels: Tensor) -> Tensor:
        """Voxels (B, V): what was seen where it was seen, the prediction where it was removed."""
        removed = output.mask[..., None].bool()
        return unpatchify(torch.where(removed, output.prediction, self.patchify(voxels)))

    def encoder_config(self) -> dict[str, Any]:
        """The arguments that build the `BrainEncoder` of this network."""
        decoder = {"decoder_embed_dim", "decoder_depth", "decoder_num_heads"}
        return {
            name: value
            for name, value in self.config.items()
            if name not in decoder and not name.startswith("_")
        }
