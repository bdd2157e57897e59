"""What a decoder has to beat: pictures that a linear map paints from the same responses."""

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindvis.metrics.pairing import fit_size

Floats = NDArray[np.floating]
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 8, 19))
LARGEST_SIDE = 64  # pixels; larger pictures are predicted at this size and enlarged
FOLDS = 5  # of himalaya's choice of a penalty; scikit-learn leaves one out in closed form


@dataclass(frozen=True)
class RidgeBaseline:
    """Pictures of the ridge baseline and the penalty that it chose.

    Args:
        pictures: uint8 (stimuli, height, width, 3).
        alpha: The chosen penalty.
        at_edge: Whether it is the smallest or largest that was tried.
        chosen_by: The library that fitted it, and how it chose the penalty.
    """

    pictures: NDArray[np.uint8]
    alpha: float
    at_edge: bool
    chosen_by: str


@dataclass(frozen=True)
class Fit:
    """What a library's ridge regression says.

    Args:
        predicted: (test stimuli, targets).
        alpha: The chosen penalty, one of those given.
        chosen_by: The library with its version, and its way of choosing.
    """

    predicted: Floats
    alpha: float
    chosen_by: str


def ridge_baseline(
    train: Floats,
    images: NDArray[np.uint8],
    test: Floats,
    alphas: tuple[float, ...] = ALPHAS,
    device: str = "cpu",
) -> RidgeBaseline:
    """Pixels by ridge regression on standardised responses, with one penalty for all pixels.

    himalaya fits it where it is installed, else scikit-learn. Mean and spread of each voxel are
    those of the training responses.

    Args:
        train: (stimuli, voxels) responses, repeats of a stimulus averaged beforehand.
        images: uint8 (stimuli, height, width, 3), the pictures of `train`.
        test: (test stimuli, voxels).
        alphas: Penalties to choose from, ascending.
        device: Where himalaya computes.

    Returns:
        The predicted pictures, clipped to bytes, in the size of `images`.
    """
    height, width = images.shape[1:3]
    shrink = min(1.0, LARGEST_SIDE / max(height, width))
    small = fit_size(images, max(1, round(height * shrink)), max(1, round(width * shrink)))
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    scores, basis, centre = _principal_scores(small.reshape(len(small), -1) / 255.0)
    known, asked = (train - mean) / spread, (test - mean) / spread
    if find_spec("himalaya") is None:
        fit = fit_sklearn(known, scores, asked, alphas)
    else:
        fit = fit_himalaya(known, scores, asked, alphas, device)
    pixels = fit.predicted.reshape(len(test), -1) @ basis + centre
    pictures = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return RidgeBaseline(
        fit_size(pictures.reshape(-1, *small.shape[1:]), height, width),
        fit.alpha,
        fit.alpha in (alphas[0], alphas[-1]),
        fit.chosen_by,
    )


def fit_sklearn(train: Floats, targets: Floats, test: Floats, alphas: tuple[float, ...]) -> Fit:
    """scikit-learn's RidgeCV: the penalty of least leave-one-out error, in closed form."""
    from sklearn.linear_model import RidgeCV  # a second to import

    model = RidgeCV(alphas=list(alphas)).fit(train, targets)
    chosen_by = f"scikit-learn {version('scikit-learn')}, leave-one-out"
    return Fit(model.predict(test), float(model.alpha_), chosen_by)


def fit_himalaya(
    train: Floats, targets: Floats, test: Floats, alphas: tuple[float, ...], device: str = "cpu"
) -> Fit:
    """RidgeCV of himalaya, or its KernelRidgeCV: the penalty of least error over shuffled folds.

    The smaller of stimuli and voxels decides which, as himalaya advises. It has no closed form of
    leave-one-out. In double precision, since the smallest penalties are below the rounding of a
    kernel in single.
    """
    from himalaya.backend import get_backend, set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    before = get_backend()
    backend = set_backend("torch_cuda" if device.startswith("cuda") else "torch")
    # one penalty for all targets, tried one after another in bounded memory
    options = {"local_alpha": False, "n_alphas_batch": 1}
    common = {"alphas": list(alphas), "fit_intercept": True, "cv": folds(len(train))}
    kind = RidgeCV if len(train) > train.shape[1] else KernelRidgeCV
    try:
        model = kind(solver_params=options, **common)
        model.fit(train.astype(np.float64), targets.astype(np.float64))
        predicted = backend.to_numpy(model.predict(test.astype(np.float64)))
        chosen = float(backend.to_numpy(model.best_alphas_)[0])
    finally:
        set_backend(before)
    alpha = min(alphas, key=lambda one: abs(one - chosen))  # it was a logarithm in between
    return Fit(predicted, alpha, f"himalaya {version('himalaya')}, {FOLDS} folds")


def folds(stimuli: int) -> Any:
    """scikit-learn's shuffled folds, since training stimuli often lie sorted by class."""
    from sklearn.model_selection import KFold

    return KFold(min(FOLDS, stimuli), shuffle=True, random_state=0)


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
