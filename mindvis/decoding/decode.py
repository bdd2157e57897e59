"""The `mindvis decode` command: all stimuli of a split to pictures, sharded and resumable."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from mindvis.console import say
from mindvis.data.store import VoxelStore
from mindvis.data.transforms import Preprocessing
from mindvis.decoding.ceilings import save_first_stage
from mindvis.decoding.controls import NOISE, PRIOR, noise_response
from mindvis.decoding.inputs import check_guidance
from mindvis.decoding.listing import Item, Picture, index_table
from mindvis.decoding.output import prepare_output, save_png, save_truth, staged
from mindvis.decoding.pipeline import MindVisPipeline, model_folder
from mindvis.decoding.plan import (
    Repeats,
    Split,
    batches,
    choose_subjects,
    mean_response,
    own_share,
    parse_shard,
    plan_items,
    plan_pictures,
)
from mindvis.errors import CheckpointError, ConfigError
from mindvis.models.conditioning import Conditioning
from mindvis.models.sampling import SchedulerName, make_scheduler, set_steps
from mindvis.provenance import read_lineage
from mindvis.seeding import numpy_generator

Precision = Literal["float32", "bfloat16"]
INDEX = "index.csv"
# Responses that are encoded together; fixed, so that a resumed run repeats its arithmetic.
ENCODER_BATCH = 16


def decode(
    model: str,
    store: str,
    output: str,
    split: Split = "test",
    subjects: list[str] | None = None,
    draws: int = 5,
    steps: int = 25,
    guidance: float = 2.0,
    scheduler: SchedulerName = "dpm",
    seed: int = 0,
    repeats: Repeats = "average",
    controls: bool = True,
    batch_size: int = 32,
    shard: str = "0/1",
    device: str = "auto",
    dtype: Precision = "float32",
    channels_last: bool = False,
) -> None:
    """Decode the brain responses of a split to pictures.

    Run the same command again to finish what was interrupted: pictures that are there stay, and
    the rest come out as if nothing had happened. The noise of each picture follows from the seed,
    the subject, the stimulus and the draw alone.

    Args:
        model: Folder of a finetune run, or of a saved MindVisPipeline.
        store: The VoxelStore whose responses are decoded.
        output: Folder for the pictures, their index and their provenance.
        split: Trials to decode.
        subjects: Subjects to decode; by default all that store and model share.
        draws: Pictures of each stimulus.
        steps: Denoising steps of each picture.
        guidance: Scale of classifier-free guidance; 1 is none, at half the cost.
        scheduler: Sampler: DPM-Solver++, DDIM, PLMS or UniPC.
        seed: Of the noise.
        repeats: Decode the mean of a stimulus' trials, or its first trial alone.
        controls: Also decode, for `mindvis evaluate`, each subject's mean training response, noise
            like its responses, and the empty condition; and send the shown pictures through the
            first stage.
        batch_size: Pictures denoised together.
        shard: Which part of the work this process does, as i/n; all parts share one output.
        device: Where to compute: auto, cpu, cuda, cuda:1, mps.
        dtype: Precision of the networks.
        channels_last: Memory layout of the networks; faster with bfloat16 and on GPUs.

    Raises:
        MindVisError: Options, store and model do not go together, or the output folder holds
            pictures of other options.
    """
    config = dict(locals())  # every option, as given
    check_options(draws, batch_size, guidance)
    part = parse_shard(shard)
    pipeline = load_pipeline(model, scheduler, device, dtype, channels_last)
    set_steps(pipeline.scheduler, steps)
    check_guidance(pipeline, guidance)
    preprocessing = preprocessing_of(pipeline, model)
    with VoxelStore(store) as opened:
        chosen = choose_subjects(opened, preprocessing, subjects)
        items = plan_items(opened, chosen, split, repeats, controls)
        lineage = read_lineage(model)
        config["transductive"] = preprocessing.transductive or lineage["transductive"]
        folder, staging = Path(output), f".shard-{part[0]}-of-{part[1]}"
        inputs = [Path(store), model_folder(model)]
        prepare_output(folder, config, inputs, staging, lineage)
        if opened.stimuli is not None:
            shown = sorted({item.name for item in items if not item.control})
            save_truth(folder, opened.stimuli, shown[part[0] :: part[1]])
            if controls:
                save_first_stage(folder, pipeline, opened, shown[part[0] :: part[1]])
        own = own_share(items, part)
        encodings = Encodings(pipeline, preprocessing, opened, own, split, seed)
        sampling = {"num_inference_steps": steps, "guidance_scale": guidance}
        draw_pictures(folder, encodings, plan_pictures(own, draws, seed), batch_size, sampling)
        write_index(folder, opened, items, plan_pictures(items, draws, seed), staging)


def check_options(draws: int, batch_size: int, guidance: float) -> None:
    """Refuse numbers that cannot work."""
    for name, value in {"draws": draws, "batch_size": batch_size}.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}", "1 or more")
    if not np.isfinite(guidance):
        raise ConfigError(f"guidance is {guidance}", "a finite scale, 1 for no guidance")


def load_pipeline(
    model: str | os.PathLike[str],
    scheduler: SchedulerName = "dpm",
    device: str = "auto",
    dtype: Precision = "float32",
    channels_last: bool = False,
) -> MindVisPipeline:
    """A pipeline on its device, with its sampler.

    Raises:
        CheckpointError: A part is missing.
        ConfigError: There is no such device.
    """
    pipeline = MindVisPipeline.from_pretrained(model, dtype=getattr(torch, dtype))
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(choose_device(device))
    if channels_last:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


def preprocessing_of(pipeline: MindVisPipeline, model: str | os.PathLike[str]) -> Preprocessing:
    """What the model does to raw responses.

    Raises:
        CheckpointError: It takes none, or does not say how to treat them.
    """
    if pipeline.preprocessing is None or pipeline.encoder is None:
        lacks = "encoder" if pipeline.encoder is None else "preprocessing.json"
        raise CheckpointError(
            f"the model in {model_folder(model)} has no {lacks}",
            "a pipeline that takes brain responses",
            "decode with the model of a finetune run",
        )
    return pipeline.preprocessing


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is an accelerator where there is one.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]})",
            "auto, cpu, or an accelerator of this machine",
        ) from error
    return device


class Encodings:
    """The conditioning of each response, encoded once, a fixed group of responses at a time.

    Args:
        pipeline: Encodes.
        preprocessing: Transforms raw responses.
        store: Where the responses are.
        items: The responses, in the order in which they are asked for.
        split: The split of the items that are no controls, which are of training responses.
        seed: Of the noise controls.
    """

    def __init__(
        self,
        pipeline: MindVisPipeline,
        preprocessing: Preprocessing,
        store: VoxelStore,
        items: Sequence[Item],
        split: Split,
        seed: int = 0,
    ) -> None:
        self.pipeline = pipeline
        self.seed = seed
        self.preprocessing = preprocessing
        self.items = items
        self.split = split
        self._subjects = {name: store[name] for name in {item.subject for item in items}}
        self._groups: dict[int, Conditioning] = {}

    def __call__(self, positions: Sequence[int]) -> Conditioning:
        """The conditioning of items by position, non-decreasing from call to call."""
        needed = sorted({position // ENCODER_BATCH for position in positions})
        self._groups = {group: self._group(group) for group in needed}
        places = [divmod(position, ENCODER_BATCH) for position in positions]
        return Conditioning(
            torch.stack([self._groups[group].context[row] for group, row in places]),
            torch.stack([self._groups[group].pooled[row] for group, row in places]),
        )

    def _group(self, number: int) -> Conditioning:
        if number in self._groups:
            return self._groups[number]
        members = self.items[number * ENCODER_BATCH : (number + 1) * ENCODER_BATCH]
        return self._without_condition(
            members, self.pipeline.encode(torch.stack([self._voxels(item) for item in members]))
        )

    def _without_condition(self, members: Sequence[Item], encoded: Conditioning) -> Conditioning:
        """The empty conditioning for the items that have no response."""
        empty = torch.tensor([item.control and item.name == PRIOR for item in members])
        if not empty.any():
            return encoded
        null = self.pipeline.conditioner.null(1)
        context, pooled = (part.clone() for part in encoded)
        context[empty] = null.context.to(context)
        pooled[empty] = null.pooled.to(pooled)
        return Conditioning(context, pooled)

    def _voxels(self, item: Item) -> torch.Tensor:
        """The transformed response of an item, float32 (V,); zeros where it has none."""
        if not item.rows:
            return torch.zeros(self.preprocessing.length)
        response = mean_response(self._subjects[item.subject], item.rows)
        split = "train" if item.control else self.split
        transform = self.preprocessing.of(item.subject, split)
        if item.control and item.name in NOISE:
            noise = numpy_generator(self.seed, item.subject, item.name, item.number)
            return torch.from_numpy(noise_response(item.name, transform, response, noise))
        return torch.from_numpy(transform(response))


def draw_pictures(
    output: Path,
    encodings: Encodings,
    pictures: Sequence[Picture],
    batch_size: int,
    sampling: dict[str, Any],
) -> None:
    """Decode and save pictures batch by batch; a batch whose files are all there is left alone.

    An incomplete batch is decoded whole: its composition, hence its rounding, is what it was.
    """
    with tqdm(total=len(pictures), desc="pictures", unit="picture", delay=2) as bar:
        for batch in batches(pictures, batch_size):
            files = [output / picture.file for picture in batch]
            if not all(file.is_file() for file in files):
                seeds = [torch.Generator().manual_seed(picture.seed) for picture in batch]
                conditioning = encodings([picture.item for picture in batch])
                images = encodings.pipeline(
                    conditioning=conditioning, generator=seeds, return_dict=False, **sampling
                )[0]
                for image, file in zip(images, files, strict=True):
                    save_png(image, file)
            bar.update(len(batch))


def write_index(
    output: Path,
    store: VoxelStore,
    items: Sequence[Item],
    pictures: Sequence[Picture],
    staging: str,
) -> None:
    """Write `index.csv` when every picture of every shard is there: the last shard does it."""
    missing = sum(not (output / picture.file).is_file() for picture in pictures)
    if missing:
        say(f"{output}: {missing} of {len(pictures)} pictures are left to other shards")
        return
    table = index_table(store, items, pictures)
    with staged(output / staging) as folder:
        table.to_csv(folder / INDEX, index=False, lineterminator="\n")
        (folder / INDEX).replace(output / INDEX)
    say(f"{output}: {len(table)} pictures of {table['stimulus'].nunique()} stimuli")
