"""Decoding: DPM-Solver++ 25, batched, channels_last, against PLMS 250, one stimulus at a time.

    python -m benchmarks.run decode [--fast]                              random weights, true size
    python -m benchmarks.decode --model RUN --store FILE [--judge RUN]    a trained model in full

Ours computes in bfloat16 where the processor has such arithmetic, else in float32. The reference
decodes as MinD-Vis does: one stimulus at a time in float32, its draws together, the same response
encoded anew for each draw. Both ways start from the same noise. With random weights at
true size a few evaluations of the network are timed and the sampling scaled to all of them. For a
trained model the check lies beside the speed: the scores of both ways, the interval of the
reference's over stimuli, and how alike the pictures are.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import ROOT, alternate, has_bfloat16, spread, typical, write_report
from mindvis.data.store import VoxelStore
from mindvis.decoding.decode import load_pipeline, preprocessing_of
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.decoding.plan import batches, choose_subjects, mean_response, plan_items
from mindvis.metrics.features import Judge
from mindvis.metrics.functional import n_way_accuracy, pixel_correlation
from mindvis.metrics.statistics import bootstrap_interval
from mindvis.models.autoencoder import build_first_stage
from mindvis.models.conditioning import BrainConditioner, Conditioning
from mindvis.models.denoiser import build_denoiser
from mindvis.models.encoder import BrainEncoder
from mindvis.models.sampling import make_scheduler
from mindvis.seeding import numpy_generator, torch_generator
from mindvis.tasks.noising import make_noise_schedule

GOAL = 20
Pictures = npt.NDArray[np.float32]


class Way(NamedTuple):
    """One way to decode."""

    scheduler: str
    steps: int
    dtype: str
    batched: bool

    @property
    def evaluations(self) -> int:
        """Of the network in a whole run; the first step of PLMS takes two."""
        return self.steps + (self.scheduler == "plms")


WAYS = {
    "reference": Way("plms", 250, "float32", batched=False),
    "mindvis": Way("dpm", 25, "bfloat16" if has_bfloat16() else "float32", batched=True),
}
SIZES: dict[str, dict[str, Any]] = {
    "paper": {
        "encoder": {"num_voxels": 4656},
        "context": {"context_dim": 512, "pooled_dim": 512},
        "unet": {
            "sample_size": 64,
            "block_out_channels": (192, 384, 576, 960),
            "layers_per_block": 2,
            "attention_head_dim": None,
        },
        "vae": {"block_out_channels": (128, 256, 512), "layers_per_block": 2, "num_codes": 8192},
    },
    "toy": {
        "encoder": {"num_voxels": 96, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4},
        "context": {"context_dim": 32, "pooled_dim": 32, "num_context_tokens": 8},
        "unet": {"sample_size": 8, "block_out_channels": (32, 64), "attention_head_dim": 16},
        "vae": {"block_out_channels": (16, 32), "num_codes": 32},
    },
}


def random_pipeline(size: str, way: Way) -> MindVisPipeline:
    """Untrained networks: the arithmetic of trained ones, pictures of nothing."""
    torch.manual_seed(0)
    shape = SIZES[size]
    encoder = BrainEncoder(**shape["encoder"])
    width, context = encoder.config.embed_dim, shape["context"]
    conditioner = BrainConditioner(encoder.num_tokens, width, **context)
    widths = {key: context[key] for key in ("context_dim", "pooled_dim")}
    unet = build_denoiser(in_channels=3, **widths, **shape["unet"])
    vae = build_first_stage("vq", latent_channels=3, **shape["vae"])
    dtype = getattr(torch, way.dtype)
    parts = [part.eval().to(dtype) for part in (encoder, conditioner, unet, vae)]
    scheduler = make_scheduler(way.scheduler, make_noise_schedule().config)
    pipeline = MindVisPipeline(*parts, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    if way.batched:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


def responses_to(pipeline: MindVisPipeline, store: str, model: str, stimuli: int) -> torch.Tensor:
    """Transformed responses (stimuli, V) to the first test stimuli of the first subject."""
    preprocessing = preprocessing_of(pipeline, model)
    with VoxelStore(store) as opened:
        subject, items = _first(opened, preprocessing, stimuli)
        means = np.stack([mean_response(opened[subject], item.rows) for item in items])
    return torch.from_numpy(preprocessing[subject](means))


def _first(opened: VoxelStore, preprocessing: Any, stimuli: int) -> tuple[str, list[Any]]:
    subject = choose_subjects(opened, preprocessing, None)[0]
    return subject, plan_items(opened, [subject], "test", "average", controls=False)[:stimuli]


def decode(
    way: str,
    size: str | None = None,
    model: str | None = None,
    store: str | None = None,
    stimuli: int = 2,
    draws: int = 5,
    guidance: float = 1.0,
    steps: int | None = None,
    pictures: str | None = None,
) -> dict[str, Any]:
    """Decode one way; seconds for each picture of a whole run, and its three parts."""
    chosen = WAYS[way]
    if model and store:
        pipeline = load_pipeline(model, chosen.scheduler, "cpu", chosen.dtype, chosen.batched)
        voxels = responses_to(pipeline, store, model, stimuli)
    else:
        pipeline = random_pipeline(size or "toy", chosen)
        shape = (stimuli, pipeline.encoder.config.num_voxels)
        voxels = torch.randn(shape, generator=torch_generator(0, "voxels"))
    timed = chosen._replace(steps=steps or chosen.steps)
    clock = Clock()
    images = run(pipeline, voxels, draws, timed, guidance, clock)
    clock.seconds["sampling"] *= chosen.evaluations / timed.evaluations
    if pictures:
        np.save(pictures, images.reshape(stimuli, draws, *images.shape[1:]))
    parts = {name: seconds / len(images) for name, seconds in clock.seconds.items()}
    return {"seconds": sum(parts.values()), **parts}


class Clock:
    """Seconds spent in each part."""

    def __init__(self) -> None:
        self.seconds = {"encoding": 0.0, "sampling": 0.0, "first_stage": 0.0}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[part] += time.perf_counter() - start
        return result


def run(
    pipeline: MindVisPipeline,
    voxels: torch.Tensor,
    draws: int,
    way: Way,
    guidance: float,
    clock: Clock,
    batch_size: int = 20,
) -> Pictures:
    """Pictures (stimuli x draws, H, W, 3) in [0, 1]; the noise of each is the same in both ways."""
    pairs = [(stimulus, draw) for stimulus in range(len(voxels)) for draw in range(draws)]
    encoded = clock("encoding", lambda: pipeline.encode(voxels)) if way.batched else None
    images = []
    for batch in batches(pairs, batch_size if way.batched else draws):
        rows = [stimulus for stimulus, _ in batch]
        if encoded is None:
            given = clock("encoding", lambda rows=rows: pipeline.encode(voxels[rows]))
        else:
            given = Conditioning(encoded.context[rows], encoded.pooled[rows])
        noise = [torch_generator(0, stimulus, draw) for stimulus, draw in batch]
        options = {"conditioning": given, "generator": noise, "num_inference_steps": way.steps}
        options |= {"guidance_scale": guidance, "output_type": "latent", "return_dict": False}
        latents = clock("sampling", lambda options=options: pipeline(**options)[0])
        with torch.no_grad():
            decoded = clock(
                "first_stage", lambda latents=latents: pipeline.to_images(latents, "np")
            )
        images.append(decoded)
    return np.concatenate(images)


def compare(variants: dict[str, dict[str, Any]], launches: int) -> dict[str, Any]:
    """Both ways, alternated: seconds a picture, their parts, the ratio."""
    results = alternate("benchmarks.decode:decode", variants, launches)
    seconds = {way: typical(runs, "seconds") for way, runs in results.items()}
    parts = ("encoding", "sampling", "first_stage")
    return {
        "variants": variants,
        "ways": {way: WAYS[way]._asdict() for way in variants},
        "launches": launches,
        "threads": torch.get_num_threads(),
        "seconds_of_a_picture": seconds,
        "seconds_smallest_and_largest": {w: spread(r, "seconds") for w, r in results.items()},
        "parts": {w: {part: typical(r, part) for part in parts} for w, r in results.items()},
        "peak_memory_bytes": {w: typical(r, "peak_bytes") for w, r in results.items()},
        "ratio": seconds["reference"] / seconds["mindvis"],
        "goal": GOAL,
    }


def measure(fast: bool) -> dict[str, Any]:
    """Random weights: the paper's size, a few evaluations timed; `fast` is a toy in full."""
    with tempfile.TemporaryDirectory() as folder:
        if not fast:
            shared = {"size": "paper", "draws": 3}
            few = {"reference": {"stimuli": 1, "steps": 2}, "mindvis": {"stimuli": 2, "steps": 3}}
            return compare({way: {"way": way, **shared, **few[way]} for way in WAYS}, 3)
        places = {way: str(Path(folder, f"{way}.npy")) for way in WAYS}
        toy = {"size": "toy", "stimuli": 3, "draws": 2}
        speed = compare(
            {way: {"way": way, **toy, "pictures": places[way]} for way in WAYS}, launches=1
        )
        return speed | {"check": likeness({way: np.load(places[way]) for way in WAYS})}


