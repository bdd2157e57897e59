"""Eight categories from real volumes: tokens of BrainMAE beside raw voxels, leave one run out.

    python -m benchmarks.haxby --source ../shared/data/haxby2001-slice --output runs/haxby

The slice of Haxby et al. (2001) is prepared twice by `mindvis prepare bids`: a response for each
block (mean of the volumes from 5 to 27.5 s after its onset), and every volume by itself, as rest.
`mindvis fit` trains stage A on the volumes, without labels. A logistic regression then names the
category of the blocks of a run that it was not fitted to, from voxels or from tokens; how strongly
it is regularised is chosen by leaving out each of the other runs in turn.

"transductive": one encoder has seen the volumes of all runs. "strict": for each run there is an
encoder that has not seen it. "untrained": encoders of the same size with their initial weights.
Volumes are detrended and z-scored within their run everywhere, raw voxels included.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from benchmarks.machine import ROOT, write_report
from mindvis.cli import main as mindvis
from mindvis.data.datamodule import ResponseData
from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.data.transforms import Preprocessing
from mindvis.metrics.statistics import bootstrap_interval
from mindvis.models.encoder import BrainEncoder, load_encoder
from mindvis.seeding import numpy_generator

Float = npt.NDArray[np.float32]
Features = Callable[[int], Float]  # of all blocks, when a run is held out

LAG_START, LAG_END, TR = 5.0, 27.5, 2.5
SUBJECT, CHANCE, REFERENCE, REFERENCE_C = "sub-01", 0.125, 0.61, 0.01


@dataclass(frozen=True)
class Design:
    """Stage A and how many times it is repeated."""

    patch_size: int = 16
    embed_dim: int = 64
    depth: int = 2
    num_heads: int = 4
    mlp_ratio: float = 2.0
    decoder_embed_dim: int = 32
    decoder_depth: int = 1
    decoder_num_heads: int = 4
    patch_weights: str = "own"
    position_scale: float = 0.1
    mask_ratio: float = 0.75
    visible_weight: float = 0.3
    lr: float = 1e-3
    warmup_epochs: int = 2
    batch_size: int = 64
    max_epochs: int = 15
    untrained: int = 3
    held_out: int = 12
    strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)


SMALL = Design()
SIZES = {
    "small": SMALL,
    "wide": replace(
        SMALL, embed_dim=128, decoder_embed_dim=128, lr=2e-3, batch_size=32, max_epochs=60
    ),
    "toy": Design(
        embed_dim=16,
        depth=1,
        warmup_epochs=0,
        max_epochs=1,
        untrained=1,
        held_out=1,
        strengths=(REFERENCE_C,),
    ),
}
# fields of Design that are options of the data module, of the trainer, or of neither
DATA, TRAINER = ("patch_size", "batch_size"), ("max_epochs",)
OURS = ("untrained", "held_out", "strengths")


@dataclass(frozen=True)
class Blocks:
    """What is classified.

    Args:
        responses: (blocks, voxels), the mean response to each block.
        volumes: (volumes, voxels), all volumes of all runs.
        rows: (blocks, 9), the volumes that each block's response is the mean of.
        labels: (blocks,), its category.
        runs: (blocks,), its run.
    """

    responses: Float
    volumes: Float
    rows: npt.NDArray[np.intp]
    labels: npt.NDArray[np.str_]
    runs: npt.NDArray[np.intp]


# -- data -----------------------------------------------------------------------------------


def run_mindvis(*words: object) -> None:
    """Run a command of mindvis, which has said why if it fails."""
    if mindvis([str(word) for word in words]):
        raise SystemExit(2)


def prepare(source: Path, folder: Path) -> tuple[Path, Path]:
    """The store of blocks and the store of single volumes; those that are there are kept."""
    common = ("--source", source, "--stimulus_column", "null", "--high_pass", "null")
    options = {
        "blocks": ("--lag_start", LAG_START, "--lag_end", LAG_END),
        "volumes": ("--rest_tasks", "[objectviewing]", "--rest_window", TR),
    }
    stores = [folder / f"{name}.h5" for name in options]
    for store, words in zip(stores, options.values(), strict=True):
        if not store.is_file():
            run_mindvis("prepare", "bids", "--store", store, *common, *words)
    return stores[0], stores[1]


def read_blocks(blocks: Path, volumes: Path) -> Blocks:
    """Both stores, and which volumes belong to which block."""
    with VoxelStore(blocks) as store, VoxelStore(volumes) as single:
        trials, times = store[SUBJECT].trials, single[SUBJECT].trials
        rows = []
        for run, onset in zip(trials["run"], trials["onset"], strict=True):
            since = np.round(times["onset"] - onset, 6)
            inside = (times["run"] == run) & (since >= LAG_START) & (since < LAG_END)
            rows.append(np.flatnonzero(inside))
        return Blocks(
            store[SUBJECT].responses(),
            single[SUBJECT].responses(),
            np.stack(rows),
            trials["condition"].to_numpy(str),
            trials["run"].to_numpy(np.intp),
        )


def leave_out(store: Path, run: int, target: Path) -> Path:
    """A store of the volumes of all runs but one."""
    if target.is_file():
        return target
    with VoxelStore(store) as whole:
        stored = whole[SUBJECT]
        kept = np.flatnonzero(stored.trials["run"] != run)
        data = SubjectData(
            responses=stored.responses(kept),
            trials=stored.trials.iloc[kept].reset_index(drop=True),
            ijk=stored.ijk,
            affine=stored.affine,
            shape=stored.shape,
            units=stored.units,
            space=stored.space,
            tr=stored.tr,
        )
        write_store(target, [(SUBJECT, data)], None, whole.attrs)
    return target


# -- stage A --------------------------------------------------------------------------------


def pretrain(store: Path, run: Path, order: str, design: Design) -> Path:
    """Train stage A on a store of volumes, if that is not done; the run folder."""
    sizes = {name: value for name, value in asdict(design).items() if name not in OURS}
    owner = {**dict.fromkeys(DATA, "data"), **dict.fromkeys(TRAINER, "trainer")}
    words = [w for n, v in sizes.items() for w in (f"--{owner.get(n, 'model')}.{n}", v)]
    run_mindvis(
        *("fit", "-c", ROOT / "configs" / "pretrain.yaml", "--output", run),
        *("--data.store", store, "--data.order", order, *words),
        *("--trainer.check_val_every_n_epoch", design.max_epochs),
        *("--figures.every_n_epochs", design.max_epochs),
        *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    )
    return run


def reconstruction(run: Path) -> dict[str, float]:
    """Loss and correlation over hidden voxels of the run that stage A did not train on."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        last = [row for row in csv.DictReader(file) if row.get("val_loss")][-1]
    return {name: float(last[name]) for name in ("val_loss", "val_correlation_masked")}


