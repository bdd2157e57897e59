"""Decoding: DPM-Solver++ 25, batched, bf16, channels_last, against PLMS 250, fp32, one by one.

    python benchmarks/decode.py --model RUN --store FILE [--judge RUN]   a trained model, with scores
    python benchmarks/decode.py --size true                              the paper's sizes, random
    python benchmarks/decode.py --fast                                   seconds, to see that it runs

The reference decodes as MinD-Vis does: one stimulus at a time, its draws together, the same response
encoded once for each draw, 251 evaluations of the network. Both ways start from the same noise, and
the check lies beside the speed: scores of both with the interval of the reference's over stimuli,
and how alike the pictures are. Where 250 steps take hours, `--reference-steps N` times N of them and
scales the sampling to 250; then there are no scores, and the result says so.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import alternate, write_result
from tqdm import tqdm

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

PLMS_STEPS, DPM_STEPS = 250, 25
SIZES: dict[str, dict[str, Any]] = {
    "true": {
        "encoder": {"num_voxels": 4656, "patch_size": 16},
        "context": {"context_dim": 512, "pooled_dim": 512, "num_context_tokens": 77},
        "unet": {"sample_size": 64, "block_out_channels": (192, 384, 576, 960)},
        "unet_rest": {"layers_per_block": 2, "attention_head_dim": None},
        "vae": {"block_out_channels": (128, 256, 512), "layers_per_block": 2, "num_codes": 8192},
    },
    "tiny": {
        "encoder": {"num_voxels": 96, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4},
        "context": {"context_dim": 32, "pooled_dim": 32, "num_context_tokens": 8},
        "unet": {"sample_size": 8, "block_out_channels": (32, 64)},
        "unet_rest": {"layers_per_block": 1, "attention_head_dim": 16},
        "vae": {"block_out_channels": (16, 32), "layers_per_block": 1, "num_codes": 32},
    },
}


class Work(NamedTuple):
    """What both ways decode.

    Attributes:
        voxels: (stimuli, V), transformed responses.
        truths: uint8 (stimuli, H, W, 3); None for random weights.
    """

    voxels: torch.Tensor
    truths: np.ndarray | None


def main() -> None:
    options = parse()
    reference, fast, work = trained(options) if options.model else random_weights(options)
    steps = options.reference_steps or PLMS_STEPS
    pictures: dict[str, np.ndarray] = {}

    def keep(name: str, run: Callable[[], np.ndarray]) -> Callable[[], None]:
        return lambda: pictures.update({name: run()})

    seconds = alternate(
        {
            "reference": keep("reference", lambda: one_by_one(reference, work, options, steps)),
            "ours": keep("ours", lambda: batched(fast, work, options)),
        },
        rounds=options.rounds,
    )
    per_picture = len(work.voxels) * options.draws
    medians = {name: median(times) / per_picture for name, times in seconds.items()}
    if options.reference_steps:
        medians["reference"] = scaled(reference, work, options, medians["reference"])
    result = {
        "what": __doc__.splitlines()[0],
        "settings": {key: str(value) for key, value in vars(options).items()},
        "seconds": seconds,
        "seconds_per_picture": medians,
        "scaled_from_steps": options.reference_steps,
        "ratio": medians["reference"] / medians["ours"],
        "goal": 20,
        "check": {} if options.reference_steps else check(pictures, work, options),
    }
    write_result(options.output, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder of a finetune run")
    parser.add_argument("--store", help="the store that it was trained on")
    parser.add_argument("--judge", help="folder of an image classifier, for n-way accuracy")
    parser.add_argument("--n-way", type=int, default=50)
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny", help="random weights")
    parser.add_argument("--stimuli", type=int, default=4)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=20, help="pictures at once, ours")
    parser.add_argument("--guidance", type=float, default=1.0, help="of both ways")
    parser.add_argument("--rounds", type=int, default=5, help="alternated measurements")
    parser.add_argument("--reference-steps", type=int, help="time so many steps, scale to 250")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fast", action="store_true", help="tiny, one round")
    parser.add_argument("--output", default="benchmarks/results/decode.json")
    options = parser.parse_args()
    if bool(options.model) != bool(options.store):
        parser.error("--model and --store go together")
    if options.fast:
        options.rounds, options.stimuli, options.draws = 1, 3, 2
    return options


def trained(options: argparse.Namespace) -> tuple[MindVisPipeline, MindVisPipeline, Work]:
    """A trained model in both settings, and the first stimuli of its first subject."""
    reference = load_pipeline(options.model, "plms", options.device)
    fast = load_pipeline(options.model, "dpm", options.device, "bfloat16", channels_last=True)
    preprocessing = preprocessing_of(reference, options.model)
    with VoxelStore(options.store) as store:
        subject = choose_subjects(store, preprocessing, None)[0]
        items = plan_items(store, [subject], "test", "average", False)[: options.stimuli]
        means = np.stack([mean_response(store[subject], item.rows) for item in items])
        truths = store.stimuli.images(store.stimuli.index([item.name for item in items]))
    return reference, fast, Work(torch.from_numpy(preprocessing[subject](means)), truths)


def random_weights(options: argparse.Namespace) -> tuple[MindVisPipeline, MindVisPipeline, Work]:
    """Untrained networks of a given size: the same arithmetic, pictures of nothing."""
    size = SIZES[options.size]
    pipelines = []
    for name, dtype in (("plms", torch.float32), ("dpm", torch.bfloat16)):
        torch.manual_seed(0)
        encoder = BrainEncoder(**size["encoder"])
        width, context = encoder.config.embed_dim, size["context"]
        conditioner = BrainConditioner(encoder.num_tokens, width, **context)
        widths = {key: context[key] for key in ("context_dim", "pooled_dim")}
        unet = build_denoiser(in_channels=3, **widths, **size["unet"], **size["unet_rest"])
        vae = build_first_stage("vq", latent_channels=3, **size["vae"])
        parts = [part.eval().to(dtype) for part in (encoder, conditioner, unet, vae)]
        scheduler = make_scheduler(name, make_noise_schedule().config)
        pipeline = MindVisPipeline(*parts, scheduler).to(options.device)
        pipeline.set_progress_bar_config(disable=True)
        pipelines.append(pipeline)
    for part in (pipelines[1].unet, pipelines[1].vae):
        part.to(memory_format=torch.channels_last)
    shape = (options.stimuli, size["encoder"]["num_voxels"])
    voxels = torch.randn(shape, generator=torch_generator(0, "voxels"))
    return pipelines[0], pipelines[1], Work(voxels, None)


def noise_of(stimulus: int, draws: int) -> list[torch.Generator]:
    """The generators of one stimulus' draws: the same noise for both ways."""
    return [torch_generator(0, stimulus, draw) for draw in range(draws)]


