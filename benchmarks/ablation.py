"""What stage A is worth: stage B from its encoder, and from a random one of the same size.

    python -m benchmarks.ablation --demo runs/demo

takes the runs of `mindvis demo`, repeats stage B with `--model.encoder_weights random` and the
same budget, decodes and scores both, and prints a table. All randomness but the encoder's initial
weights is the same in both. `--seeds` repeats both arms with other seeds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import ROOT, write_report
from mindvis.cli import main as mindvis

ARMS = ("pretrained", "random")
METRICS = ("n_way", "pixel_correlation", "ssim")


def run(words: Sequence[str]) -> None:
    """Run a command of mindvis.

    Raises:
        RuntimeError: It refused; it has said why.
    """
    if mindvis(list(words)):
        raise RuntimeError(f"mindvis {words[0]} failed")


def score(demo: Path, arm: str, seed: int) -> dict[str, Any]:
    """Train stage B of one arm beside the demo's own runs, decode, and read its metrics."""
    folder = demo / "ablation" / f"{arm}-{seed}"
    options = ["--model.encoder_weights", arm, "--seed_everything", str(seed)]
    seeds = ["--model.seed", str(seed), "--data.seed", str(seed)]
    config = ["-c", str(demo / "finetune" / "config.yaml")]
    run(["fit", *config, *options, *seeds, "--output", str(folder / "finetune")])
    decoded, store = str(folder / "decoded"), str(demo / "store.h5")
    chosen = yaml.safe_load((demo / "decoded" / "config.yaml").read_text())
    same = {name: chosen[name] for name in ("draws", "steps", "guidance", "subjects")}
    words = [word for name, value in same.items() for word in (f"--{name}", json.dumps(value))]
    run(["decode", str(folder / "finetune"), "--store", store, "--output", decoded, *words])
    run(["evaluate", decoded, "--judge", str(demo / "judge"), "--ridge", "false"])
    content = json.loads((folder / "decoded" / "metrics.json").read_text())
    return {
        **{name: content["metrics"][name] for name in METRICS},
        "strata": {name: part["metrics"]["n_way"] for name, part in content["strata"].items()},
    }


def main(args: Sequence[str] | None = None) -> int:
    """Score both arms for every seed and write `ablation.json`."""
    parser = argparse.ArgumentParser(prog="benchmarks.ablation", description=__doc__)
    parser.add_argument("--demo", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", default=ROOT / "benchmarks" / "results", help="folder")
    options = parser.parse_args(args)
    demo = options.demo.resolve()
    results = {arm: {str(seed): score(demo, arm, seed) for seed in options.seeds} for arm in ARMS}
    for arm, by_seed in results.items():
        for seed, metrics in by_seed.items():
            low, high = metrics["n_way"]["ci95"]
            value = metrics["n_way"]["value"]
            sys.stdout.write(f"{arm:<12} seed {seed}: {value:.3f} ({low:.3f} to {high:.3f})\n")
    sys.stdout.write(f"{write_report('ablation', results, options.output)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
