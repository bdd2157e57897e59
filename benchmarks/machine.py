"""What every benchmark shares: fresh processes, alternated launches, the machine's own rate.

A speed is a ratio of medians over launches that alternate, each in a process of its own, on the
same machine within one run; seconds are kept beside it and mean little elsewhere.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from mindvis.files import write_json
from mindvis.provenance import environment

ROOT = Path(__file__).resolve().parents[1]
Launch = dict[str, Any]


def matmul_rate(size: int = 2048, seconds: float = 2.0) -> float:
    """The machine's float32 matrix rate, GFLOP/s: the median over products of (size, size)."""
    left, right = torch.randn(2, size, size).unbind(0)
    times = repeat(lambda: left @ right, seconds)
    return 2 * size**3 / median(times) / 1e9


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16, or imitates it many times slower."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def repeat(work: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call of `work`, after one that does not count, for about `seconds`."""
    work()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def peak_bytes() -> int:
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # unlike getrusage, this forgets the process that started us
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def launch(function: str, arguments: Mapping[str, Any]) -> Launch:
    """Call "module:function" in a fresh process; its mapping comes back with its peak memory.

    Raises:
        RuntimeError: The process failed; the message is its error output.
    """
    command = [sys.executable, "-m", "benchmarks.machine", function, json.dumps(dict(arguments))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{function} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def alternate(
    function: str, variants: Mapping[str, Mapping[str, Any]], launches: int
) -> dict[str, list[Launch]]:
    """Launch every variant in turn, `launches` times, so that a slow minute hits all alike."""
    results: dict[str, list[Launch]] = {name: [] for name in variants}
    for _ in tqdm(range(launches), desc=function):
        for name, arguments in variants.items():
            results[name].append(launch(function, arguments))
    return results


def typical(results: list[Launch], key: str) -> float:
    """Median over launches of a launch's number, or of the median of its numbers."""
    values = [r[key] if isinstance(r[key], int | float) else median(r[key]) for r in results]
    return float(median(values))


def spread(results: list[Launch], key: str) -> list[float]:
    """Smallest and largest over launches of what `typical` takes the median of."""
    values = [r[key] if isinstance(r[key], int | float) else median(r[key]) for r in results]
    return [float(min(values)), float(max(values))]


def write_report(name: str, content: Mapping[str, Any], output: str | Path) -> Path:
    """Write OUTPUT/name.json: the numbers, the machine, versions and commit."""
    path = Path(output) / f"{name}.json"
    write_json(path, {"benchmark": name, **content, "environment": environment()})
    return path


def serve(function: str, arguments: str) -> None:
    """The other side of `launch`: call the function, print its mapping as the last line."""
    module, name = function.split(":")
    result = getattr(import_module(module), name)(**json.loads(arguments))
    sys.stdout.write(json.dumps({**result, "peak_bytes": peak_bytes()}) + "\n")


if __name__ == "__main__":
    serve(*sys.argv[1:])