def one_by_one(
    pipeline: MindVisPipeline, work: Work, options: argparse.Namespace, steps: int
) -> np.ndarray:
    """Pictures (stimuli, draws, H, W, 3) in [0, 1], as MinD-Vis decodes."""
    images = []
    for stimulus, voxels in enumerate(tqdm(work.voxels, desc="reference", delay=2)):
        conditioning = pipeline.encode(voxels.expand(options.draws, -1))
        generators = noise_of(stimulus, options.draws)
        images.append(sample(pipeline, conditioning, generators, steps, options.guidance))
    return np.stack(images)


def batched(pipeline: MindVisPipeline, work: Work, options: argparse.Namespace) -> np.ndarray:
    """Pictures (stimuli, draws, H, W, 3) in [0, 1], as `mindvis decode` does."""
    encoded = pipeline.encode(work.voxels)
    images = []
    pairs = [(row, draw) for row in range(len(work.voxels)) for draw in range(options.draws)]
    for batch in tqdm(list(batches(pairs, options.batch_size)), desc="ours", delay=2):
        rows = [row for row, _ in batch]
        conditioning = Conditioning(encoded.context[rows], encoded.pooled[rows])
        generators = [torch_generator(0, row, draw) for row, draw in batch]
        images.append(sample(pipeline, conditioning, generators, DPM_STEPS, options.guidance))
    together = np.concatenate(images)
    return together.reshape(len(work.voxels), options.draws, *together.shape[1:])


def sample(
    pipeline: MindVisPipeline,
    conditioning: Conditioning,
    generators: list[torch.Generator],
    steps: int,
    guidance: float,
) -> np.ndarray:
    return pipeline(
        conditioning=conditioning,
        generator=generators,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="np",
    ).images


def scaled(
    pipeline: MindVisPipeline, work: Work, options: argparse.Namespace, short: float
) -> float:
    """Seconds a picture of 250 steps, from runs of N and of 2 N steps: the rest is not scaled."""
    steps = options.reference_steps
    run = {"twice": lambda: one_by_one(pipeline, work, options, 2 * steps)}
    times = alternate(run, rounds=options.rounds)["twice"]
    long = median(times) / (len(work.voxels) * options.draws)
    return short + (long - short) / steps * (PLMS_STEPS - steps)


def check(
    pictures: dict[str, np.ndarray], work: Work, options: argparse.Namespace
) -> dict[str, Any]:
    """How alike the pictures of both ways are, and their scores where there is something true."""
    tensors = {name: torch.from_numpy(images).movedim(-1, -3) for name, images in pictures.items()}
    alike = pixel_correlation(tensors["ours"], tensors["reference"])
    result: dict[str, Any] = {
        "correlation_of_pictures": {"mean": alike.mean().item(), "lowest": alike.min().item()}
    }
    if work.truths is None:
        return result
    for metric, score in scorers(work.truths, options).items():
        values = {name: score(images).mean(1).numpy() for name, images in pictures.items()}
        interval = bootstrap_interval(values["reference"], numpy_generator(0, metric))
        ours = float(values["ours"].mean())
        inside = interval is not None and interval[0] <= ours <= interval[1]
        result[metric] = {
            "reference": float(values["reference"].mean()),
            "reference_interval": interval,
            "ours": ours,
            "ours_within_interval": inside,
        }
    return result


def scorers(
    truths: np.ndarray, options: argparse.Namespace
) -> dict[str, Callable[[np.ndarray], torch.Tensor]]:
    """Functions of pictures (stimuli, draws, H, W, 3) that give (stimuli, draws) scores."""
    true = torch.from_numpy(truths).movedim(-1, -3)[:, None] / 255
    found: dict[str, Callable[[np.ndarray], torch.Tensor]] = {
        "pixel_correlation": lambda images: pixel_correlation(
            torch.from_numpy(images).movedim(-1, -3), true
        )
    }
    if options.judge:
        judge = Judge.load(options.judge, options.device)
        target = judge.probabilities(truths).argmax(-1)

        def n_way(images: np.ndarray) -> torch.Tensor:
            flat = (images.reshape(-1, *images.shape[2:]) * 255).round().astype(np.uint8)
            scores = judge.probabilities(flat).reshape(*images.shape[:2], -1)
            return n_way_accuracy(scores, target[:, None].expand(images.shape[:2]), options.n_way)

        found[f"{options.n_way}_way_top_1"] = n_way
    return found


if __name__ == "__main__":
    main()
