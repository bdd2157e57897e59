"""Random masking of patches; the only place that says what 0 and 1 mean (1 = removed).

Axes: B batch, L patches, K kept patches.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mindvis.errors import ConfigError


class Masking(NamedTuple):
    """Which patches of each sample are seen.

    Attributes:
        kept: int64 (B, K), places of the seen patches in order of ascending noise.
        restore: int64 (B, L), rank of each place in the order of noise; below K means kept.
        mask: float (B, L), 1 where the patch is removed, 0 where it is kept.
    """

    kept: Tensor
    restore: Tensor
    mask: Tensor


def random_masking(noise: Tensor, mask_ratio: float) -> Masking:
    """Keep the int(L (1 - ratio)) patches of the smallest noise.

    Args:
        noise: (B, L), one draw a patch.
        mask_ratio: Share of patches to remove, in [0, 1).

    Raises:
        ConfigError: No patch would be kept.
    """
    length = noise.shape[1]
    num_kept = int(length * (1 - mask_ratio))
    if not 0 < num_kept <= length:
        raise ConfigError(
            f"A mask ratio of {mask_ratio} keeps {num_kept} of {length} patches",
            "at least one kept patch and a ratio of at least 0",
            "lower mask_ratio or patch_size",
        )
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Masking(order[:, :num_kept], restore, (restore >= num_kept).to(noise.dtype))


def random_noise(
    batch_size: int, length: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Uniform noise (B, L), drawn where the generator lives and then moved to `device`."""
    source = generator.device if generator is not None else device
    return torch.rand(batch_size, length, generator=generator, device=source).to(device)


def focus_noise(
    noise: Tensor,
    first: int,
    last: int,
    rate: float,
    mask_ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise that makes patches first..last-1 more likely to be removed ("focus range").

    As many patches as the ratio removes are drawn without replacement, with weight `rate` inside
    the range and 1 - `rate` outside; drawn ones get noise above every other.

    Args:
        noise: (B, L), uniform in [0, 1).
        first: First patch of the range.
        last: One past its last patch.
        rate: Weight of a patch in the range, in [0, 1].
        mask_ratio: Share of patches to remove.
        generator: Source of the draws.

    Returns:
        (B, L) for `random_masking`.
    """
    removed = drawn_patches(noise, first, last, rate, mask_ratio, generator)
    return noise.scatter(1, removed, 1.1)


def drawn_patches(
    noise: Tensor,
    first: int,
    last: int,
    rate: float,
    mask_ratio: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Patches to remove (B, L - K), drawn without replacement by weight; see `focus_noise`."""
    length = noise.shape[1]
    weights = noise.new_full(noise.shape, 1 - rate)
    weights[:, first:last] = rate
    return torch.multinomial(weights, length - int(length * (1 - mask_ratio)), generator=generator)


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Rows of each sample by place: (B, L, D) and (B, K) give (B, K, D)."""
    return (
        rows.flatten(0, 1).index_select(0, flat_index(index, rows.shape[1])).view(*index.shape, -1)
    )


def scatter_rows(fill: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Copies of `fill` (L, D), one a sample, with `rows` (B, K, D) put at `index` (B, K)."""
    length, dim = fill.shape
    filled = fill.repeat(len(rows), 1)
    filled.index_copy_(0, flat_index(index, length), rows.flatten(0, 1))
    return filled.view(len(rows), length, dim)


def flat_index(index: Tensor, length: int) -> Tensor:
    """Places (B, K) within samples of `length` rows, as places in all rows of the batch (B K)."""
    offsets = torch.arange(0, len(index) * length, length, device=index.device)
    return (index + offsets[:, None]).flatten()