def trained(options: argparse.Namespace) -> dict[str, Any]:
    """A trained model in full, with the scores of both ways."""
    with tempfile.TemporaryDirectory() as folder:
        places = {way: str(Path(folder, f"{way}.npy")) for way in WAYS}
        shared = {key: getattr(options, key) for key in ("model", "store", "stimuli", "draws")}
        shared["guidance"] = options.guidance
        variants = {way: {"way": way, **shared, "pictures": places[way]} for way in WAYS}
        speed = compare(variants, options.launches)
        pictures = {way: np.load(places[way]) for way in WAYS}
    return speed | {"check": likeness(pictures) | scores(pictures, options)}


def likeness(pictures: dict[str, Pictures]) -> dict[str, Any]:
    """Pixel correlation between the two ways' pictures of the same response and noise."""
    one, other = (torch.from_numpy(pictures[way]).movedim(-1, -3) for way in WAYS)
    alike = pixel_correlation(one, other)
    return {"correlation_of_pictures": {"mean": alike.mean().item(), "least": alike.min().item()}}


def scores(pictures: dict[str, Pictures], options: argparse.Namespace) -> dict[str, Any]:
    """Both ways' scores, the reference's interval, and whether ours lies within it."""
    pipeline = load_pipeline(options.model, device="cpu")
    with VoxelStore(options.store) as opened:
        preprocessing = preprocessing_of(pipeline, options.model)
        _, items = _first(opened, preprocessing, options.stimuli)
        truths = opened.stimuli.images(opened.stimuli.index([item.name for item in items]))
    result = {}
    for name, score in scorers(truths, options).items():
        values = {way: score(images).mean(1).numpy() for way, images in pictures.items()}
        interval = bootstrap_interval(values["reference"], numpy_generator(0, name))
        ours = float(values["mindvis"].mean())
        result[name] = {
            "reference": float(values["reference"].mean()),
            "reference_interval": interval,
            "mindvis": ours,
            "within": interval is not None and interval[0] <= ours <= interval[1],
        }
    return result