def linear_reconstruction(store: Path, order: str, design: Design, ridge: float = 0.3) -> float:
    """The same loss for the best linear guess: the mean of a Gaussian given the visible patches.

    Args:
        store: Of volumes; the covariance is that of those that stage A trains on.
        order: Of voxels.
        design: Patches and mask ratio.
        ridge: Added to each voxel's variance, which is 1.
    """
    data = ResponseData(str(store), order=order, patch_size=design.patch_size, val_fraction=0.1)
    seen, unseen = (
        dataset.__getitems__(range(len(dataset)))["voxels"].numpy()
        for dataset in map(data.dataset, ("train", "val"))
    )
    valid = data.preprocessing[SUBJECT].valid
    covariance = np.cov(seen.T) + ridge * np.eye(len(valid))
    patches, losses = len(valid) // design.patch_size, []
    for draw in range(10):
        order_of_patches = numpy_generator("haxby", "mask", draw).permutation(patches)
        visible = order_of_patches < int(patches * (1 - design.mask_ratio))
        given = np.repeat(visible, design.patch_size) & valid
        hidden = ~given & valid
        weights = np.linalg.solve(
            covariance[np.ix_(given, given)], covariance[np.ix_(given, hidden)]
        )
        losses.append(np.mean((unseen[:, given] @ weights - unseen[:, hidden]) ** 2))
    return float(np.mean(losses))


def trained(run: Path) -> tuple[BrainEncoder, Preprocessing]:
    """Encoder and preprocessing of a run of stage A."""
    preprocessing = Preprocessing.load(run)
    return load_encoder(run, preprocessing.length, preprocessing.patch_size), preprocessing


