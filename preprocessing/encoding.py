"""A linear model from pictures to responses, with the noise that it leaves.

It is fitted to few measured trials and then gives responses to any number of other pictures, or
what a response says about its picture. Axes: n trials, v voxels, d picture components.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Float = NDArray[np.float64]
TINY = 1e-12


@dataclass(frozen=True)
class PictureBasis:
    """Principal components of pictures.

    Each component is divided by the root of its standard deviation: between raw ones, of which
    ridge regression would see the coarsest alone, and whitened ones, which it would treat as equal.

    Args:
        mean: (pixels,).
        axes: (pixels, d), unit columns.
        deviation: (d,), standard deviations along the axes.
        blur: Standard deviation in pixels of the Gaussian that pictures are blurred with before,
            for voxels that pool over much of a picture.
    """

    mean: Float
    axes: Float
    deviation: Float
    blur: float = 0.0

    @classmethod
    def fit(cls, pictures: NDArray[np.uint8], components: int, blur: float = 0.0) -> Self:
        """The leading components of pictures (n, height, width, 3)."""
        pixels = grey(pictures, blur)
        mean = pixels.mean(0)
        variance, axes = np.linalg.eigh(np.cov(pixels - mean, rowvar=False))
        leading = slice(None, -components - 1, -1)
        return cls(mean, axes[:, leading], np.sqrt(variance[leading].clip(TINY)), blur)

    def __call__(self, pictures: NDArray[np.uint8]) -> Float:
        """Components (n, d) of pictures; their variance is `deviation`."""
        return (grey(pictures, self.blur) - self.mean) @ self.axes / np.sqrt(self.deviation)


def grey(pictures: NDArray[np.uint8], blur: float = 0.0) -> Float:
    """Pictures (n, height, width, 3) as grey values (n, pixels) from 0 to 1, blurred."""
    values = pictures.mean(-1) / 255.0
    blurred = gaussian_filter(values, (0, blur, blur)) if blur else values
    return blurred.reshape(len(pictures), -1)


@dataclass(frozen=True)
class EncodingModel:
    """Responses x = f W + noise to picture components f, for the voxels that it predicts best.

    Args:
        voxels: int (v,), those voxels in increasing order.
        centre: (d,), subtracted from components.
        mean: (v,), subtracted from responses.
        scale: (v,), responses are divided by it.
        weights: W, (d, v).
        residuals: (n, v), of trials that were left out.
        shrinkage: Share of the noise taken as independent between voxels.
        noise: Factor of the variance of the noise.
    """

    voxels: NDArray[np.intp]
    centre: Float
    mean: Float
    scale: Float
    weights: Float
    residuals: Float
    shrinkage: float
    noise: float

    @classmethod
    def fit(
        cls,
        components: Float,
        responses: NDArray[np.float32],
        voxels: int,
        alpha: float = 1.0,
        shrinkage: float = 0.6,
        noise: float = 4.0,
    ) -> Self:
        """Ridge regression, its residuals by leaving one trial out.

        Args:
            components: (n, d), of the pictures that were seen.
            responses: (n, all voxels).
            voxels: How many to keep, those whose left-out trials are predicted best.
            alpha: Ridge penalty, in units of the mean squared norm of the components.
            shrinkage: See the class; not 0, since trials are fewer than voxels.
            noise: See the class. Above 1, it stands for the uncertainty of the weights as well.
        """
        centre, mean = components.mean(0), responses.mean(0, dtype=np.float64)
        scale = responses.std(0, dtype=np.float64).clip(TINY)
        features, target = components - centre, (responses - mean) / scale
        kernel = features @ features.T
        inverse = np.linalg.inv(
            kernel + alpha * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
        )
        hat = kernel @ inverse
        residuals = (target - hat @ target) / (1 - np.diag(hat))[:, None]
        kept = np.sort(np.argsort((residuals**2).mean(0), kind="stable")[:voxels])
        weights = features.T @ inverse @ target[:, kept]
        return cls(
            kept, centre, mean[kept], scale[kept], weights, residuals[:, kept], shrinkage, noise
        )

    def standardised(self, responses: NDArray[np.float32]) -> Float:
        """The kept voxels of responses (n, all voxels), in the units of the model."""
        return (responses[:, self.voxels] - self.mean) / self.scale

    def simulate(self, components: Float, rng: np.random.Generator) -> Float:
        """Responses (m, v) to pictures of components (m, d), with noise, in the model's units.

        The noise is a random mixture of residuals, whose covariance is theirs, and independent
        noise of their variances, in the shares that `shrinkage` says.
        """
        count, (trials, voxels) = len(components), self.residuals.shape
        shared = rng.standard_normal((count, trials)) @ self.residuals / np.sqrt(trials)
        own = rng.standard_normal((count, voxels)) * self._deviation()
        noise = np.sqrt(1 - self.shrinkage) * shared + np.sqrt(self.shrinkage) * own
        return (components - self.centre) @ self.weights + np.sqrt(self.noise) * noise

    def infer(self, responses: Float, variance: Float) -> Float:
        """Posterior mean of components (m, d), all that the model can tell from responses (m, v).

        With a Gaussian prior of covariance P, (W S^-1 W' + P^-1)^-1 W S^-1 x, where S is the
        covariance of the noise (Bishop 2006, equation 3.53). Under the model it is a sufficient
        statistic: no other function of the response says more about the picture.

        Args:
            responses: In the model's units.
            variance: (d,), the diagonal of P.
        """
        precise = self._whiten(self.weights)
        information = precise @ self.weights.T + np.diag(1 / variance)
        return np.linalg.solve(information, precise @ responses.T).T + self.centre

    def log_likelihood(self, responses: Float, components: Float) -> Float:
        """How likely responses (m, v) are for each of some pictures' components (k, d): (m, k).

        Up to a term of each response's own. In the model's units.
        """
        expected = (components - self.centre) @ self.weights
        precise = self._whiten(expected)
        return responses @ precise.T - (expected * precise).sum(1) / 2

    def _deviation(self) -> Float:
        """Standard deviation of each voxel's residuals, (v,)."""
        return np.sqrt((self.residuals**2).mean(0)).clip(TINY)

    def _whiten(self, rows: Float) -> Float:
        """Rows (m, v) times the inverse covariance of the noise, without a (v, v) matrix."""
        deviation = self._deviation()
        _, values, axes = np.linalg.svd(self.residuals / deviation, full_matrices=False)
        added = (1 - self.shrinkage) * values**2 / len(self.residuals)
        inner = rows / deviation
        along = inner @ axes.T * (added / (self.shrinkage + added))
        return (inner - along @ axes) / (self.shrinkage * deviation * self.noise)