def scorers(
    truths: npt.NDArray[np.uint8], options: argparse.Namespace
) -> dict[str, Callable[[Pictures], torch.Tensor]]:
    """Functions of pictures (stimuli, draws, H, W, 3) that give scores (stimuli, draws)."""
    true = torch.from_numpy(truths).movedim(-1, -3)[:, None] / 255

    def correlation(images: Pictures) -> torch.Tensor:
        return pixel_correlation(torch.from_numpy(images).movedim(-1, -3), true)

    if options.judge is None:
        return {"pixel_correlation": correlation}
    judge = Judge.load(options.judge)
    target = judge.probabilities(truths).argmax(-1)

    def n_way(images: Pictures) -> torch.Tensor:
        flat = (images.reshape(-1, *images.shape[2:]) * 255).round().astype(np.uint8)
        probabilities = judge.probabilities(flat).reshape(*images.shape[:2], -1)
        return n_way_accuracy(
            probabilities, target[:, None].expand(images.shape[:2]), options.n_way
        )

    return {"pixel_correlation": correlation, f"{options.n_way}_way_top_1": n_way}


def main(args: Sequence[str] | None = None) -> int:
    """Compare both ways on a trained model; print where the result is."""
    parser = argparse.ArgumentParser(prog="benchmarks.decode")
    parser.add_argument("--model", required=True, help="folder of a finetune run")
    parser.add_argument("--store", required=True, help="the store that it was trained on")
    parser.add_argument("--judge", help="folder of an image classifier, for n-way accuracy")
    parser.add_argument("--n-way", type=int, default=50)
    parser.add_argument("--stimuli", type=int, default=16)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--guidance", type=float, default=2.0, help="of both ways")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--output", default=ROOT / "benchmarks" / "results", help="folder")
    options = parser.parse_args(args)
    options.model, options.store = (str(Path(p).resolve()) for p in (options.model, options.store))
    path = write_report("decode-trained", trained(options), options.output)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
