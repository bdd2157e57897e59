"""What a decoder has to beat: pictures that a linear map paints from the same responses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.pairing import fit_size

Floats = NDArray[np.floating]
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 8, 19))
LARGEST_SIDE = 64  # pixels; larger pictures are predicted at this size and enlarged


@dataclass(frozen=True)
class RidgeBaseline:
    """Pictures of the ridge baseline and the penalty that it chose.

    Args:
        pictures: uint8 (stimuli, height, width, 3).
        alpha: The chosen penalty.
        at_edge: Whether it is the smallest or largest that was tried.
    """

    pictures: NDArray[np.uint8]
    alpha: float
    at_edge: bool


def ridge_baseline(
    train: Floats, images: NDArray[np.uint8], test: Floats, alphas: tuple[float, ...] = ALPHAS
) -> RidgeBaseline:
    """Pixels by ridge regression on standardised responses.

    scikit-learn's RidgeCV, with one penalty for all pixels chosen by leave-one-out error on the
    training stimuli. Mean and spread of each voxel are those of the training responses.

    Args:
        train: (stimuli, voxels) responses, repeats of a stimulus averaged beforehand.
        images: uint8 (stimuli, height, width, 3), the pictures of `train`.
        test: (test stimuli, voxels).
        alphas: Penalties to choose from, ascending.

    Returns:
        The predicted pictures, clipped to bytes, in the size of `images`.
    """
    from sklearn.linear_model import RidgeCV  # a second to import

    height, width = images.shape[1:3]
    shrink = min(1.0, LARGEST_SIDE / max(height, width))
    small = fit_size(images, max(1, round(height * shrink)), max(1, round(width * shrink)))
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    scores, basis, centre = _principal_scores(small.reshape(len(small), -1) / 255.0)
    model = RidgeCV(alphas=alphas).fit((train - mean) / spread, scores)
    pixels = model.predict((test - mean) / spread).reshape(len(test), -1) @ basis + centre
    pictures = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return RidgeBaseline(
        fit_size(pictures.reshape(-1, *small.shape[1:]), height, width),
        float(model.alpha_),
        model.alpha_ in (alphas[0], alphas[-1]),
    )


def _principal_scores(pixels: Floats) -> tuple[Floats, Floats, Floats]:
    """Pixels (n, p) as (n, r) scores on an orthonormal basis (r, p) about their mean (p,).

    An orthogonal change of the targets changes neither ridge nor its leave-one-out error, and r is
    below n: far fewer targets than pixels. Of n and p the smaller is decomposed.
    """
    centre = pixels.mean(0)
    centred = pixels - centre
    if not centred.any():  # one picture only
        return np.zeros((len(pixels), 1)), np.zeros((1, pixels.shape[1])), centre
    if len(pixels) > pixels.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        basis = vectors[:, values > values[-1] * 1e-10].T
        return centred @ basis.T, basis, centre
    values, vectors = np.linalg.eigh(centred @ centred.T)
    kept = values > values[-1] * 1e-10
    spread = np.sqrt(values[kept])
    return vectors[:, kept] * spread, (vectors[:, kept] / spread).T @ centred, centre
