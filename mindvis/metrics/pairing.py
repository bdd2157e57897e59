"""Every decoded picture against every true picture: what scores, controls and p-values are made of.

The diagonal of such a table holds the scores, the mean of a row is what the same truth would score
under a random re-pairing, and permuting the columns is the test that the brain was used at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from mindvis.metrics import functional as M
from mindvis.metrics.protocols import (
    CONSISTENCY,
    MSE,
    N_WAY,
    N_WAY_TRUE_LABEL,
    PIXEL_CORRELATION,
    SSIM,
    TWO_WAY,
    WITHIN,
)

Floats = NDArray[np.float64]
SSIM_BUDGET = 4e10  # pixel pairs; minutes of one core. Beyond it only true pairs are compared.


@dataclass(frozen=True)
class Truths:
    """What the decoded pictures are compared with.

    Args:
        pictures: uint8 (truths, height, width, 3).
        pseudo: int64 (truths,): the judge's first choice for each; None without a judge.
        labels: int64 (truths,): the judge's number of the true label, -1 where it has none; None
            without a judge.
        originals: The pictures before they were brought to one size; None where they are not kept.
    """

    pictures: NDArray[np.uint8]
    pseudo: Tensor | None = None
    labels: Tensor | None = None
    originals: Sequence[NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.pictures)


def fit_size(
    pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], height: int, width: int
) -> NDArray[np.uint8]:
    """Pictures (n, H, W, 3) in another size, by Pillow's antialiased bicubic filter."""
    if isinstance(pictures, np.ndarray) and pictures.shape[1:3] == (height, width):
        return pictures
    resized = [
        np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        if picture.shape[:2] != (height, width)
        else picture
        for picture in pictures
    ]
    return np.stack(resized)


def score_pairs(
    pictures: NDArray[np.uint8],
    truths: Truths,
    probabilities: Tensor | None = None,
    n_way: int = 50,
    top_k: int = 1,
) -> dict[str, Floats]:
    """All scores of all pictures, each taken as a picture of every truth.

    Args:
        pictures: uint8 (columns, draws, height, width, 3), of the truths' size.
        truths: (rows) what was seen.
        probabilities: (columns, draws, classes) of the judge; None without a judge.
        n_way: Candidates of one question.
        top_k: Answers that the judge may give.

    Returns:
        For each metric that could be computed, float64 (rows, columns, draws). NaN stands for what
        was not compared (SSIM of very many pictures) or cannot be (a label the judge lacks).
    """
    columns, draws = pictures.shape[:2]
    truth = M.unit_range(torch.from_numpy(truths.pictures))
    scores: dict[str, list[Tensor]] = {}
    too_many = len(truths) * columns * draws * truth[0].numel() > SSIM_BUDGET
    for draw in tqdm(range(draws), desc="pixel scores", delay=2, leave=False):
        some = M.unit_range(torch.from_numpy(np.ascontiguousarray(pictures[:, draw])))
        similarity = {
            PIXEL_CORRELATION: M.pixel_correlation_matrix(some, truth),
            SSIM: _true_pairs_ssim(some, truth) if too_many else M.ssim_matrix(some, truth),
            MSE: M.mse_matrix(some, truth),
        }
        for name, table in {**similarity, **_two_way(similarity)}.items():
            scores.setdefault(name, []).append(table.T)
    tables = {name: torch.stack(parts, -1).numpy() for name, parts in scores.items()}
    if probabilities is not None:
        tables |= _judged(probabilities, truths, n_way, top_k)
    return tables


def _two_way(similarity: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Win rates from the similarities (pictures, truths); none for a single truth."""
    tables = {}
    for name, table in similarity.items():
        if table.shape[1] < 2:
            continue
        wins = M.two_way_wins(-table if name == MSE else table)
        tables[TWO_WAY[name]] = wins.masked_fill(table.isnan().any(), torch.nan)
    return tables


def _true_pairs_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each picture with its own truth alone, NaN elsewhere: (pictures, truths)."""
    table = torch.full((len(pictures), len(truth)), torch.nan, dtype=torch.float64)
    for i in range(min(len(pictures), len(truth))):
        table[i, i] = M.ssim(pictures[i : i + 1], truth[i : i + 1])[0]
    return table


def _judged(probabilities: Tensor, truths: Truths, n_way: int, top_k: int) -> dict[str, Floats]:
    """n-way accuracies (truths, columns, draws), of both ways to know the right class."""
    tables = {}
    for name, classes in ((N_WAY, truths.pseudo), (N_WAY_TRUE_LABEL, truths.labels)):
        if classes is None:
            continue
        rows = [
            M.n_way_accuracy(probabilities, number.expand(probabilities.shape[:2]), n_way, top_k)
            if number >= 0
            else torch.full(probabilities.shape[:2], torch.nan, dtype=torch.float64)
            for number in classes
        ]
        tables[name] = torch.stack(rows).numpy()
    return tables


def own_scores(table: Floats) -> Floats:
    """Scores of the pictures with their own truths: (rows, draws) of (rows, rows, draws)."""
    return np.moveaxis(np.diagonal(table, axis1=0, axis2=1), -1, 0)


def consistency_pairs(pictures: NDArray[np.uint8]) -> dict[str, Floats]:
    """How alike the draws of every two stimuli are.

    Args:
        pictures: uint8 (stimuli, draws, height, width, 3).

    Returns:
        For each metric of the protocol float64 (stimuli, stimuli); empty for a single stimulus or
        a single draw.
    """
    stimuli, draws = pictures.shape[:2]
    if min(stimuli, draws) < 2:
        return {}
    images = M.unit_range(torch.from_numpy(pictures.reshape(-1, *pictures.shape[2:])))
    likeness = M.pixel_correlation_matrix(images, images).reshape(stimuli, draws, stimuli, draws)
    return {
        WITHIN: M.draw_similarity(likeness).numpy(),
        CONSISTENCY: M.consistency(likeness).numpy(),
    }
