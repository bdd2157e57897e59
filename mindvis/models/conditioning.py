"""Conditioners: what a picture is of, as context tokens for cross-attention and one pooled vector.

Every conditioner gives a `Conditioning` and a learned empty one (`null`), so that a denoiser takes
labels and brains alike. Axes: B batch, T tokens, D width of a token, S context tokens, C width of a
context token, E width of the pooled vector.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mindvis.errors import ConfigError
from mindvis.models.layers import MLP, initialise


class Conditioning(NamedTuple):
    """What a denoiser is conditioned on.

    Attributes:
        context: (B, S, C), tokens for cross-attention.
        pooled: (B, E), the vector that is added to the time embedding after a linear map.
    """

    context: Tensor
    pooled: Tensor


def drop_condition(conditioning: Conditioning, null: Conditioning, keep: Tensor) -> Conditioning:
    """Replace the conditioning of samples by the empty one ("Classifier-free diffusion guidance").

    Args:
        conditioning: Of B samples.
        null: Empty conditioning of the same shapes (B or 1 samples).
        keep: bool (B,), False where the sample loses its conditioning.
    """
    return Conditioning(
        torch.where(keep[:, None, None], conditioning.context, null.context),
        torch.where(keep[:, None], conditioning.pooled, null.pooled),
    )


class NullConditioning(nn.Module):
    """The learned empty conditioning.

    Args:
        num_context_tokens: S.
        context_dim: C.
        pooled_dim: E.
    """

    def __init__(self, num_context_tokens: int, context_dim: int, pooled_dim: int) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.zeros(num_context_tokens, context_dim))
        self.pooled = nn.Parameter(torch.zeros(pooled_dim))

    def forward(self, batch_size: int) -> Conditioning:
        """Expand to a batch without copying."""
        return Conditioning(
            self.context.expand(batch_size, -1, -1), self.pooled.expand(batch_size, -1)
        )

    def adopt(self, other: "NullConditioning") -> None:
        """Start from another conditioner's empty conditioning, its mean token repeated.

        Attention over copies of one token is that token, so that a denoiser gives what it gave for
        the other conditioner when that has a single context token.

        Raises:
            ConfigError: The widths differ.
        """
        widths = (other.context.shape[1], other.pooled.shape[0])
        if widths != (self.context.shape[1], self.pooled.shape[0]):
            raise ConfigError(
                f"An empty conditioning of widths {widths} was given",
                f"widths {(self.context.shape[1], self.pooled.shape[0])}",
                "set context_dim and pooled_dim to those of the latent diffusion model",
            )
        with torch.no_grad():
            self.context.copy_(other.context.mean(dim=0, keepdim=True).expand_as(self.context))
            self.pooled.copy_(other.pooled)


class LabelConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Conditioning on a class label, by two learned tables.

    Args:
        num_classes: Number of labels.
        context_dim: C.
        pooled_dim: E.
        num_context_tokens: S.
    """

    @register_to_config
    def __init__(
        self, num_classes: int, context_dim: int, pooled_dim: int, num_context_tokens: int = 1
    ) -> None:
        super().__init__()
        self.context_table = nn.Embedding(num_classes, num_context_tokens * context_dim)
        self.pooled_table = nn.Embedding(num_classes, pooled_dim)
        self.empty = NullConditioning(num_context_tokens, context_dim, pooled_dim)

    def forward(self, labels: Tensor) -> Conditioning:
        """Condition on labels, int64 (B,)."""
        context = self.context_table(labels).unflatten(1, (-1, self.config.context_dim))
        return Conditioning(context, self.pooled_table(labels))

    def null(self, batch_size: int) -> Conditioning:
        """The learned empty conditioning of `batch_size` samples."""
        return self.empty(batch_size)


class WordConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Conditioning on a class by the words of its name: a token for each word, their sum pooled.

    Classes that share a word share what is learned of it, so that "red circle" teaches something
    about "red star" and about "blue circle".

    Args:
        class_names: Names of the classes, words separated by spaces or underscores.
        context_dim: C.
        pooled_dim: E.
    """

    words: Tensor

    @register_to_config
    def __init__(self, class_names: list[str], context_dim: int, pooled_dim: int) -> None:
        super().__init__()
        names = [name.replace("_", " ").split() for name in class_names]
        vocabulary = sorted({word for name in names for word in name})
        length = max(map(len, names))
        place = {word: number for number, word in enumerate(vocabulary)}
        blank = len(vocabulary)  # fills the shorter names
        rows = [[place[word] for word in name] + [blank] * (length - len(name)) for name in names]
        self.register_buffer("words", torch.tensor(rows))
        self.context_table = nn.Embedding(blank + 1, context_dim)
        self.pooled_table = nn.Embedding(blank + 1, pooled_dim)
        self.empty = NullConditioning(length, context_dim, pooled_dim)

    def forward(self, labels: Tensor) -> Conditioning:
        """Condition on classes, int64 (B,), in the order of their names."""
        words = self.words[labels]
        return Conditioning(self.context_table(words), self.pooled_table(words).sum(dim=1))

    def null(self, batch_size: int) -> Conditioning:
        """The learned empty conditioning of `batch_size` samples."""
        return self.empty(batch_size)


def conditioning_distance(conditioning: Conditioning, target: Conditioning) -> Tensor:
    """Mean squared distance of the pooled vectors and of the first S tokens, S those of the target.

    Args:
        conditioning: Of B samples, with S tokens or more.
        target: Of B samples.
    """
    first = conditioning.context[:, : target.context.shape[1]]
    return F.mse_loss(first, target.context) + F.mse_loss(conditioning.pooled, target.pooled)


class BrainConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Conditioning on the tokens of a brain response.

    Args:
        num_tokens: T.
        embed_dim: D.
        context_dim: C.
        pooled_dim: E; equal to C for "compat".
        num_context_tokens: S.
        projection: "attention" is learned queries that attend to the brain's tokens; "linear" is a
            linear mixture of tokens, GELU, and a linear map of their width; "compat" is MinD-Vis'
            own, linear throughout.
        num_heads: Heads of the queries' attention, a divisor of C.
        guidable: Whether the empty conditioning was trained; MinD-Vis has none, and its models
            cannot be guided.

    Raises:
        ConfigError: Widths that the projection cannot have.
    """

    @register_to_config
    def __init__(
        self,
        num_tokens: int,
        embed_dim: int,
        context_dim: int,
        pooled_dim: int,
        num_context_tokens: int = 77,
        projection: Literal["attention", "linear", "compat"] = "attention",
        num_heads: int = 8,
        guidable: bool = True,
    ) -> None:
        super().__init__()
        self.mapping: nn.Module
        if projection == "attention":
            self.mapping = AttentionProjection(
                embed_dim, context_dim, pooled_dim, num_context_tokens, num_heads
            )
        elif projection == "linear":
            self.mapping = LinearProjection(
                num_tokens, embed_dim, context_dim, pooled_dim, num_context_tokens
            )
        elif projection == "compat":
            self.mapping = CompatProjection(
                num_tokens, embed_dim, context_dim, pooled_dim, num_context_tokens
            )
        else:
            raise ConfigError(
                f"The projection is {projection!r}", "one of attention, linear, compat"
            )
        self.empty = NullConditioning(num_context_tokens, context_dim, pooled_dim)

    def forward(self, tokens: Tensor) -> Conditioning:
        """Condition on brain tokens (B, T, D)."""
        return self.mapping(tokens)

    def null(self, batch_size: int) -> Conditioning:
        """The learned empty conditioning of `batch_size` samples."""
        return self.empty(batch_size)


