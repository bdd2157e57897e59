"""Which score is which: names, protocol ids, direction and chance of everything that is reported.

Numbers of different protocols are different quantities; every reported value carries its id. What
`metrics.json` says of one value is an *entry*:

    value, ci95 [low, high], n, unit ("stimulus" or "set"), chance, p; null where absent, and then
    with reason, ci95_reason or p_reason
    title, protocol, definition, better ("higher" | "lower"), weights {name of weights: sha256}

and the parts of `metrics.json` that hold entries are

    metrics             {metric: entry}: of the decoded pictures
    controls            {control: {metric: entry}}: shuffled-brain, mean-brain, gaussian-brain,
                        phase-brain, prior, nearest-train-brain, nearest-train-picture, ridge
    ceilings            {"first-stage": {metric: entry}}: the true pictures through the model's
                        first stage and back: none of its pictures can score better
    control_checks      {control: {metric, difference, ci95, n, passed (null: not tested),
                        sentence, above_chance}}: decoder minus control, paired by stimulus
    controls_failed     {control: sentence}: those of control_checks that were not passed
    sets                {metric: entry}: scores of all pictures together (FID, KID); unit "set"
    noise_ceiling       {subject: {median, best, voxels, source} or {reason}}: explainable variance
                        of the responses that were decoded, over the model's voxels
    strata              {stratum: {metrics, controls}}: seen, unseen (class trained on by brain);
                        in-generator, not-in-generator (picture trained on by the generator);
                        near-duplicate, no-near-duplicate (of a training picture)
    subjects            {subject: {metrics, controls, ceilings, strata, stimuli, notes}}
    across_subjects     {metric: {subjects, mean, lowest, highest, above_chance}}: every subject by
                        itself, how many are above chance with their whole interval
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PROTOCOLS = {
    "mindvis-nway": "n-way top-k accuracy of a classifier on decoded pictures, exact over all sets "
    "of distractors; the right class is the classifier's own first choice for the true picture",
    "mindvis-nway-true-label": "the same, the right class being the label of the stimulus; only "
    "stimuli whose label the classifier knows",
    "pixel-correlation": "Pearson correlation over all pixels and channels",
    "ssim-skimage": "structural similarity with scikit-image's defaults: uniform 7 x 7 windows "
    "inside the picture, sample covariance, data range 1, mean over channels",
    "mse": "mean squared error of pictures in [0, 1]",
    "mindvis-pairwise": "share of the other stimuli that a decoded picture resembles less than its "
    "own; ties count one half; LPIPS: version 0.1 with AlexNet, at the size of the decoded picture",
    "consistency": "pixel correlation of different draws of one stimulus; or that less the "
    "correlation with draws of other stimuli",
    "nsd8-braindiffuser": "pictures resized as bytes by Pillow; PixCorr and SSIM (grey, Gaussian "
    "windows of sigma 1.5) at 425 pixels, bicubic; features at 224 pixels, bilinear: AlexNet "
    "features.4 and .11, Inception-v3 avgpool, CLIP ViT-L/14 embedding (transformers): two-way "
    "identification by correlation, a tie one half; EfficientNet-B1 (V1 weights) and SwAV "
    "ResNet-50 avgpool: correlation distance",
    "nsd8-mindeye": "pictures resized as floats to 256 pixels, then without crop to 425 (PixCorr, "
    "SSIM), 256 (AlexNet), 342 (Inception), 224 (CLIP, SwAV), 255 (EfficientNet-B1, V2 weights), "
    "bilinear without antialiasing; otherwise as nsd8-braindiffuser; published on 982 stimuli",
    "nsd8-mindeye2": "nsd8-mindeye, published on 1000 stimuli and, where called enhanced, on .75 "
    "of the decoded picture plus .25 of a blurry one",
    "retrieval-300": "top-1 retrieval among 300 stimuli, exact over all sets of candidates, by "
    "cosine of CLIP ViT-L/14 embeddings of decoded and true pictures; forward: the truth is "
    "sought, backward: the decoded picture is",
    "fid-2048": "Frechet distance of 2048 features of FID's Inception network (torchmetrics, "
    "weights of torch-fidelity), decoded against true pictures, mean over draws; biased by n",
    "kid": "squared maximum mean discrepancy of the same features, cubic kernel (torchmetrics), "
    "mean over draws; unbiased",
}

N_WAY = "n_way"
N_WAY_TRUE_LABEL = "n_way_true_label"
PIXEL_CORRELATION = "pixel_correlation"
SSIM = "ssim"
MSE = "mse"
CONSISTENCY = "consistency"
WITHIN = "consistency_within"
TWO_WAY = {
    PIXEL_CORRELATION: "two_way_pixel_correlation",
    SSIM: "two_way_ssim",
    MSE: "two_way_mse",
}
TWO_WAY_LPIPS = "two_way_lpips"


@dataclass(frozen=True)
class Metric:
    """One reported score.

    Args:
        name: Its key in `metrics.json` and its column in `per_sample.csv`.
        title: What people read.
        protocol: Key of `PROTOCOLS`.
        better: Which direction is better.
        chance: Expected score of a decoder that knows nothing; None where it depends on the
            pictures, and the shuffled control says it.
        judged: Whether it needs a judge.
        weights: SHA-256 of each network that it reads.
        reason: Why it cannot be computed; empty where it can.
    """

    name: str
    title: str
    protocol: str
    better: Literal["higher", "lower"] = "higher"
    chance: float | None = None
    judged: bool = False
    weights: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def sign(self) -> float:
        """Factor that makes larger better."""
        return 1.0 if self.better == "higher" else -1.0


def metrics_of(n_way: int = 50, top_k: int = 1, judge: str | None = None) -> tuple[Metric, ...]:
    """Every metric that `mindvis evaluate` reports, the headline first.

    Args:
        n_way: Candidates of one n-way question.
        top_k: Answers that the judge may give.
        judge: SHA-256 of its weights.

    >>> metrics_of(10, 2)[0].title, metrics_of(10, 2)[0].chance
    ('10-way top-2', 0.2)
    """
    title, chance = f"{n_way}-way top-{top_k}", top_k / n_way
    weights = {} if judge is None else {"judge": judge}
    return (
        Metric(N_WAY, title, "mindvis-nway", chance=chance, judged=True, weights=weights),
        Metric(
            N_WAY_TRUE_LABEL,
            f"{title}, true label",
            "mindvis-nway-true-label",
            chance=chance,
            judged=True,
            weights=weights,
        ),
        Metric(PIXEL_CORRELATION, "Pixel correlation", "pixel-correlation"),
        Metric(SSIM, "SSIM", "ssim-skimage"),
        Metric(MSE, "MSE", "mse", better="lower"),
        Metric(TWO_WAY[PIXEL_CORRELATION], "2-way, correlation", "mindvis-pairwise", chance=0.5),
        Metric(TWO_WAY[SSIM], "2-way, SSIM", "mindvis-pairwise", chance=0.5),
        Metric(TWO_WAY[MSE], "2-way, MSE", "mindvis-pairwise", chance=0.5),
        Metric(WITHIN, "Draws alike, within a stimulus", "consistency"),
        Metric(CONSISTENCY, "Draws alike, within minus between", "consistency", chance=0.0),
    )
