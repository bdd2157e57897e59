"""Import of a MinD-Vis checkpoint at its true size: seconds, memory over the file's size, and bits.

The file is written with random weights in a process of its own; each import is another process.
Peak memory counts pages of the file that are mapped; `own_bytes` is the largest that the process
held of its own (sampled), which shows that weights are not copied. After the last import every
tensor of the folder is compared with the file's.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks import machine
from benchmarks.finetune import TRUE, Size, StageB
from mindvis.cli import main
from mindvis.models.legacy.configuration import compvis_config
from mindvis.models.legacy.exporting import export_pipeline
from mindvis.models.legacy.reading import read_checkpoint
from mindvis.tasks.noising import make_noise_schedule

GOAL = {"seconds": 60, "of_file": 3.0}
TOY = Size(160, 32, 2, 4, 24, 32, (32, 64), 1, (32, 32, 32), 1, 32, batch_size=2, steps=1)
INTERVAL = 0.02


def write(file: str, fast: bool) -> dict[str, Any]:
    """A checkpoint.pth of the true names and sizes, its config.yaml beside it; its bytes."""
    size = TOY if fast else TRUE
    with torch.no_grad():
        model = StageB(size)
    schedule = make_noise_schedule().config
    parts = (model.unet, model.first_stage, schedule)
    torch.save(export_pipeline(model.encoder, model.conditioner, *parts), file)
    Path(file).with_name("config.yaml").write_text(json.dumps(compvis_config(*parts)))
    return {"bytes": Path(file).stat().st_size}


def read(file: str, output: str) -> dict[str, Any]:
    """Import it with the command; seconds, and memory of the process itself, before and most."""
    before = own_bytes()
    with largest(own_bytes) as most:
        start = time.perf_counter()
        code = main(["import-checkpoint", file, "--output", output])
        seconds = time.perf_counter() - start
    return {"code": code, "seconds": seconds, "before": before, "own_bytes": most[0]}


def own_bytes() -> int:
    """Memory of this process that is no page of a file, where the system tells; else 0."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


@contextmanager
def largest(value: Any) -> Iterator[list[int]]:
    """The largest of a number while the block runs, looked at from a thread."""
    most, done = [value()], threading.Event()

    def look() -> None:
        while not done.wait(INTERVAL):
            most[0] = max(most[0], value())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def compare(file: str, output: str) -> dict[str, Any]:
    """Whether each tensor of the folder has the bits of the file's; how many there are."""
    weights = read_checkpoint(file)["model_state_dict"]
    report = json.loads((Path(output) / "import.json").read_text())
    parts: dict[str, dict[str, torch.Tensor]] = {}
    equal = 0
    for name, place in report["used"].items():
        part, _, ours = place.partition("/")
        if part not in parts:
            parts.clear()  # one component at a time
            (path,) = (Path(output) / part).glob("*.safetensors")
            parts[part] = load_file(path)
        equal += torch.equal(weights[name].flatten(), parts[part][ours].flatten())
    return {"tensors": len(report["used"]), "equal": equal, "left_out": len(report["left_out"])}


def measure(fast: bool) -> dict[str, Any]:
    """One file, imported thrice; `fast` is one import of a toy."""
    launches = 1 if fast else 3
    with tempfile.TemporaryDirectory(prefix="mindvis-legacy-") as folder:
        paths = {"file": f"{folder}/checkpoint.pth", "output": f"{folder}/model"}
        size = machine.launch("benchmarks.legacy:write", {"file": paths["file"], "fast": fast})
        runs = [machine.launch("benchmarks.legacy:read", paths) for _ in range(launches)]
        checked = machine.launch("benchmarks.legacy:compare", paths)
    file_bytes = size["bytes"]
    peak = machine.typical(runs, "peak_bytes")
    return {
        "goal": GOAL,
        "launches": launches,
        "file_bytes": file_bytes,
        "succeeded": all(run["code"] == 0 for run in runs),
        "seconds": machine.typical(runs, "seconds"),
        "seconds_smallest_and_largest": machine.spread(runs, "seconds"),
        "peak_bytes": peak,
        "of_file": peak / file_bytes,
        "own_bytes_before_and_most": [
            machine.typical(runs, "before"),
            machine.typical(runs, "own_bytes"),
        ],
        "tensors": checked["tensors"],
        "tensors_equal": checked["equal"],
        "tensors_left_out": checked["left_out"],
    }
