"""Scores of pixels.

Pictures are (..., channels, height, width) floats in [0, 1]; bytes are converted at the border by
`unit_range`, so that no score is ever computed in wrapping integer arithmetic.
"""

import torch
from torch import Tensor

from mindvis.errors import ConfigError

SSIM_WINDOW = 7  # pixels; the side of scikit-image's default window
GAUSSIAN_SIGMA = 1.5  # pixels
GAUSSIAN_WINDOW = 11  # pixels; 2 int(3.5 sigma + .5) + 1


def unit_range(images: Tensor) -> Tensor:
    """Bytes (n, height, width, channels) as floats (n, channels, height, width) in [0, 1].

    >>> unit_range(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)).max().item()
    1.0
    """
    return images.movedim(-1, -3).to(torch.float32) / 255.0


def _pixels(images: Tensor) -> Tensor:
    """Pictures (..., C, H, W) as float64 rows (..., C*H*W)."""
    return images.to(torch.float64).flatten(-3)


def _standardised(images: Tensor) -> Tensor:
    """Rows of unit length and zero mean; a constant picture becomes zeros."""
    rows = _pixels(images)
    # a picture is constant when its range is nil: its mean need not be exact in floating point
    constant = (rows.amax(-1, keepdim=True) - rows.amin(-1, keepdim=True)) == 0
    centred = (rows - rows.mean(-1, keepdim=True)).masked_fill(constant, 0.0)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


def pixel_correlation(prediction: Tensor, truth: Tensor) -> Tensor:
    """Pearson correlation over all pixels and channels; 0 where a picture is constant.

    Args:
        prediction: (..., channels, height, width).
        truth: The same shape, or one that broadcasts.

    Returns:
        float64 (...), each in [-1, 1].

    >>> ramp = torch.arange(12.0).reshape(1, 3, 2, 2)
    >>> round(pixel_correlation(ramp, 1 - 2 * ramp).item(), 6)
    -1.0
    """
    return (_standardised(prediction) * _standardised(truth)).sum(-1)


def pixel_correlation_matrix(predictions: Tensor, truths: Tensor) -> Tensor:
    """`pixel_correlation` of all predictions (p, C, H, W) with all truths (t, C, H, W): (p, t)."""
    return _standardised(predictions) @ _standardised(truths).mT


def mse(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over all pixels and channels, of pictures in [0, 1].

    Args:
        prediction: (..., channels, height, width).
        truth: The same shape, or one that broadcasts.

    Returns:
        float64 (...).

    >>> mse(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)).item()
    0.25
    """
    return (_pixels(prediction) - _pixels(truth)).square().mean(-1)


def mse_matrix(predictions: Tensor, truths: Tensor) -> Tensor:
    """`mse` of every prediction (p, C, H, W) with every truth (t, C, H, W): (p, t)."""
    p, t = _pixels(predictions), _pixels(truths)
    squares = p.square().sum(-1)[:, None] - 2.0 * p @ t.mT + t.square().sum(-1)
    return squares.clamp_min(0.0) / p.shape[-1]


def _window_sum(values: Tensor, dim: int) -> Tensor:
    """Sums of 7 neighbours along an axis as 4 + 2 + 1: three passes where a plain sum takes six."""
    length = values.shape[dim]
    two = values.narrow(dim, 0, length - 1) + values.narrow(dim, 1, length - 1)
    four = two.narrow(dim, 0, length - 3) + two.narrow(dim, 2, length - 3)
    whole = length - SSIM_WINDOW + 1
    return four.narrow(dim, 0, whole) + two.narrow(dim, 4, whole) + values.narrow(dim, 6, whole)


def _local_mean(images: Tensor) -> Tensor:
    """Mean of each whole window: (..., H, W) to (..., H - 6, W - 6)."""
    return _window_sum(_window_sum(images, -2), -1) / SSIM_WINDOW**2


def _local_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) variance of each whole window."""
    mean = _local_mean(images)
    return mean, _local_mean(images * images) - mean * mean