def untrained(run: Path, seed: int) -> tuple[BrainEncoder, Preprocessing]:
    """The same with initial weights."""
    encoder, preprocessing = trained(run)
    torch.manual_seed(seed)
    return BrainEncoder(**{k: v for k, v in encoder.config.items() if k[0] != "_"}), preprocessing


@torch.inference_mode()
def encode(encoder: BrainEncoder, preprocessing: Preprocessing, responses: Float) -> Float:
    """Tokens (n, T, D) of responses (n, voxels)."""
    voxels = torch.from_numpy(preprocessing[SUBJECT](responses))
    return torch.cat([encoder.eval()(part) for part in voxels.split(256)]).numpy()


def token_features(
    encoder: BrainEncoder, preprocessing: Preprocessing, blocks: Blocks
) -> dict[str, Float]:
    """What the classifier may read of the tokens, each (blocks, features)."""
    tokens = encode(encoder, preprocessing, blocks.volumes)[blocks.rows].mean(axis=1)
    return {
        "tokens": tokens.reshape(len(tokens), -1),
        "tokens, averaged over patches": tokens[:, 1:].mean(axis=1),
        "tokens of the mean volume": encode(encoder, preprocessing, blocks.responses).reshape(
            len(tokens), -1
        ),
    }


# -- classification -------------------------------------------------------------------------


