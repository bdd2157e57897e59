"""Which truth does a decoded picture resemble most: scores of a matrix of similarities."""

import torch
from torch import Tensor

from mindvis.errors import ConfigError
from mindvis.metrics.functional.n_way import n_way_table


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


def retrieval_accuracy(similarity: Tensor, candidates: int = 300) -> Tensor:
    """Exact expectation of top-1 retrieval of every truth by every prediction.

    MindEye (Scotti et al. 2023) draws `candidates` stimuli at random, 30 times, and asks whether
    the right one is the most similar. Over all draws that contain it, the answer is the closed form
    of n-way accuracy: with r truths more similar than it, P = C(n-1-r, m-1) / C(n-1, m-1). A tie
    is a success. Transpose the matrix for the backward direction.

    Args:
        similarity: (queries, stimuli), larger is more alike.
        candidates: m, stimuli of one question; chance is 1 / m.

    Returns:
        float64 (queries, stimuli): entry (i, j) is the expectation were j the answer to query i.

    Raises:
        ConfigError: For fewer stimuli than candidates.
    """
    if similarity.shape[-1] < candidates:
        raise ConfigError(
            f"{similarity.shape[-1]} stimuli",
            f"at least {candidates} for {candidates}-way retrieval",
        )
    ordered = similarity.contiguous().sort(dim=-1).values
    not_above = torch.searchsorted(ordered, similarity.contiguous(), right=True)
    table = n_way_table(similarity.shape[-1], candidates).to(similarity.device)
    return table[similarity.shape[-1] - not_above]


def consistency(similarity: Tensor) -> Tensor:
    """How much more the draws of a stimulus resemble each other than those of other stimuli.

    Args:
        similarity: (n, draws, n, draws), of every decoded picture with every other.

    Returns:
        float64 (n, n): entry (i, k) is the mean similarity of a draw of i with another draw of k
        (never the same number of draw, so that each entry is a mean over equally many pairs), less
        the mean of that over all stimuli other than i. The diagonal is within minus between: zero
        for a decoder whose pictures do not depend on the stimulus.

    Raises:
        ConfigError: For fewer than two draws or two stimuli.
    """
    pairs = draw_similarity(similarity)
    count = len(pairs)
    if count < 2:
        raise ConfigError(f"{count} stimulus", "at least 2 to compare draws within and between")
    between = (pairs.sum(-1) - pairs.diagonal()) / (count - 1)
    return pairs - between[:, None]


def draw_similarity(similarity: Tensor) -> Tensor:
    """Mean similarity of different draws of every two stimuli: (n, draws, n, draws) to (n, n).

    Raises:
        ConfigError: For fewer than two draws.
    """
    draws = similarity.shape[1]
    if draws < 2:
        raise ConfigError(f"{draws} draw of each stimulus", "at least 2 to compare them")
    same = similarity.diagonal(dim1=1, dim2=3).sum(-1)
    return (similarity.sum((1, 3)) - same).to(torch.float64) / (draws * (draws - 1))
