"""Stage A: a training step of BrainMAE against the same step with the attention matrix written out.

The twin has the same weights and sees the same batches; its attention is softmax(Q K') V with the
matrix in memory, its AdamW the unfused loop. Losses of both are compared before times are. The rate
counts the arithmetic that the formula needs, by torch's counter over the twin, against the rate of
a large float32 matrix product, measured in the same process right before and after.
"""

import dataclasses
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import alternate, matmul_rate, spread, typical
from mindvis.models.layers import Attention
from mindvis.models.mae import BrainMAE

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Size:
    """A network and its batch."""

    num_voxels: int
    embed_dim: int
    depth: int
    num_heads: int
    decoder_embed_dim: int
    decoder_depth: int
    decoder_num_heads: int
    batch_size: int
    steps: int


SIZES = {
    "paper": Size(4656, 1024, 24, 16, 512, 8, 16, batch_size=8, steps=2),
    "small": Size(4656, 256, 6, 8, 128, 8, 8, batch_size=32, steps=5),
}
FAST = {"toy": Size(160, 32, 2, 4, 16, 2, 4, batch_size=4, steps=2)}
GOALS = {"paper": {"ratio": 1.3, "of_peak": 0.8}, "small": {"ratio": 2.2, "of_peak": 0.6}}


class ExplicitAttention(Attention):
    """The same weights, with the matrix of attention in memory."""

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = (query @ key.transpose(-2, -1)) * self.head_dim**-0.5
        return scores.softmax(dim=-1) @ value


def build(size: Size, explicit: bool) -> BrainMAE:
    torch.manual_seed(0)
    arguments = dataclasses.asdict(size)
    del arguments["batch_size"], arguments["steps"]
    mae = BrainMAE(**arguments)
    torch.nn.init.xavier_uniform_(mae.decoder_pred.weight)  # from zero all losses begin alike
    for module in mae.modules():
        if explicit and isinstance(module, Attention):
            module.__class__ = ExplicitAttention
    return mae


def optimiser(mae: BrainMAE, explicit: bool) -> torch.optim.AdamW:
    kind = {"fused": False, "foreach": False} if explicit else {"fused": True}
    return torch.optim.AdamW(mae.parameters(), lr=2.5e-4, betas=(0.9, 0.95), **kind)


def train(size: str, explicit: bool, fast: bool) -> dict[str, Any]:
    """A few training steps after one that does not count: seconds of each, and every loss.

    The machine's matrix rate is measured before and after, in the same minute as the steps.
    """
    shape = (FAST if fast else SIZES)[size]
    peaks = [matmul_rate(seconds=0.1 if fast else 1.0)]
    mae = build(shape, explicit)
    optimizer = optimiser(mae, explicit)
    generator = torch.Generator().manual_seed(1)
    seconds, losses = [], []
    for _ in range(shape.steps + 1):
        voxels = torch.randn(shape.batch_size, shape.num_voxels, generator=generator)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = mae(voxels, 0.75, generator=generator).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(mae.parameters(), 0.8)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    peaks.append(matmul_rate(seconds=0.1 if fast else 1.0))
    return {"seconds": seconds[1:], "losses": losses, "matrix_rates": peaks}


def step_flops(size: Size) -> int:
    """Floating-point operations of forward and backward, by torch's counter, nothing computed."""
    with torch.device("meta"):
        mae = build(size, explicit=True)
        voxels = torch.randn(size.batch_size, size.num_voxels)
        noise = torch.rand(size.batch_size, mae.num_patches)
        with FlopCounterMode(display=False) as counter:
            mae(voxels, 0.75, noise).loss.backward()
    return int(counter.get_total_flops())


def compare(name: str, size: Size, fast: bool, launches: int) -> dict[str, Any]:
    """Both variants of one size, alternated; their ratio, rate and memory."""
    variants = {
        kind: {"size": name, "explicit": kind == "explicit", "fast": fast}
        for kind in ("explicit", "mindvis")
    }
    results = alternate("benchmarks.mae:train", variants, launches)
    ours = results["mindvis"]
    pairs = zip(results["explicit"][0]["losses"], ours[0]["losses"], strict=True)
    difference = max(abs(a - b) / abs(a) for a, b in pairs)
    seconds = {kind: typical(runs, "seconds") for kind, runs in results.items()}
    gflop = step_flops(size) / 1e9
    shares = [gflop / median(run["seconds"]) / median(run["matrix_rates"]) for run in ours]
    return {
        "size": dataclasses.asdict(size),
        "losses_agree": difference <= TOLERANCE,
        "largest_relative_difference_of_loss": difference,
        "seconds_of_a_step": seconds,
        "seconds_smallest_and_largest": {k: spread(r, "seconds") for k, r in results.items()},
        "ratio": seconds["explicit"] / seconds["mindvis"],
        "gflop_of_a_step": gflop,
        "gflop_per_second": gflop / seconds["mindvis"],
        "matrix_product_gflop_per_second": typical(ours, "matrix_rates"),
        "of_peak": median(shares),
        "of_peak_smallest_and_largest": [min(shares), max(shares)],
        "peak_memory_bytes": {kind: typical(runs, "peak_bytes") for kind, runs in results.items()},
        "goal": GOALS.get(name),
    }


def measure(fast: bool) -> dict[str, Any]:
    """Every size; `fast` is one launch of a toy."""
    sizes, launches = (FAST, 1) if fast else (SIZES, 5)
    return {"threads": torch.get_num_threads(), "launches": launches} | {
        name: compare(name, size, fast, launches) for name, size in sizes.items()
    }