def correct(
    features: Float, labels: npt.NDArray[np.str_], test: npt.NDArray[np.bool_], c: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Which test rows are named rightly by the rest, (strengths, rows).

    Features are standardised by the training rows, then turned into the axes of their singular
    vectors, which leaves a logistic regression with an L2 penalty as it is and makes it fast.
    """
    train = features[~test].astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation < 1e-8] = 1
    scaled = (features - mean) / deviation
    turned = scaled @ np.linalg.svd(scaled[~test], full_matrices=False)[2].T
    found = []
    for strength in c:
        model = LogisticRegression(C=strength, max_iter=1000).fit(turned[~test], labels[~test])
        found.append(model.predict(turned[test]) == labels[test])
    return np.array(found)


def leave_one_run_out(
    features: Features, blocks: Blocks, held_out: Iterable[int], c: Sequence[float]
) -> dict[str, Any]:
    """Whether each block of the held-out runs is named rightly, and the strengths that were chosen.

    The strength is the one, of several the smallest, that names most blocks when each of the other
    runs is left out of them in turn.
    """
    right, chosen = [], []
    for run in held_out:
        own, rest = features(run), blocks.runs != run
        best = c[0]
        if len(c) > 1:
            inner = [
                correct(own[rest], blocks.labels[rest], blocks.runs[rest] == other, c).sum(axis=1)
                for other in np.unique(blocks.runs[rest])
            ]
            best = c[int(np.sum(inner, axis=0).argmax())]
        right.append(correct(own, blocks.labels, ~rest, [best])[0])
        chosen.append(best)
    return {"right": np.concatenate(right).astype(float), "chosen_c": chosen}


def score(name: str, result: dict[str, Any], raw: dict[str, Any] | None = None) -> dict[str, Any]:
    """Accuracy with its interval over blocks, and its difference from raw voxels with its own."""
    right = result["right"]
    values: dict[str, Any] = {
        "blocks": len(right),
        "accuracy": right.mean(),
        "interval": bootstrap_interval(right, numpy_generator("haxby", name)),
        "chosen_c": result["chosen_c"],
    }
    if raw is not None:
        difference = right - raw["right"]
        generator = numpy_generator("haxby", name, "difference")
        values["minus_raw_voxels"] = difference.mean()
        values["minus_raw_voxels_interval"] = bootstrap_interval(difference, generator)
    return values


# -- the benchmark --------------------------------------------------------------------------


def averaged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several networks: how often each block is named rightly."""
    right = np.mean([result["right"] for result in results], axis=0)
    return {"right": right, "chosen_c": [c for result in results for c in result["chosen_c"]]}


def measure_order(
    order: str, volumes: Path, blocks: Blocks, folder: Path, design: Design, raw: dict[str, Any]
) -> dict[str, Any]:
    """All encoders of one order of voxels."""
    runs = np.unique(blocks.runs).tolist()
    whole = pretrain(volumes, folder / f"{order}-all", order, design)
    tables = {"transductive": [token_features(*trained(whole), blocks)]}
    tables["untrained"] = [
        token_features(*untrained(whole, seed), blocks) for seed in range(design.untrained)
    ]
    results: dict[str, Any] = {
        "reconstruction_of_unseen_run": reconstruction(whole),
        "linear_val_loss": linear_reconstruction(volumes, order, design),
    }
    for kind, networks in tables.items():
        for name in networks[0]:
            found = [
                leave_one_run_out(lambda _, t=table, n=name: t[n], blocks, runs, design.strengths)
                for table in networks
            ]
            key = f"{kind}: {name}"
            results[key] = score(f"{order} {key}", averaged(found), raw)
    strict = {}
    for run in tqdm(runs[: design.held_out], desc=f"strict, {order}"):
        store = leave_out(volumes, run, folder / f"without-{run:02d}" / "volumes.h5")
        trained_run = pretrain(store, folder / f"{order}-without-{run:02d}", order, design)
        strict[run] = token_features(*trained(trained_run), blocks)
    same = {"right": raw["right"][np.isin(blocks.runs, list(strict))]}
    for name in next(iter(strict.values()), {}):
        found = leave_one_run_out(
            lambda run, n=name: strict[run][n], blocks, strict, design.strengths
        )
        key = f"strict: {name}"
        results[key] = score(f"{order} {key}", found, same)
    return results


def benchmark(source: Path, folder: Path, orders: Sequence[str], design: Design) -> dict[str, Any]:
    """Everything, as a mapping for JSON."""
    stores = prepare(source, folder)
    blocks = read_blocks(*stores)
    runs = np.unique(blocks.runs).tolist()
    fixed = leave_one_run_out(lambda _: blocks.responses, blocks, runs, [REFERENCE_C])
    raw = leave_one_run_out(lambda _: blocks.responses, blocks, runs, design.strengths)
    return {
        "design": asdict(design),
        "blocks": len(blocks.labels),
        "voxels": blocks.responses.shape[1],
        "volumes": len(blocks.volumes),
        "chance": CHANCE,
        "reference": REFERENCE,
        "raw voxels, C 0.01": score("reference", fixed),
        "raw voxels": score("raw", raw),
        "orders": {o: measure_order(o, stores[1], blocks, folder, design, raw) for o in orders},
    }


def table(content: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    rows = [("raw voxels, C 0.01", content["raw voxels, C 0.01"])]
    rows.append(("raw voxels", content["raw voxels"]))
    for order, results in content["orders"].items():
        rows += [
            (f"{order}, {k}", v)
            for k, v in results.items()
            if isinstance(v, dict) and "accuracy" in v
        ]
    lines = ["| read by the classifier | accuracy | 95 % | minus raw voxels |", "|---|---|---|---|"]
    for name, row in rows:
        low, high = row["interval"] or (float("nan"),) * 2
        text = f"| {name} | {row['accuracy']:.3f} | {low:.2f} to {high:.2f} | "
        if "minus_raw_voxels" in row:
            low, high = row["minus_raw_voxels_interval"]
            text += f"{row['minus_raw_voxels']:+.3f} ({low:+.2f} to {high:+.2f}) "
        lines.append(text + "|")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the benchmark; print its table and where its JSON is."""
    parser = argparse.ArgumentParser(prog="benchmarks.haxby", description=__doc__.split("\n")[0])
    parser.add_argument("--source", default="../shared/data/haxby2001-slice", help="BIDS folder")
    parser.add_argument("--output", default="runs/haxby", help="folder of stores, runs and result")
    parser.add_argument("--orders", nargs="+", default=["hilbert"], choices=["hilbert", "stored"])
    parser.add_argument("--size", default="small", choices=SIZES, help="of BrainMAE")
    parser.add_argument("--held_out", type=int, default=12, help="runs with a strict encoder")
    parser.add_argument("--fast", action="store_true", help="toy size: shows that it runs")
    options = parser.parse_args(args)
    design = SIZES["toy" if options.fast else options.size]
    design = replace(design, held_out=min(design.held_out, options.held_out))
    content = benchmark(Path(options.source), Path(options.output), options.orders, design)
    path = write_report("haxby", {"fast": options.fast, **content}, options.output)
    sys.stdout.write(f"{table(content)}\n{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
