"""Protocols of other systems, on request: features, resizes and crops as they have them.

`nsd8-*` are the eight scores of the decoders of the Natural Scenes Dataset; `retrieval-300` is
MindEye's; `mindvis-pairwise` is MinD-Vis' LPIPS beside what is scored anyway. What cannot be
computed for want of weights is reported as null with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.metrics import functional as M
from mindvis.metrics.lpips import LPIPS, PUBLISHED, SMALLEST, AtSize, load_lpips
from mindvis.metrics.networks import (
    CLIP,
    IMAGENET,
    Network,
    Preparation,
    build,
    resize_pillow,
    through_256,
)
from mindvis.metrics.protocols import TWO_WAY_LPIPS, Metric
from mindvis.metrics.sets import INCEPTION, TITLES, load_inception, set_entries
from mindvis.metrics.weights import WEIGHTS, locate, verify

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Kind = Literal["two_way", "distance"]
Requested = Literal[
    "mindvis-pairwise",
    "nsd8-braindiffuser",
    "nsd8-mindeye",
    "nsd8-mindeye2",
    "retrieval-300",
    "fid-2048",
    "kid",
]
REQUESTED: Final[tuple[str, ...]] = get_args(Requested)
PAIRWISE: Final = "mindvis-pairwise"
PIXEL_SIDE: Final = 425
CANDIDATES: Final = 300


@dataclass(frozen=True)
class Feature:
    """One score of features.

    Args:
        key: Ending of the metric's name.
        title: What people read.
        network: Weights that give the features.
        layer: Which of their layers.
        kind: Two-way identification by correlation, or correlation distance.
    """

    key: str
    title: str
    network: str
    layer: str
    kind: Kind = "two_way"


def _features(efficientnet: str) -> tuple[Feature, ...]:
    """The six features of the NSD decoders; they differ in the weights of EfficientNet."""
    return (
        Feature("two_way_alexnet_2", "AlexNet(2)", "alexnet", "features.4"),
        Feature("two_way_alexnet_5", "AlexNet(5)", "alexnet", "features.11"),
        Feature("two_way_inception", "Inception", "inception-v3", "avgpool"),
        Feature("two_way_clip", "CLIP", "clip-vit-l-14", "image_embeds"),
        Feature("distance_efficientnet", "EffNet-B1", efficientnet, "avgpool", "distance"),
        Feature("distance_swav", "SwAV", "swav-resnet50", "avgpool", "distance"),
    )


@dataclass(frozen=True)
class NsdProtocol:
    """How one system prepares pictures for the eight scores.

    Args:
        prefix: Beginning of the names of its metrics.
        system: Its name.
        features: The six scores of features.
        resize: See `Preparation`.
        sides: Pixels that each network reads; 224 where it is not named.
    """

    prefix: str
    system: str
    features: tuple[Feature, ...]
    resize: Literal["pillow", "tensor"]
    sides: Mapping[str, int] = field(default_factory=dict)

    def preparation(self, network: str) -> Preparation:
        """What this protocol feeds a network."""
        mean, std = CLIP if network.startswith("clip") else IMAGENET
        return Preparation(self.sides.get(network, 224), self.resize, mean, std)

    def pixels(self, pictures: Bytes | Sequence[Bytes]) -> Tensor:
        """Pictures of 425 pixels for the scores of pixels, (n, 3, 425, 425) in [0, 1]."""
        if self.resize == "pillow":
            return resize_pillow(pictures, PIXEL_SIDE, Image.Resampling.BICUBIC)
        return through_256(pictures, PIXEL_SIDE)


_SIDES: Final = {"alexnet": 256, "inception-v3": 342, "efficientnet-b1-v2": 255}
_MINDEYE: Final = NsdProtocol(
    "mindeye", "MindEye", _features("efficientnet-b1-v2"), "tensor", _SIDES
)
NSD: Final[Mapping[str, NsdProtocol]] = {
    "nsd8-braindiffuser": NsdProtocol(
        "braindiffuser", "Brain-Diffuser", _features("efficientnet-b1-v1"), "pillow"
    ),
    "nsd8-mindeye": _MINDEYE,
    "nsd8-mindeye2": replace(_MINDEYE, prefix="mindeye2", system="MindEye2"),
}


@dataclass
class Suite:
    """The requested protocols with their networks.

    Args:
        protocols: Ids.
        networks: Those that could be built, by name of the weights.
        digests: SHA-256 of their weights.
        reasons: Why another one could not be.
        inception: The network of FID and KID, where they are requested and it could be built.
    """

    protocols: tuple[str, ...] = ()
    networks: dict[str, Network] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    inception: nn.Module | None = None
    _truths: Sequence[Bytes] | None = field(default=None, repr=False)
    _true: dict[tuple[str, Preparation | AtSize], dict[str, Tensor]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def load(
        cls, protocols: Sequence[str], directory: str | None = None, device: str = "cpu"
    ) -> "Suite":
        """Check and build every network before any picture is scored.

        Args:
            protocols: Of `REQUESTED`.
            directory: A folder of weights, before the caches.
            device: Where the networks run.
        """
        suite = cls(tuple(protocols))
        names = {f.network for p in protocols if p in NSD for f in NSD[p].features}
        names |= {"clip-vit-l-14"} if "retrieval-300" in protocols else set()
        for name in sorted(names):
            suite._load(name, name, directory, device)
        if PAIRWISE in protocols:
            suite._load(LPIPS, "alexnet", directory, device)
            suite.digests[LPIPS] = PUBLISHED
        if set(TITLES) & set(protocols):
            try:
                suite.inception, suite.digests[INCEPTION] = load_inception(directory)
            except CheckpointError as error:
                suite.reasons[INCEPTION] = str(error).rstrip(".")
        return suite

    def _load(self, name: str, of: str, directory: str | None, device: str) -> None:
        """Build one network, or keep the reason why not.

        Args:
            name: Of the network.
            of: Name of its weights.
            directory: A folder of weights, before the caches.
            device: Where it runs.
        """
        path = locate(WEIGHTS[of], directory)
        if path is None:
            self.reasons[name] = f"the weights {of} are missing; run `mindvis prefetch`"
            return
        try:
            self.digests[of] = verify(WEIGHTS[of], path)
            lpips = name == LPIPS
            self.networks[name] = load_lpips(path, device) if lpips else build(name, path, device)
        except CheckpointError as error:
            self.reasons[name] = str(error).rstrip(".")

    def sets(self, parts: Sequence[tuple[Bytes, Sequence[Bytes]]]) -> dict[str, dict[str, Any]]:
        """Entries of the scores of all pictures together; see `set_entries`."""
        digest, reason = self.digests.get(INCEPTION, ""), self.reasons.get(INCEPTION, "")
        return set_entries(self.protocols, parts, self.inception, digest, reason)

    def metrics(self, stimuli: int = CANDIDATES) -> tuple[Metric, ...]:
        """Every metric of single stimuli that the protocols define, the impossible with reasons.

        Args:
            stimuli: How many there are of a subject.
        """
        few = "" if stimuli >= CANDIDATES else f"{stimuli} stimuli; it needs {CANDIDATES}"
        found: list[Metric] = []
        for name in self.protocols:
            if name in NSD:
                found += self._nsd_metrics(name, NSD[name])
            if name == PAIRWISE:
                found.append(self._lpips_metric())
            if name == "retrieval-300":
                for way in ("forward", "backward"):
                    metric = self._metric(
                        f"retrieval_{way}",
                        f"Retrieval, {way}",
                        name,
                        "clip-vit-l-14",
                        1 / CANDIDATES,
                    )
                    found.append(replace(metric, reason=metric.reason or few))
        return tuple(found)

    def _nsd_metrics(self, name: str, protocol: NsdProtocol) -> list[Metric]:
        """The eight scores of one protocol."""
        of = f" ({protocol.system})"
        pixels = [
            Metric(f"{protocol.prefix}_pixcorr", f"PixCorr{of}", name),
            Metric(f"{protocol.prefix}_ssim", f"SSIM{of}", name),
        ]
        return pixels + [
            self._metric(
                f"{protocol.prefix}_{feature.key}",
                ("2-way, " if feature.kind == "two_way" else "Distance, ") + feature.title + of,
                name,
                feature.network,
                0.5 if feature.kind == "two_way" else None,
                feature.kind == "distance",
            )
            for feature in protocol.features
        ]

    def _lpips_metric(self) -> Metric:
        """Two-way identification by LPIPS."""
        metric = self._metric(TWO_WAY_LPIPS, "2-way, LPIPS", PAIRWISE, LPIPS, 0.5)
        if LPIPS in self.reasons:
            return replace(metric, weights={})
        return replace(metric, weights={str(n): self.digests[n] for n in ("alexnet", LPIPS)})

    def _metric(
        self,
        name: str,
        title: str,
        protocol: str,
        network: str,
        chance: float | None,
        lower: bool = False,
    ) -> Metric:
        """A metric of one network, with the digest of its weights or why they are absent."""
        digest = self.digests.get(network)
        return Metric(
            name,
            title,
            protocol,
            "lower" if lower else "higher",
            chance,
            weights={} if digest is None else {network: digest},
            reason=self.reasons.get(network, ""),
        )

    def tables(self, pictures: Bytes, truths: Sequence[Bytes]) -> dict[str, Floats]:
        """Scores of all pictures, each taken as a picture of every truth.

        Args:
            pictures: uint8 (columns, draws, height, width, 3).
            truths: (rows) pictures of any size.

        Returns:
            For each metric that could be computed float64 (rows, columns, draws). The scores of
            pixels are given for true pairs alone and are NaN elsewhere.
        """
        found: dict[str, list[Tensor]] = {}
        for draw in range(pictures.shape[1]):
            some = np.ascontiguousarray(pictures[:, draw])
            for name in self.protocols:
                for key, table in self._draw(name, some, truths).items():
                    found.setdefault(key, []).append(table)
        return {key: torch.stack(parts, -1).numpy() for key, parts in found.items()}

    def _draw(self, name: str, pictures: Bytes, truths: Sequence[Bytes]) -> dict[str, Tensor]:
        """The tables (rows, columns) of one draw and one protocol."""
        if name in NSD:
            return self._nsd(NSD[name], pictures, truths)
        if name == PAIRWISE and LPIPS in self.networks:
            return self._lpips(pictures, truths)
        if name == "retrieval-300" and "clip-vit-l-14" in self.networks:
            if len(truths) < CANDIDATES:
                return {}
            return self._retrieval(pictures, truths)
        return {}

    def _nsd(
        self, protocol: NsdProtocol, pictures: Bytes, truths: Sequence[Bytes]
    ) -> dict[str, Tensor]:
        """The eight scores; (rows, columns) each."""
        tables = {}
        for key, table in _true_pairs(protocol, pictures, truths).items():
            tables[f"{protocol.prefix}_{key}"] = table
        seen: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        for feature in protocol.features:
            network = self.networks.get(feature.network)
            if network is None:
                continue
            if feature.network not in seen:
                prepare = protocol.preparation(feature.network)
                seen[feature.network] = (
                    network.features(pictures, prepare),
                    self._true_features(feature.network, prepare, truths),
                )
            own, true = (features[feature.layer] for features in seen[feature.network])
            compared = feature_table(own, true, feature.kind)
            if compared is not None:
                tables[f"{protocol.prefix}_{feature.key}"] = compared
        return tables

    def _lpips(self, pictures: Bytes, truths: Sequence[Bytes]) -> dict[str, Tensor]:
        """Two-way identification by LPIPS, at the size of the decoded pictures; (rows, columns)."""
        height, width = pictures.shape[1:3]
        if min(height, width) < SMALLEST:
            size = f"pictures of {width} x {height} pixels"
            self.reasons[LPIPS] = f"{size}; LPIPS with AlexNet needs {SMALLEST}"
            return {}
        prepare = AtSize(height, width)
        own = self.networks[LPIPS].features(pictures, prepare)[LPIPS]
        true = self._true_features(LPIPS, prepare, truths)[LPIPS]
        if len(true) < 2:
            return {}
        return {TWO_WAY_LPIPS: M.two_way_wins(-M.squared_distance(own, true)).mT}

    def _true_features(
        self, name: str, prepare: Preparation | AtSize, truths: Sequence[Bytes]
    ) -> dict[str, Tensor]:
        """Features of the truths, computed once for all draws and controls of a subject."""
        if self._truths is not truths:
            self._truths, self._true = truths, {}
        key = (name, prepare)
        if key not in self._true:
            self._true[key] = self.networks[name].features(truths, prepare)
        return self._true[key]

    def _retrieval(self, pictures: Bytes, truths: Sequence[Bytes]) -> dict[str, Tensor]:
        """Retrieval by cosine of CLIP embeddings, both ways; (rows, columns) each."""
        prepare = _MINDEYE.preparation("clip-vit-l-14")
        network = self.networks["clip-vit-l-14"]
        own = network.features(pictures, prepare)["image_embeds"]
        true = self._true_features("clip-vit-l-14", prepare, truths)["image_embeds"]
        likeness = M.cosine_similarity(own, true)
        tables = {"retrieval_forward": M.retrieval_accuracy(likeness, CANDIDATES).mT}
        if len(own) >= CANDIDATES:  # the candidates of the other way are the decoded pictures
            tables["retrieval_backward"] = M.retrieval_accuracy(likeness.mT, CANDIDATES)
        return tables


def feature_table(pictures: Tensor, truths: Tensor, kind: Kind) -> Tensor | None:
    """Score of every picture taken as a picture of every truth, (truths, pictures).

    Args:
        pictures: (p, d) features.
        truths: (t, d) features.
        kind: Share of the other truths that correlate less with the picture, or one minus the
            correlation.

    Returns:
        None where a single truth leaves nothing to compare with.
    """
    if kind == "distance":
        return M.correlation_distance(pictures, truths).mT
    if len(truths) < 2:
        return None
    return M.two_way_wins(M.feature_correlation(pictures, truths)).mT


def _true_pairs(
    protocol: NsdProtocol, pictures: Bytes, truths: Sequence[Bytes], block: int = 16
) -> dict[str, Tensor]:
    """Correlation and SSIM of each picture with its own truth, NaN elsewhere: (rows, columns)."""
    shape = (len(truths), len(pictures))
    tables = {key: torch.full(shape, torch.nan, dtype=torch.float64) for key in ("pixcorr", "ssim")}
    for start in range(0, min(shape), block):
        own, true = (
            protocol.pixels(p[start : min(start + block, *shape)]) for p in (pictures, truths)
        )
        rows = torch.arange(start, start + len(own))
        tables["pixcorr"][rows, rows] = M.pixel_correlation(own, true)
        tables["ssim"][rows, rows] = M.gaussian_ssim(M.grey(own), M.grey(true))
    return tables
