"""Scores of features: what a network sees in the decoded picture and in the true one."""

from collections.abc import Sequence

import torch
from torch import Tensor


def standardised_features(features: Tensor) -> Tensor:
    """Features (n, ...) as rows of zero mean and unit length, (n, d); constant rows are zeros.

    The product of two such matrices is Pearson's correlation of every pair.
    """
    rows = features.flatten(1).to(torch.float64)
    centred = rows - rows.mean(-1, keepdim=True)
    constant = rows.amax(-1, keepdim=True) == rows.amin(-1, keepdim=True)
    centred = centred.masked_fill(constant, 0.0)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


def feature_correlation(predictions: Tensor, truths: Tensor) -> Tensor:
    """Pearson correlation of the features of every prediction with those of every truth.

    Args:
        predictions: (p, ...), flattened to one vector for each picture.
        truths: (t, ...).

    Returns:
        float64 (p, t), each in [-1, 1]; 0 where a vector is constant.

    >>> one = torch.tensor([[1.0, 2.0, 4.0]])
    >>> round(feature_correlation(one, 5 - one).item(), 6)
    -1.0
    """
    return standardised_features(predictions) @ standardised_features(truths).mT


def correlation_distance(predictions: Tensor, truths: Tensor) -> Tensor:
    """One minus `feature_correlation` (SciPy's `correlation` distance): (p, t), in [0, 2]."""
    return 1 - feature_correlation(predictions, truths)


def cosine_similarity(predictions: Tensor, truths: Tensor) -> Tensor:
    """Cosine of the angle between every two feature vectors (p, d) and (t, d): float64 (p, t)."""
    first, second = (
        torch.nn.functional.normalize(features.flatten(1).to(torch.float64), dim=-1)
        for features in (predictions, truths)
    )
    return first @ second.mT


def lpips_embedding(layers: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Vectors whose squared distance is LPIPS (Zhang et al. 2018, equation 1).

    At every place the features of a layer are brought to unit length. Of two pictures the squared
    differences, weighted by channel, are summed over channels and layers and averaged over places.

    Args:
        layers: For each layer features (n, channels, h, w).
        weights: For each layer the weight of each channel, (channels,), not negative.

    Returns:
        (n, d), of the type of the features.
    """
    parts = []
    for features, weight in zip(layers, weights, strict=True):
        unit = features / (features.norm(dim=1, keepdim=True) + 1e-10)
        places = features.shape[-2] * features.shape[-1]
        parts.append((unit * (weight / places).sqrt()[:, None, None]).flatten(1))
    return torch.cat(parts, 1)


def squared_distance(predictions: Tensor, truths: Tensor, block: int = 1 << 16) -> Tensor:
    """Squared Euclidean distance of every two vectors (p, d) and (t, d): float64 (p, t).

    Args:
        predictions: (p, d).
        truths: (t, d).
        block: Columns that are held in double precision at once.
    """
    found = torch.zeros(len(predictions), len(truths), dtype=torch.float64)
    for one, other in zip(*(torch.split(v, block, 1) for v in (predictions, truths)), strict=True):
        first, second = one.double(), other.double()
        found += first.square().sum(1)[:, None] + second.square().sum(1) - 2 * first @ second.mT
    return found.clamp_min(0)
