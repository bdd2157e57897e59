"""Scores of all pictures together: distances of distributions, by torchmetrics."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.metrics.pairing import fit_size
from mindvis.metrics.protocols import PROTOCOLS
from mindvis.metrics.weights import WEIGHTS, locate, verify

Bytes = NDArray[np.uint8]
SUBSET, SUBSETS = 1000, 100  # of KID, as its authors have them
TITLES = {"fid-2048": "FID", "kid": "KID"}
INCEPTION = "fid-inception"


def load_inception(directory: str | None = None) -> tuple[nn.Module, str]:
    """The 2048 features of FID's own Inception network, and the digest of its weights.

    Args:
        directory: A folder of weights, before the caches.

    Raises:
        CheckpointError: torch-fidelity or the weights are absent, or the weights are others.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    weights = WEIGHTS[INCEPTION]
    path = locate(weights, directory)
    if path is None:
        raise CheckpointError(
            f"the weights {weights.name} are missing", remedy="run `mindvis prefetch`"
        )
    digest = verify(weights, path)
    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
    except ModuleNotFoundError as error:
        raise CheckpointError(
            "torch-fidelity is not installed",
            "it, for the network of FID and KID",
            "pip install 'mindvis[metrics]'",
        ) from error
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{weights.name} does not load from {path} ({' '.join(str(error).split())[:200]})",
            "the weights of that network",
        ) from error
    return network, digest


def set_distances(
    decoded: Bytes, truths: Sequence[Bytes], network: nn.Module, batch_size: int = 32
) -> dict[str, float]:
    """FID and KID of decoded pictures and true ones, each the mean over draws.

    Args:
        decoded: uint8 (stimuli, draws, height, width, 3).
        truths: (stimuli) pictures; brought to the size of the decoded ones.
        network: Maps uint8 (n, 3, H, W) to features (n, d).
        batch_size: Pictures at once.

    Returns:
        `fid-2048` and `kid`. KID is unbiased: with up to 1,000 stimuli from all of them, with more
        the mean of 100 subsets of 1,000, drawn by a fixed seed.
    """
    # the package itself offers them only beside torch-fidelity, which a network of ones own spares
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    count, draws = decoded.shape[:2]
    subset, subsets = (count, 1) if count <= SUBSET else (SUBSET, SUBSETS)
    fid = FrechetInceptionDistance(network, reset_real_features=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps features, which is meant
        kid = KernelInceptionDistance(
            network, subsets=subsets, subset_size=subset, reset_real_features=False
        )
    for metric in (fid, kid):
        metric.eval()
    _update((fid, kid), fit_size(truths, *decoded.shape[2:4]), True, batch_size)
    found: dict[str, list[float]] = {"fid-2048": [], "kid": []}
    for draw in range(draws):
        _update((fid, kid), decoded[:, draw], False, batch_size)
        found["fid-2048"].append(float(fid.compute()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found["kid"].append(float(kid.compute()[0]))
        for metric in (fid, kid):
            metric.reset()
    return {name: float(np.mean(values)) for name, values in found.items()}


def _update(metrics: Sequence[Any], pictures: Bytes, real: bool, batch_size: int) -> None:
    """Give pictures to metrics in batches."""
    for start in range(0, len(pictures), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch_size]))
        images: Tensor = batch.permute(0, 3, 1, 2)
        for metric in metrics:
            metric.update(images, real=real)


def set_entries(
    protocols: Sequence[str],
    parts: Sequence[tuple[Bytes, Sequence[Bytes]]],
    network: nn.Module | None,
    digest: str = "",
    reason: str = "",
) -> dict[str, dict[str, Any]]:
    """Entries of `sets` in metrics.json, the mean over subjects; null with the reason if need be.

    Args:
        protocols: Those requested, others than these two are passed over.
        parts: For each subject decoded pictures and truths.
        network: As `load_inception` gives it; None where it could not be had.
        digest: Of its weights.
        reason: Why there is no network.
    """
    wanted = [name for name in protocols if name in TITLES]
    if not wanted:
        return {}
    facts = {
        name: {
            "title": TITLES[name],
            "unit": "set",
            "protocol": name,
            "definition": PROTOCOLS[name],
            "better": "lower",
            "chance": None,
            "p": None,
            "p_reason": "a distance of sets does not ask which picture is whose",
            "ci95": None,
            "ci95_reason": "a distance of sets depends on their size: compare it at equal n",
            "n": max(len(decoded) for decoded, _ in parts),
        }
        for name in wanted
    }
    if network is None:
        return {n: {"value": None, "reason": reason, "weights": {}, **facts[n]} for n in wanted}
    found = [set_distances(decoded, truths, network) for decoded, truths in parts]
    return {
        name: {
            "value": float(np.mean([values[name] for values in found])),
            "weights": {INCEPTION: digest},
            **facts[name],
        }
        for name in wanted
    }
