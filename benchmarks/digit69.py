"""Inputs and table of digit69.sh: ten folds of 100 measured digits, baselines, scores.

    python -m benchmarks.digit69 inputs --shared ../shared/data --output runs/digit69
    python -m benchmarks.digit69 search --output runs/digit69
    python -m benchmarks.digit69 table --output runs/digit69

digit69 (van Gerven et al. 2010): 100 responses of V1 to V3 to handwritten sixes and nines, one
trial each. `inputs` writes the pictures of the prior (MNIST sixes and nines, none of the 100 that
were shown) and, for each fold, arrays in which other ten trials are the test. `table` scores what
`mindvis decode` painted for the official split and the folds that are there, beside baselines that
see the same training trials: at 28 x 28 pixels, SSIM with scikit-image's default window, data range
1, each score the mean over pictures with a 95 % BCa bootstrap interval over pictures. `search`
compares options of the linear model inside the training trials of the official split.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from benchmarks.machine import write_report
from mindvis.data.images import read_arrays
from mindvis.data.store import VoxelStore
from mindvis.metrics.functional import mse, pixel_correlation, ssim
from mindvis.metrics.statistics import bootstrap_interval
from mindvis.seeding import numpy_generator
from preprocessing.encoding import EncodingModel, PictureBasis

Float = npt.NDArray[np.float64]
Paint = Callable[["Division"], Float]

FOLDS, SIDE, NEAREST = 10, 28, 50
NAMES = {6: "six", 9: "nine"}
KEYS = ("fmri", "stim", "label")
SCORES = ("pcc", "ssim", "mse")
# Read off a chart, +- .005; see the data's README. No intervals are known.
PUBLISHED = {
    "Miyawaki et al.": (0.766, 0.47),
    "De-CNN": (0.798, 0.61),
    "DGMM": (0.811, 0.65),
    "Shape-Semantic GAN": (0.86, 0.77),
}


# -- inputs ---------------------------------------------------------------------------------


def write_inputs(shared: Path, output: Path, folds: int, pictures: int | None = None) -> None:
    """Write `pictures.npz`, all or some for the prior, and `fold-<k>.npz` of the first folds."""
    output.mkdir(parents=True, exist_ok=True)
    images, labels = (rows[:pictures] for rows in prior_pictures(shared))
    np.savez(output / "pictures.npz", images=images, labels=labels)
    measured = loadmat(shared / "digit69" / "digit69_28x28.mat")
    whole = {key: np.concatenate([measured[f"{key}Trn"], measured[f"{key}Test"]]) for key in KEYS}
    for fold, test in enumerate(test_rows(len(whole["fmri"]))[:folds]):
        train = np.setdiff1d(np.arange(len(whole["fmri"])), test)
        parts = {f"{key}Trn": rows[train] for key, rows in whole.items()}
        parts |= {f"{key}Test": rows[test] for key, rows in whole.items()}
        np.savez(output / f"fold-{fold}.npz", **parts)


def prior_pictures(shared: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """MNIST sixes and nines without any picture that was shown, in training or test."""
    shown = json.loads((shared / "digit69" / "stimuli_in_mnist_train.json").read_text())
    with np.load(shared / "mnist" / "mnist_subset.npz", allow_pickle=False) as mnist:
        images, digits, index = mnist["images"], mnist["labels"], mnist["mnist_train_index"]
    kept = np.isin(digits, list(NAMES)) & ~np.isin(index, shown["train"] + shown["test"])
    return images[kept], np.array([NAMES[digit] for digit in digits[kept].tolist()])


def test_rows(count: int) -> list[npt.NDArray[np.intp]]:
    """Test rows of each fold: every tenth of a fixed shuffle."""
    order = np.random.default_rng(0).permutation(count)
    return [np.sort(order[fold::FOLDS]) for fold in range(FOLDS)]


# -- baselines ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Division:
    """Training and test of one split: responses (n, voxels), pictures (n, 28, 28) in [0, 1]."""

    responses: Float
    pictures: Float
    test_responses: Float
    truths: Float
    ids: list[str]
    prior: npt.NDArray[np.uint8]


def read_division(store: Path, prior: npt.NDArray[np.uint8]) -> Division:
    """The measured trials of a store."""
    with VoxelStore(store) as opened:
        subject = opened["sub-01"]
        stimuli, trials = opened.stimuli, subject.trials
        if stimuli is None:
            raise SystemExit(f"{store} holds no pictures")
        rows = subject.responses().astype(np.float64)
        shown = stimuli.images(stimuli.index(trials["stimulus"])).mean(-1) / 255.0
    test = (trials["split"] == "test").to_numpy()
    ids = trials.loc[test, "stimulus"].tolist()
    return Division(rows[~test], shown[~test], rows[test], shown[test], ids, prior)


def mean_picture(division: Division) -> Float:
    """The mean of the training pictures, whatever the response."""
    return np.repeat(division.pictures.mean(0, keepdims=True), len(division.truths), axis=0)


def ridge(division: Division, alpha: float = 1e3) -> Float:
    """Every pixel by ridge regression on standardised voxels."""
    centre, scale = division.responses.mean(0), division.responses.std(0).clip(1e-12)
    train = (division.responses - centre) / scale
    test = (division.test_responses - centre) / scale
    mean = division.pictures.mean(0)
    kernel = train @ train.T + alpha * np.eye(len(train))
    weights = np.linalg.solve(kernel, (division.pictures - mean).reshape(len(train), -1))
    return (test @ train.T @ weights).reshape(-1, *mean.shape) + mean


def clipped_ridge(division: Division) -> Float:
    """`ridge`, in the range of pictures."""
    return ridge(division).clip(0, 1)


def retrieved(division: Division) -> Float:
    """The mean of the prior pictures nearest to what ridge painted."""
    painted = ridge(division).reshape(len(division.truths), -1)
    prior = as_grey(division.prior).reshape(len(division.prior), -1)
    distance = (prior**2).sum(1) - 2 * painted @ prior.T
    nearest = np.argpartition(distance, NEAREST, axis=1)[:, :NEAREST]
    return prior[nearest].mean(1).reshape(-1, SIDE, SIDE)


class Choice(NamedTuple):
    """Options of `prepare augment`; these are what digit69.sh gives."""

    components: int = 24
    blur: float = 2.0
    voxels: int = 600
    alpha: float = 2.0
    shrinkage: float = 0.6
    noise: float = 2.5


CHOSEN = Choice()
GRID = {
    "components": (16, 24, 32, 48),
    "blur": (1.0, 1.5, 2.0, 2.5),
    "voxels": (200, 400, 600, 1000),
    "alpha": (0.5, 1.0, 2.0, 4.0, 8.0),
    "shrinkage": (0.2, 0.4, 0.6, 0.8, 1.0),
    "noise": (1.0, 1.5, 2.5, 4.0),
}


def weighed(division: Division, choice: Choice = CHOSEN) -> Float:
    """Posterior mean over the prior pictures themselves, by the model of `prepare augment`."""
    basis = PictureBasis.fit(division.prior, choice.components, choice.blur)
    shown = np.repeat(np.rint(division.pictures * 255).astype(np.uint8)[..., None], 3, axis=-1)
    train, test = (
        rows.astype(np.float32) for rows in (division.responses, division.test_responses)
    )
    model = EncodingModel.fit(basis(shown), train, *choice[2:])
    likelihood = model.log_likelihood(model.standardised(test), basis(division.prior))
    weights = np.exp(likelihood - likelihood.max(1, keepdims=True))
    prior = as_grey(division.prior).reshape(len(division.prior), -1)
    painted = weights @ prior / weights.sum(1, keepdims=True)
    return painted.reshape(-1, SIDE, SIDE)


def within_training(division: Division, choice: Choice) -> Float:
    """Mean PCC, SSIM and MSE (3,) of `weighed` on training trials left out in nine folds."""
    count = len(division.responses)
    order = np.random.default_rng(1).permutation(count)
    found = []
    for fold in range(9):
        left = np.sort(order[fold::9])
        kept = np.setdiff1d(np.arange(count), left)
        shown, left_out = division.pictures[left], division.responses[left]
        inner = replace(
            division,
            responses=division.responses[kept],
            pictures=division.pictures[kept],
            test_responses=left_out,
            truths=shown,
        )
        found.append(scores(weighed(inner, choice), shown))
    return np.concatenate(found, axis=1).mean(1)


def search(output: Path, tried: int) -> None:
    """Print scores within the training trials of the official split: of our options, of others."""
    prior = read_arrays(output / "pictures.npz")[0]
    division = read_division(output / "official" / "measured.h5", prior)
    rng = np.random.default_rng(0)
    drawn = ({k: v[rng.integers(len(v))] for k, v in GRID.items()} for _ in range(tried))
    for choice in [CHOSEN, *(Choice(**options) for options in drawn)]:
        pcc, similarity, error = within_training(division, choice)
        sys.stdout.write(f"{pcc:.3f} {similarity:.3f} {error:.4f} {choice}\n")


BASELINES: Mapping[str, Paint] = {
    "mean of the training pictures": mean_picture,
    "pixel ridge": clipped_ridge,
    "ridge, mean of 50 nearest prior pictures": retrieved,
    "encoding model, prior pictures weighed": weighed,
}


def as_grey(pictures: npt.NDArray[np.uint8]) -> Float:
    """Colour pictures (n, H, W, 3) as grey values in [0, 1]."""
    return pictures.mean(-1) / 255.0


# -- decoded pictures -----------------------------------------------------------------------


def read_draws(decoded: Path, ids: Sequence[str]) -> Float:
    """Decoded pictures (stimuli, draws, 28, 28) in the order of the ids."""
    index = pd.read_csv(decoded / "index.csv")
    index = index[index["stimulus"].isin(list(ids))]
    files = {name: rows.sort_values("draw")["file"] for name, rows in index.groupby("stimulus")}
    return np.stack([np.stack([read_grey(decoded / file) for file in files[i]]) for i in ids])


def read_grey(file: Path) -> Float:
    """A picture file as grey values, at 28 x 28."""
    with Image.open(file) as image:
        small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.float64) / 255.0


def decoders(draws: Float) -> dict[str, Float]:
    """Estimates from draws (stimuli, draws, H, W): their mean and their median."""
    return {"mean of draws": draws.mean(1), "median of draws": np.median(draws, axis=1)}


def scores(painted: Float, truths: Float) -> Float:
    """PCC, SSIM and MSE (3, n) of pictures (n, 28, 28)."""
    pair = [torch.from_numpy(np.ascontiguousarray(rows))[:, None] for rows in (painted, truths)]
    return np.stack([measure(*pair).numpy() for measure in (pixel_correlation, ssim, mse)])


def score_split(folder: Path, prior: npt.NDArray[np.uint8]) -> dict[str, Float]:
    """Scores (3, n) of every method on one split."""
    division = read_division(folder / "measured.h5", prior)
    found = {name: scores(paint(division), division.truths) for name, paint in BASELINES.items()}
    for decoded in sorted(folder.glob("decoded*")):
        if not (decoded / "index.csv").is_file():
            continue
        name = "mindvis" + decoded.name.removeprefix("decoded").replace("-", ", ", 1)
        draws = read_draws(decoded, division.ids)
        for how, painted in decoders(draws).items():
            found[f"{name}, {how} ({draws.shape[1]})"] = scores(painted, division.truths)
        single = [scores(draws[:, k], division.truths) for k in range(draws.shape[1])]
        found[f"{name}, single draws"] = np.mean(single, axis=0)
    return found


# -- table ----------------------------------------------------------------------------------


def summarise(found: Mapping[str, Float]) -> dict[str, Any]:
    """Mean and interval of each score of each method."""
    return {
        method: {
            score: {
                "value": float(values.mean()),
                "interval": bootstrap_interval(values, numpy_generator(0, method, score)),
            }
            for score, values in zip(SCORES, rows, strict=True)
        }
        | {"pictures": rows.shape[1]}
        for method, rows in found.items()
    }


def measure_all(output: Path) -> dict[str, Any]:
    """Scores of the official split and, pooled, of the folds: methods that all of these have."""
    prior = read_arrays(output / "pictures.npz")[0]
    official = score_split(output / "official", prior)
    folders = [output / f"split-{fold}" for fold in range(FOLDS)]
    done = [folder for folder in folders if (folder / "measured.h5").is_file()]
    parts = [score_split(folder, prior) for folder in tqdm(done, desc="folds", delay=2)]
    methods = [name for name in parts[0] if all(name in part for part in parts)] if parts else []
    pooled = {name: np.concatenate([part[name] for part in parts], axis=1) for name in methods}
    return {
        "official": summarise(official),
        "folds": {"number": len(done), "methods": summarise(pooled)},
        "published": {name: dict(zip(SCORES, v, strict=False)) for name, v in PUBLISHED.items()},
    }


def markdown(content: Mapping[str, Any]) -> str:
    """The report as two tables, the published numbers below the first."""
    number = content["folds"]["number"]
    official = [_row(name, values) for name, values in content["official"].items()]
    for name, values in content["published"].items():
        cells = [f"{values[score]:.3f}" if score in values else "" for score in SCORES]
        official.append(f"| {name} (published) | {' | '.join(cells)} |")
    folds = [_row(name, values) for name, values in content["folds"]["methods"].items()]
    head = "| | PCC | SSIM | MSE |\n|---|---|---|---|"
    tables = ["Official split, 10 test pictures", head, *official, ""]
    if folds:
        tables += [f"{number} of {FOLDS} folds, {number * 10} test pictures", head, *folds, ""]
    return "\n".join(tables)


def _row(name: str, values: Mapping[str, Any]) -> str:
    cells = []
    for score, digits in zip(SCORES, (3, 3, 4), strict=True):
        low, high = values[score]["interval"] or (float("nan"),) * 2
        cells.append(f"{values[score]['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
    return f"| {name} | {' | '.join(cells)} |"


def main(args: Sequence[str] | None = None) -> int:
    """Write the inputs, or the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.digit69", description=__doc__)
    parser.add_argument("what", choices=("inputs", "search", "table"))
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--pictures", type=int, help="of the prior; all by default")
    parser.add_argument("--tried", type=int, default=30, help="other options that search tries")
    options = parser.parse_args(args)
    if options.what == "inputs":
        write_inputs(options.shared, options.output, options.folds, options.pictures)
        return 0
    if options.what == "search":
        search(options.output, options.tried)
        return 0
    content = measure_all(options.output)
    path = write_report("digit69", content, options.output)
    sys.stdout.write(f"{markdown(content)}\n{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
