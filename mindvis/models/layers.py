"""Transformer parts over brain patches: sin-cos positions, attention, pre-norm block, trunk.

Axes: B batch, V voxels, L patches, P voxels of a patch, T tokens (L, or L + 1 with the class
token), D width of a token.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindvis.errors import ConfigError, DataError
from mindvis.models.masking import gather_rows


def sincos_positions(num_patches: int, dim: int, class_token: bool = True) -> Tensor:
    """Fixed positions: sin(p / 10000^(2i/D)) in the first half of the width, cos in the second.

    "Attention is all you need" (2017), section 3.5, with the two functions side by side instead of
    interleaved, as masked autoencoders have them.

    Args:
        num_patches: L.
        dim: D, even.
        class_token: Whether a row of zeros for the class token comes first.

    Returns:
        float64 (T, D).
    """
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = torch.arange(num_patches, dtype=torch.float64)[:, None] * frequencies
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return F.pad(table, (0, 0, 1, 0)) if class_token else table


def resample_positions(positions: Tensor, num_patches: int) -> Tensor:
    """Positions for another number of patches: the nearest stored row, the class row kept.

    Args:
        positions: (1 + L, D), class token first.
        num_patches: How many patches the result is for.

    Returns:
        (1 + num_patches, D).
    """
    stored = positions.shape[0] - 1
    nearest = torch.arange(num_patches, device=positions.device) * stored // num_patches
    return torch.cat([positions[:1], positions[1:][nearest]])


def patchify(voxels: Tensor, patch_size: int) -> Tensor:
    """Cut (..., V) into patches (..., L, P) without copying."""
    return voxels.reshape(*voxels.shape[:-1], -1, patch_size)


def unpatchify(patches: Tensor) -> Tensor:
    """Join patches (..., L, P) into voxels (..., V)."""
    return patches.flatten(-2)


PatchWeights = Literal["shared", "own"]


class OwnLinear(nn.Module):
    """A linear map for each patch of its own.

    A convolution says the same of every place, which is true of pictures. Voxel 3 of one patch
    and voxel 3 of another have nothing in common, so that sharing their weights leaves the blocks
    to find out from the positions what each voxel means.

    Args:
        num_patches: L.
        in_features: I.
        out_features: O.
    """

    def __init__(self, num_patches: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_patches, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(num_patches, out_features))

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (B, L, I) to (B, L, O)."""
        return torch.einsum("bli,lio->blo", patches, self.weight) + self.bias


def patch_linear(
    weights: PatchWeights, num_patches: int, in_features: int, out_features: int
) -> nn.Module:
    """A linear map of patches: one for all of them ("shared"), or one for each ("own").

    Raises:
        ConfigError: Another word.
    """
    if weights == "shared":
        return nn.Linear(in_features, out_features)
    if weights == "own":
        return OwnLinear(num_patches, in_features, out_features)
    raise ConfigError(f"patch_weights is {weights!r}", "shared or own")


