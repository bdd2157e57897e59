"""torchmetrics twins of the pure functions, for training loops and several processes.

A sampler of several processes pads the last batch with samples that were seen already. Every score
is therefore kept under the id of its sample, and counts once however often it was computed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mindvis.errors import DataError
from mindvis.metrics import functional as M


class SampleMean(Metric):
    """Mean of a score over samples, each counted once.

    The unit is the sample: give draws of one stimulus the same id, and they are averaged first.
    Where a sample was scored in several processes, or twice in one, `draw` tells repeated work from
    another draw.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("ids", default=[], dist_reduce_fx="cat")
        self.add_state("draws", default=[], dist_reduce_fx="cat")
        self.values: list[Tensor]
        self.ids: list[Tensor]
        self.draws: list[Tensor]

    def keep(self, scores: Tensor, ids: Tensor, draws: Tensor | None) -> None:
        """Remember the scores of a batch.

        Args:
            scores: (n,).
            ids: int (n,), of the samples, the same in every process.
            draws: int (n,), which draw of the sample; 0 for all when omitted.

        Raises:
            DataError: Their numbers differ.
        """
        counted = torch.zeros_like(ids) if draws is None else draws
        if not scores.shape == ids.shape == counted.shape:
            raise DataError(
                f"{tuple(scores.shape)} scores, {tuple(ids.shape)} ids and "
                f"{tuple(counted.shape)} draws",
                "one of each for every picture",
            )
        self.values.append(scores.detach().to(torch.float64))
        self.ids.append(ids.to(scores.device, torch.int64))
        self.draws.append(counted.to(scores.device, torch.int64))

    def per_sample(self) -> tuple[Tensor, Tensor]:
        """Ids (m,), ascending, and the mean over draws of each (m,), of all processes in `compute`.

        Of several scores of one draw the first counts.
        """
        values, ids, draws = (_joined(part) for part in (self.values, self.ids, self.draws))
        if not len(values):
            return ids.long(), values
        pairs = torch.stack([ids, draws], dim=1).long()
        unique, place = pairs.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
        first = torch.full((len(unique),), len(pairs), device=place.device)
        order = torch.arange(len(pairs), device=place.device)
        first = first.scatter_reduce(0, place, order, "amin")
        names, group = unique[:, 0].unique(return_inverse=True)
        total = torch.zeros(len(names), dtype=values.dtype, device=values.device)
        total = total.index_add(0, group, values[first])
        return names, total / group.bincount(minlength=len(names))

    def compute(self) -> Tensor:
        """Mean over samples, float64; NaN without any."""
        return self.per_sample()[1].mean()


def _joined(parts: Tensor | Sequence[Tensor]) -> Tensor:
    """A state as one tensor: torchmetrics leaves a list before it syncs and a tensor after."""
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(list(parts)) if len(parts) else torch.empty(0, dtype=torch.float64)


class NWayAccuracy(SampleMean):
    """Exact n-way top-k accuracy; see `mindvis.metrics.functional.n_way_accuracy`.

    Args:
        n_way: Candidates of one question.
        top_k: Answers that the judge may give.
        **kwargs: Of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, n_way: int = 50, top_k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_way = n_way
        self.top_k = top_k

    def update(
        self, probabilities: Tensor, target: Tensor, ids: Tensor, draws: Tensor | None = None
    ) -> None:
        """Add the judge's opinion (n, classes) of pictures whose right class is `target` (n,)."""
        scores = M.n_way_accuracy(probabilities, target, self.n_way, self.top_k)
        self.keep(scores, ids, draws)


class PixelCorrelation(SampleMean):
    """Pearson correlation of pixels; see `mindvis.metrics.functional.pixel_correlation`."""

    higher_is_better = True

    def update(
        self, prediction: Tensor, truth: Tensor, ids: Tensor, draws: Tensor | None = None
    ) -> None:
        """Add pictures (n, channels, height, width)."""
        self.keep(M.pixel_correlation(prediction, truth), ids, draws)


class StructuralSimilarity(SampleMean):
    """Structural similarity as scikit-image has it; see `mindvis.metrics.functional.ssim`."""

    higher_is_better = True

    def update(
        self, prediction: Tensor, truth: Tensor, ids: Tensor, draws: Tensor | None = None
    ) -> None:
        """Add pictures (n, channels, height, width) in [0, 1]."""
        self.keep(M.ssim(prediction, truth), ids, draws)


class MeanSquaredError(SampleMean):
    """Mean squared error of pictures in [0, 1]; see `mindvis.metrics.functional.mse`."""

    higher_is_better = False

    def update(
        self, prediction: Tensor, truth: Tensor, ids: Tensor, draws: Tensor | None = None
    ) -> None:
        """Add pictures (n, channels, height, width) in [0, 1]."""
        self.keep(M.mse(prediction, truth), ids, draws)


class TwoWayIdentification(Metric):
    """Two-way identification by correlation of features, over all samples of all processes.

    Each picture is compared with every truth, so features are kept until `compute`. Of several
    pictures of one sample the first counts.

    Args:
        **kwargs: Of `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("predictions", "truths", "ids"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.predictions: list[Tensor]
        self.truths: list[Tensor]
        self.ids: list[Tensor]

    def update(self, prediction: Tensor, truth: Tensor, ids: Tensor) -> None:
        """Add features (n, ...) of decoded and true pictures."""
        self.predictions.append(prediction.detach().flatten(1).float())
        self.truths.append(truth.detach().flatten(1).float())
        self.ids.append(ids.to(prediction.device, torch.int64))

    def compute(self) -> Tensor:
        """Mean over samples, float64.

        Raises:
            ConfigError: Fewer than two samples.
        """
        ids = _joined(self.ids).long()
        _, place = ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        order = torch.arange(len(ids), device=ids.device)
        first = torch.full((int(place.max()) + 1 if len(ids) else 0,), len(ids), device=ids.device)
        first = first.scatter_reduce(0, place, order, "amin")
        likeness = M.feature_correlation(
            _joined(self.predictions)[first], _joined(self.truths)[first]
        )
        return M.two_way_identification(likeness).mean()