class AttentionProjection(nn.Module):
    """Learned queries attend to the tokens, then an MLP, both pre-norm and residual.

    S queries become the context; one more becomes the pooled vector through a map that starts at
    zero, so that a pretrained denoiser is not disturbed at the first step.
    """

    def __init__(
        self, embed_dim: int, context_dim: int, pooled_dim: int, num_queries: int, num_heads: int
    ) -> None:
        super().__init__()
        if context_dim % num_heads:
            raise ConfigError(
                f"Queries of width {context_dim} have {num_heads} heads",
                "a number of heads that divides context_dim",
                "change num_heads or context_dim",
            )
        self.num_heads = num_heads
        self.queries = nn.Parameter(torch.zeros(num_queries + 1, context_dim))
        self.norm_queries = nn.LayerNorm(context_dim)
        self.norm_tokens = nn.LayerNorm(embed_dim)
        self.to_q = nn.Linear(context_dim, context_dim)
        self.to_kv = nn.Linear(embed_dim, 2 * context_dim)
        self.to_out = nn.Linear(context_dim, context_dim)
        self.norm_mlp = nn.LayerNorm(context_dim)
        self.mlp = MLP(context_dim, 4 * context_dim)
        self.norm_out = nn.LayerNorm(context_dim)
        self.to_pooled = nn.Linear(context_dim, pooled_dim)
        initialise(self)
        nn.init.normal_(self.queries)
        nn.init.zeros_(self.to_pooled.weight)

    def forward(self, tokens: Tensor) -> Conditioning:
        """Condition on brain tokens (B, T, D)."""
        mixed = self.queries + self.attend(self.norm_tokens(tokens))
        mixed = self.norm_out(mixed + self.mlp(self.norm_mlp(mixed)))
        return Conditioning(mixed[:, :-1], self.to_pooled(mixed[:, -1]))

    def attend(self, tokens: Tensor) -> Tensor:
        """What the queries read from normalised tokens (B, T, D): (B, S + 1, C)."""
        queries = self.to_q(self.norm_queries(self.queries)).unflatten(-1, (self.num_heads, -1))
        heads = self.to_kv(tokens).unflatten(-1, (2, self.num_heads, -1))
        key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        query = queries.transpose(0, 1).expand(len(tokens), -1, -1, -1)
        read = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(read.transpose(1, 2).flatten(2))


class LinearProjection(nn.Module):
    """A linear mixture of tokens, GELU, a linear map of their width; a pooled head of zeros."""

    def __init__(
        self, num_tokens: int, embed_dim: int, context_dim: int, pooled_dim: int, num_mixed: int
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.mix = nn.Linear(num_tokens, num_mixed + 1)
        self.to_context = nn.Linear(embed_dim, context_dim)
        self.to_pooled = nn.Linear(embed_dim, pooled_dim)
        initialise(self)
        nn.init.zeros_(self.to_pooled.weight)

    def forward(self, tokens: Tensor) -> Conditioning:
        """Condition on brain tokens (B, T, D)."""
        mixed = F.gelu(self.mix(self.norm(tokens).transpose(1, 2)).transpose(1, 2))
        return Conditioning(self.to_context(mixed[:, :-1]), self.to_pooled(mixed[:, -1]))


class CompatProjection(nn.Module):
    """MinD-Vis' mapping, all linear: tokens T, T // 2, S; width D, C; pooled S, S // 2, 1.

    The token of a pooled encoder is mapped along its width alone, and is the pooled vector too.
    """

    def __init__(
        self, num_tokens: int, embed_dim: int, context_dim: int, pooled_dim: int, num_mixed: int
    ) -> None:
        super().__init__()
        if pooled_dim != context_dim:
            raise ConfigError(
                f"The compat projection was asked for a pooled vector of width {pooled_dim}",
                f"the width of its context, {context_dim}",
                "set pooled_dim to context_dim",
            )
        if (num_tokens == 1) != (num_mixed == 1):
            raise ConfigError(
                f"The compat projection was asked for {num_mixed} context tokens from {num_tokens}",
                "one from one (a pooled encoder), or several from several",
                "change num_context_tokens",
            )
        self.token_maps = halving_maps(num_tokens, num_mixed)
        self.width_map = nn.Linear(embed_dim, context_dim)
        self.pooled_maps = halving_maps(num_mixed, 1)

    def forward(self, tokens: Tensor) -> Conditioning:
        """Condition on brain tokens (B, T, D)."""
        context = self.width_map(self.token_maps(tokens))
        return Conditioning(context, self.pooled(context))

    def pooled(self, context: Tensor) -> Tensor:
        """The vector (B, C) for the time embedding, of context tokens (B, S, C)."""
        return self.pooled_maps(context).squeeze(1)


def halving_maps(num_tokens: int, num_mixed: int) -> nn.Sequential:
    """Two linear maps over tokens, T to T // 2 to S; none where there is a single token."""
    if num_tokens == 1:
        return nn.Sequential()
    return nn.Sequential(
        nn.Conv1d(num_tokens, num_tokens // 2, 1), nn.Conv1d(num_tokens // 2, num_mixed, 1)
    )
