"""Scores of pictures as pure functions of tensors: one value for each picture, no randomness."""

from mindvis.metrics.functional.features import (
    correlation_distance,
    cosine_similarity,
    feature_correlation,
    lpips_embedding,
    squared_distance,
    standardised_features,
)
from mindvis.metrics.functional.identification import (
    consistency,
    draw_similarity,
    retrieval_accuracy,
    two_way_identification,
    two_way_wins,
)
from mindvis.metrics.functional.n_way import n_way_accuracy, n_way_table, target_rank
from mindvis.metrics.functional.pixels import (
    gaussian_ssim,
    grey,
    mse,
    mse_matrix,
    pixel_correlation,
    pixel_correlation_matrix,
    ssim,
    ssim_matrix,
    unit_range,
)

__all__ = [
    "consistency",
    "correlation_distance",
    "cosine_similarity",
    "draw_similarity",
    "feature_correlation",
    "gaussian_ssim",
    "grey",
    "lpips_embedding",
    "mse",
    "mse_matrix",
    "n_way_accuracy",
    "n_way_table",
    "pixel_correlation",
    "pixel_correlation_matrix",
    "retrieval_accuracy",
    "squared_distance",
    "ssim",
    "ssim_matrix",
    "standardised_features",
    "target_rank",
    "two_way_identification",
    "two_way_wins",
    "unit_range",
]
