"""Train each tiny stage twice, once undisturbed and once killed (SIGKILL) and repeated.

A script, not a test: it imports once and forks a process for each `mindvis fit`. Prints, for each
stage, how often it was killed, and for both runs the checksum of every file of the model.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from mindvis.files import sha256
from mindvis.training import fit

CONFIGS = Path(__file__).parents[2] / "configs"
LENGTH = {"pretrain": 6, "latent": 6, "finetune": 5}
KILLS = 2


def command(stage, store, root, kind):
    run = root / kind / stage
    args = ["-c", CONFIGS / f"{stage}.yaml", "-c", CONFIGS / "size" / "tiny" / f"{stage}.yaml"]
    args += ["--data.store", store, "--output", run, "--checkpoint.every_minutes", "0"]
    args += ["--trainer.max_epochs", LENGTH[stage], "--trainer.enable_progress_bar", "false"]
    args += ["--ema.decay", "0.9"]
    if stage == "latent":
        args += ["--data.pictures", "null", "--model.first_stage_epochs", "3"]
    if stage == "finetune":
        args += ["--model.encoder", root / "whole" / "pretrain"]
        args += ["--model.ldm", root / "whole" / "latent"]
    return run, [str(word) for word in args]


def start(args):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            fit(args)
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return pid


def kill_after_a_checkpoint(pid, checkpoint, rng):
    """Kill the process at a random moment after it wrote a checkpoint; False if it was faster."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def train(stage, store, root, kind, rng):
    run, args = command(stage, store, root, kind)
    killed = 0
    for _ in range(KILLS if kind == "killed" else 0):
        killed += kill_after_a_checkpoint(start(args), run / "checkpoints" / "last.ckpt", rng)
    status = os.waitpid(start(args), 0)[1]
    files = [path for path in sorted((run / "model").rglob("*")) if path.is_file()]
    sums = {str(path.relative_to(run)): sha256(path) for path in files}
    epochs = [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    return {"status": status, "killed": killed, "sums": sums, "epochs": sorted(set(epochs))}


def main():
    store, root = Path(sys.argv[1]), Path(sys.argv[2])
    rng = random.Random(0)
    result = {
        stage: {kind: train(stage, store, root, kind, rng) for kind in ("whole", "killed")}
        for stage in LENGTH
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