def _check_window(images: Tensor) -> None:
    """Refuse pictures that hold no whole window."""
    if min(images.shape[-2:]) < SSIM_WINDOW:
        raise ConfigError(
            f"a picture of {images.shape[-2]} x {images.shape[-1]} pixels",
            f"at least {SSIM_WINDOW} x {SSIM_WINDOW} for structural similarity",
        )


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) as scikit-image computes it by default.

    Uniform 7 x 7 windows that lie wholly inside the picture, sample (co)variances, K1 = .01,
    K2 = .03, data range 1, each channel by itself and then their mean.

    Args:
        prediction: (n, channels, height, width) in [0, 1].
        truth: The same shape, or one that broadcasts.

    Returns:
        float64 (n,), each in [-1, 1].

    Raises:
        ConfigError: For pictures smaller than the window.

    >>> picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ssim(picture, picture).tolist()
    [1.0, 1.0]
    """
    _check_window(prediction)
    x, y = prediction.to(torch.float64), truth.to(torch.float64)
    return _ssim(x, y, _local_moments(x), _local_moments(y))


def _ssim(
    x: Tensor, y: Tensor, moments_x: tuple[Tensor, Tensor], moments_y: tuple[Tensor, Tensor]
) -> Tensor:
    """SSIM averaged over windows and channels, for pictures whose local moments are known."""
    c1, c2 = 0.01**2, 0.03**2
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    (mean_x, variance_x), (mean_y, variance_y) = moments_x, moments_y
    product = mean_x * mean_y
    covariance = _local_mean(x * y) - product
    likeness = (2 * product + c1) * (2 * sample * covariance + c2)
    size = (mean_x**2 + mean_y**2 + c1) * (sample * (variance_x + variance_y) + c2)
    return (likeness / size).mean((-3, -2, -1))


def ssim_matrix(predictions: Tensor, truths: Tensor, block: int = 8) -> Tensor:
    """`ssim` of every prediction (p, C, H, W) with every truth (t, C, H, W): (p, t).

    Args:
        predictions: Pictures in [0, 1].
        truths: Pictures in [0, 1].
        block: Truths at once; a few small pictures stay in the processor's cache.

    Returns:
        float64 (p, t).
    """
    _check_window(predictions)
    x, y = predictions.to(torch.float64), truths.to(torch.float64)
    moments_x, moments_y = _local_moments(x), _local_moments(y)
    scores = torch.empty(len(x), len(y), dtype=torch.float64)
    for start in range(0, len(y), block):
        some = slice(start, start + block)
        moments = (moments_y[0][some], moments_y[1][some])
        for i in range(len(x)):
            scores[i, some] = _ssim(x[i], y[some], (moments_x[0][i], moments_x[1][i]), moments)
    return scores


def grey(images: Tensor) -> Tensor:
    """Luma of RGB pictures (..., 3, H, W) as (..., H, W), with scikit-image's weights.

    CIE luminance of the sRGB primaries (.2125, .7154, .0721), as `skimage.color.rgb2gray` does.
    """
    weights = torch.tensor([0.2125, 0.7154, 0.0721], dtype=torch.float64, device=images.device)
    return torch.tensordot(images.to(torch.float64).movedim(-3, -1), weights, dims=([-1], [0]))


def gaussian_ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of grey pictures with Gaussian windows, as NSD's decoders report it.

    scikit-image with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=1`: windows of 11 pixels (truncated at 3.5 sigma), population covariances, the mean
    over windows that lie wholly inside (Wang et al. 2004).

    Args:
        prediction: (n, height, width) in [0, 1].
        truth: The same shape, or one that broadcasts.

    Returns:
        float64 (n,), each in [-1, 1].

    Raises:
        ConfigError: For pictures smaller than a window.
    """
    if min(prediction.shape[-2:]) < GAUSSIAN_WINDOW:
        raise ConfigError(
            f"a picture of {prediction.shape[-2]} x {prediction.shape[-1]} pixels",
            f"at least {GAUSSIAN_WINDOW} x {GAUSSIAN_WINDOW} for structural similarity",
        )
    x, y = prediction.to(torch.float64), truth.to(torch.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    size = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return (likeness / size).mean((-2, -1))


def _blur(images: Tensor) -> Tensor:
    """Gaussian mean of each whole window: (n, H, W) to (n, H - 10, W - 10)."""
    reach = torch.arange(GAUSSIAN_WINDOW, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-((reach - GAUSSIAN_WINDOW // 2) ** 2) / (2 * GAUSSIAN_SIGMA**2))
    kernel = kernel / kernel.sum()
    rows = torch.nn.functional.conv2d(images[:, None], kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None, :])[:, 0]
