"""Scores of pictures as pure functions of tensors: one value for each picture, no randomness.

Pictures are (..., channels, height, width) floats in [0, 1]; bytes are converted at the border by
`unit_range`, so that no score is ever computed in wrapping integer arithmetic.
"""

from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from mindvis.errors import ConfigError

SSIM_WINDOW = 7  # pixels; the side of scikit-image's default window


def unit_range(images: Tensor) -> Tensor:
    """Bytes (n, height, width, channels) as floats (n, channels, height, width) in [0, 1].

    >>> unit_range(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)).max().item()
    1.0
    """
    return images.movedim(-1, -3).to(torch.float32) / 255.0


@lru_cache(maxsize=64)
def n_way_table(num_classes: int, n_way: int, top_k: int = 1) -> Tensor:
    """Probability of a correct n-way top-k answer for each rank of the target.

    With r classes scored above the target, the number of them among n - 1 distractors drawn
    uniformly without replacement from the other C - 1 classes is hypergeometric, and the answer is
    correct when it is below k: P = sum_{j<k} C(r, j) C(C-1-r, n-1-j) / C(C-1, n-1). The sums are of
    integers, so each entry is the correctly rounded exact value.

    Args:
        num_classes: C, classes that the judge knows.
        n_way: Candidates of one question, the target included.
        top_k: Answers that the judge may give.

    Returns:
        float64 (num_classes,), indexed by r.

    Raises:
        ConfigError: Where no such question can be asked.
    """
    if not 2 <= n_way <= num_classes:
        raise ConfigError(
            f"{n_way}-way accuracy was asked of a judge of {num_classes} classes",
            f"n_way from 2 to {num_classes}",
            "lower n_way or use a judge of more classes",
        )
    if not 1 <= top_k < n_way:
        raise ConfigError(f"top_k is {top_k}", f"a number from 1 to n_way - 1 = {n_way - 1}")
    others, drawn = num_classes - 1, n_way - 1
    total = comb(others, drawn)
    ways = [
        sum(comb(r, j) * comb(others - r, drawn - j) for j in range(min(top_k, drawn + 1)))
        for r in range(num_classes)
    ]
    return torch.tensor([count / total for count in ways], dtype=torch.float64)


def target_rank(probabilities: Tensor, target: Tensor) -> Tensor:
    """Number of classes that score strictly above the target: 0 is best.

    Args:
        probabilities: (..., classes), or any increasing function of them, such as logits.
        target: (...) class numbers.

    Returns:
        int64 (...).
    """
    own = probabilities.gather(-1, target.unsqueeze(-1))
    return (probabilities > own).sum(-1)


def n_way_accuracy(
    probabilities: Tensor, target: Tensor, n_way: int = 50, top_k: int = 1
) -> Tensor:
    """Exact expectation of n-way top-k accuracy over all sets of distractors.

    The quantity that MinD-Vis estimates by drawing distractors at random (Chen et al. 2023,
    algorithm 2), in closed form. A tie is a success, as there: only classes scored strictly above
    the target beat it. A judge that cannot tell two classes apart is therefore not a safe judge;
    use logits or float64 probabilities, which do not tie by underflow.

    Args:
        probabilities: (..., classes), or any increasing function of them, such as logits.
        target: (...) class numbers.
        n_way: Candidates of one question, the target included; chance is top_k / n_way.
        top_k: Answers that the judge may give.

    Returns:
        float64 (...), each in [0, 1].

    Raises:
        ConfigError: Where n_way exceeds the classes, or top_k is not below n_way.

    >>> scores = torch.tensor([[0.5, 0.3, 0.2]])
    >>> n_way_accuracy(scores, torch.tensor([0]), n_way=2).item()  # beats both others
    1.0
    >>> n_way_accuracy(scores, torch.tensor([1]), n_way=2).item()  # beats one of two
    0.5
    """
    table = n_way_table(probabilities.shape[-1], n_way, top_k).to(probabilities.device)
    return table[target_rank(probabilities, target)]


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


def two_way_identification(similarity: Tensor) -> Tensor:
    """Share of the other truths that each prediction resembles less than its own truth.

    Args:
        similarity: (stimuli, stimuli): prediction i against truth j, larger is more alike.

    Returns:
        float64 (stimuli,): the win rate of each prediction; a tie counts one half, so that a
        decoder that always paints one picture, or nothing, scores exactly 0.5.

    Raises:
        ConfigError: For fewer than two stimuli or a matrix that is not square.

    >>> two_way_identification(torch.tensor([[0.9, 0.1], [0.8, 0.2]])).tolist()
    [1.0, 0.0]
    """
    if similarity.shape[-1] != similarity.shape[-2]:
        raise ConfigError(
            f"a similarity matrix of {tuple(similarity.shape)}", "as many predictions as truths"
        )
    return two_way_wins(similarity).diagonal(dim1=-2, dim2=-1)


def two_way_wins(similarity: Tensor) -> Tensor:
    """Win rate of every prediction taken as a picture of every truth.

    Args:
        similarity: (predictions, truths), larger is more alike.

    Returns:
        float64 (predictions, truths): entry (i, j) is the share of truths other than j that
        prediction i resembles less than truth j, a tie counting one half.

    Raises:
        ConfigError: For fewer than two truths.
    """
    truths = similarity.shape[-1]
    if truths < 2:
        raise ConfigError(f"{truths} stimulus", "at least 2 for two-way identification")
    ordered = similarity.contiguous().sort(dim=-1).values
    below = torch.searchsorted(ordered, similarity.contiguous(), right=False)
    below_or_equal = torch.searchsorted(ordered, similarity.contiguous(), right=True)
    ties = below_or_equal - below - 1  # less the truth itself
    return (below + 0.5 * ties).to(torch.float64) / (truths - 1)
