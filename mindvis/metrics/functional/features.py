"""Scores of features: what a network sees in the decoded picture and in the true one."""

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
