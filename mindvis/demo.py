"""The main job on the embedded default: simulate, prepare, train, decode, evaluate, report."""

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindvis.cli import main
from mindvis.console import say
from mindvis.errors import MindVisError
from mindvis.files import config_folder

SIZES = {
    "demo": {
        "simulate": ["--image_size", "32"],
        "decode": ["--draws", "5", "--steps", "20", "--guidance", "3"],
    },
    "quick": {
        "simulate": ["--trials", "96", "--test_repeats", "2", "--pictures", "256"],
        "decode": ["--draws", "2", "--steps", "5"],
    },
}


def demo(output: str = "runs/demo", quick: bool = False, seed: int = 0) -> None:
    """Run the whole method on a simulated observer: two brains, 64 classes, to a scored report.

    Every step is a command of its own and is printed before it runs. A demo that was interrupted
    goes on where it was when the same command is given again.

    Args:
        output: Folder for the data, the runs and the report.
        quick: The same steps in a minute or two, on too little data to decode well.
        seed: Of the simulated observer; training and decoding have their own.

    Raises:
        MindVisError: A step refused its input; it has said why.
    """
    began = time.perf_counter()
    size = "quick" if quick else "demo"
    for command in plan(Path(output), config_folder(), size, seed):
        start = time.perf_counter()
        say(f"\n$ mindvis {shlex.join(command)}")
        if main(command) != 0:
            raise MindVisError(f"`mindvis {command[0]}` failed", remedy="the line above says why")
        say(f"({time.perf_counter() - start:.0f} s)")
    say(f"\ndone in {time.perf_counter() - began:.0f} s")


def plan(folder: Path, configs: Path, size: str, seed: int) -> Iterator[list[str]]:
    """The commands of the demo, in order.

    Args:
        folder: Where everything is written.
        configs: The shipped configurations.
        size: A key of `SIZES`, and a folder of `configs/size`.
        seed: Of the observer.

    Yields:
        The words after `mindvis`.
    """
    data, store = str(folder / "data"), str(folder / "store.h5")
    pictures = str(folder / "data" / "sourcedata" / "pictures")
    run = {stage: str(folder / stage) for stage in ("judge", "pretrain", "latent", "finetune")}
    decoded = str(folder / "decoded")
    stages: dict[str, Sequence[str]] = {
        "judge": ["--data.pictures", pictures],
        "pretrain": ["--data.store", store],
        "latent": ["--data.pictures", pictures],
        "finetune": [
            *("--data.store", store),
            *("--model.encoder", run["pretrain"], "--model.ldm", run["latent"]),
        ],
    }
    yield ["simulate", data, "--seed", str(seed), *SIZES[size]["simulate"]]
    yield ["prepare", "bids", "--source", data, "--store", store, "--voxels", "rois"]
    yield ["inspect", store]
    for stage, options in stages.items():
        own = [str(configs / f"{stage}.yaml"), str(configs / "size" / size / f"{stage}.yaml")]
        yield ["fit", "-c", own[0], "-c", own[1], *options, "--output", run[stage]]
    arguments = ["--store", store, "--output", decoded, "--subjects", "[sub-01]"]
    yield ["decode", run["finetune"], *arguments, *SIZES[size]["decode"]]
    yield ["evaluate", decoded, "--judge", run["judge"], "--runs", str(list(run.values()))]