class Attention(nn.Module):
    """Multi-head self-attention, softmax(Q K' / sqrt(D / H)) V, by the fused kernel.

    Args:
        dim: D.
        num_heads: H, a divisor of D.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, batch_size: int) -> Tensor:
        """Mix tokens (B T, D) of each of B samples; heads are strided views, nothing is copied."""
        heads = self.qkv(tokens).view(batch_size, -1, 3, self.num_heads, self.head_dim)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.mix(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """softmax(Q K' / sqrt(D / H)) V of heads (B, H, T, D / H)."""
        return F.scaled_dot_product_attention(query, key, value)


class MLP(nn.Module):
    """Linear, exact GELU, linear.

    Args:
        dim: D.
        hidden: Width between the two maps.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map each of the tokens (B, T, D)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x)).

    Args:
        dim: D.
        num_heads: Attention heads, a divisor of D.
        mlp_ratio: Hidden width of the MLP over D.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, T, D).

        The sums reuse the memory of the branch, which no gradient needs: its last map keeps its
        input, not its output. Tokens of all samples are rows of one matrix here, because autograd
        would copy a gradient for each sum in place of a view.
        """
        rows = tokens.flatten(0, 1)
        rows = self.attn(self.norm1(rows), len(tokens)).add_(rows)
        return self.mlp(self.norm2(rows)).add_(rows).view_as(tokens)


class Blocks(nn.ModuleList):
    """A stack of blocks that recomputes activations when gradient checkpointing is on.

    Args:
        dim: D.
        depth: Number of blocks.
        num_heads: Attention heads of each, a divisor of D.
        mlp_ratio: Hidden width of each MLP over D.
    """

    _gradient_checkpointing_func: Callable[..., Any]

    def __init__(self, dim: int, depth: int, num_heads: int, mlp_ratio: float) -> None:
        if dim % 2 or dim % num_heads:
            raise ConfigError(
                f"A transformer of width {dim} has {num_heads} heads",
                "an even width that the number of heads divides",
                "change embed_dim or num_heads (decoder_embed_dim or decoder_num_heads)",
            )
        super().__init__([Block(dim, num_heads, mlp_ratio) for _ in range(depth)])
        self.gradient_checkpointing = False

    def forward(self, tokens: Tensor) -> Tensor:
        """Pass tokens (B, T, D) through every block."""
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self:
            tokens = (
                self._gradient_checkpointing_func(block, tokens) if recompute else block(tokens)
            )
        return tokens


class Trunk(nn.Module):
    """The encoder that stage A trains and stage B uses: patch embedding, positions, blocks, norm.

    Args:
        num_voxels: V, a multiple of `patch_size`.
        patch_size: P.
        embed_dim: D.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of each MLP over D.
        patch_weights: Whether all patches are embedded by one map, or each by its own.
        position_scale: Factor of the positions.

    Raises:
        ConfigError: Sizes that do not divide.
    """

    positions: Tensor

    def __init__(
        self,
        num_voxels: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        patch_weights: PatchWeights = "shared",
        position_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if num_voxels <= 0 or num_voxels % patch_size:
            raise ConfigError(
                f"A network for {num_voxels} voxels cuts them into patches of {patch_size}",
                "a positive multiple of patch_size",
                "pad the responses, or change patch_size",
            )
        self.num_voxels = num_voxels
        self.patch_size = patch_size
        self.num_patches = num_voxels // patch_size
        self.patch_weights = patch_weights
        self.patch_embed = patch_linear(patch_weights, self.num_patches, patch_size, embed_dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        positions = position_scale * sincos_positions(self.num_patches, embed_dim)
        self.register_buffer("positions", positions.float())
        self.blocks = Blocks(embed_dim, depth, num_heads, mlp_ratio)
        self.norm = nn.LayerNorm(embed_dim)

    def check(self, voxels: Tensor) -> None:
        """Refuse responses (B, V) of another number of voxels.

        Raises:
            DataError: The number of voxels is not the one that the network was built for.
        """
        if voxels.shape[-1] != self.num_voxels:
            raise DataError(
                f"Responses have {voxels.shape[-1]} voxels",
                f"{self.num_voxels}, as the network was built",
                "use the preprocessing.json that was saved with the network",
            )

    def embed(self, patches: Tensor, kept: Tensor | None = None) -> Tensor:
        """Embed patches and add their positions.

        Args:
            patches: (B, L, P).
            kept: (B, K) which of them to embed, or None for all.

        Returns:
            (B, K, D).
        """
        if kept is None:
            return self.patch_embed(patches) + self.positions[1:]
        if self.patch_weights == "own":  # to embed all costs less than to gather their maps
            embedded = gather_rows(self.patch_embed(patches), kept)
        else:
            embedded = self.patch_embed(gather_rows(patches, kept))
        return embedded + self.positions[1:][kept]

    def forward(self, tokens: Tensor, class_token: bool = True, pool: bool = False) -> Tensor:
        """Encode embedded patches.

        Args:
            tokens: (B, K, D).
            class_token: Whether the class token comes first.
            pool: Whether the result is the mean token alone, normalised after the mean.

        Returns:
            (B, K, D), (B, 1 + K, D) with the class token, or (B, 1, D) pooled.
        """
        if class_token:
            first = self.class_token + self.positions[:1]
            tokens = torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.blocks(tokens)
        return self.norm(tokens.mean(dim=1, keepdim=True) if pool else tokens)


def initialise(module: nn.Module) -> None:
    """Xavier-uniform maps, zero biases, unit norms; tokens and queries from N(0, 0.02)."""
    for name, parameter in module.named_parameters():
        if name.endswith(("_token", "queries")):
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        if isinstance(part, OwnLinear):  # the fans of one map, not of all together
            for matrix in part.weight:
                nn.init.xavier_uniform_(matrix)
