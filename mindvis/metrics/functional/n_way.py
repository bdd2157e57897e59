"""n-way top-k accuracy of a classifier on decoded pictures, exact over all sets of distractors."""

from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from mindvis.errors import ConfigError


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
