"""What the pipeline accepts, said in sentences before any work is done."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from mindvis.data.transforms import Preprocessing
from mindvis.errors import ConfigError, DataError, one_of
from mindvis.models.conditioning import Conditioning
from mindvis.models.sampling import Generators, check_eta

OutputType = Literal["pil", "np", "pt", "latent"]
Responses = npt.NDArray[np.floating[Any]] | torch.Tensor


def transform_responses(
    preprocessing: Preprocessing | None, responses: Responses, subject: str | None
) -> torch.Tensor:
    """Raw responses (n, stored voxels) as the encoder's input, float32 (n, V).

    Args:
        preprocessing: Transforms by subject; None takes the responses as they are.
        responses: As measured.
        subject: Whose they are; None where the preprocessing knows one subject alone.

    Raises:
        ConfigError: The subject is left out where there are several.
        DataError: An unknown subject, another number of voxels than it has, or values that are
            not finite.
    """
    values = torch.as_tensor(responses, device="cpu", dtype=torch.float32)
    if preprocessing is None:
        return values
    known = preprocessing.subjects
    if subject is None and len(known) > 1:
        raise ConfigError(
            f"no subject was given to a model of {len(known)} subjects",
            one_of("the subject", "", known),
        )
    transform = preprocessing[next(iter(known)) if subject is None else subject]
    return torch.from_numpy(transform(values.numpy()))


def check_inputs(
    pipeline: Any,
    responses: Responses | None,
    conditioning: Conditioning | None,
    num_images: int,
    generator: Generators,
    latents: torch.Tensor | None,
    eta: float,
    guidance_scale: float,
    output_type: str,
    tensor_inputs: Iterable[str],
) -> None:
    """Refuse arguments of the pipeline's call that contradict each other or its parts."""
    if num_images < 1:
        raise ConfigError(f"{num_images} images per stimulus were asked for", "1 or more")
    count = num_images * _count_samples(pipeline, responses, conditioning)
    if isinstance(generator, list) and len(generator) != count:
        raise ConfigError(
            f"{len(generator)} generators were given for {count} images",
            "one generator, or one for each image",
        )
    expected = (count, *pipeline.latent_shape())
    if latents is not None and tuple(latents.shape) != expected:
        raise ConfigError(f"latents of shape {tuple(latents.shape)} were given", str(expected))
    if output_type not in get_args(OutputType):
        choices = one_of("the output type", output_type, get_args(OutputType))
        raise ConfigError(f"there is no output type {output_type!r}", choices)
    for name in tensor_inputs:
        if name not in pipeline._callback_tensor_inputs:
            choices = one_of("the tensor", name, pipeline._callback_tensor_inputs)
            raise ConfigError(f"a step callback cannot be given {name!r}", choices)
    check_eta(pipeline.scheduler, eta)
    check_guidance(pipeline, guidance_scale)


def check_guidance(pipeline: Any, scale: float) -> None:
    """Refuse guidance of a model that was never trained on the empty conditioning."""
    if scale > 1 and not pipeline.conditioner.config.get("guidable", True):
        raise ConfigError(
            f"guidance of {scale} was asked of a model that was trained without an empty condition",
            "guidance 1",
            "pass --guidance 1 (guidance_scale=1.0 in Python)",
        )


def _count_samples(
    pipeline: Any, responses: Responses | None, conditioning: Conditioning | None
) -> int:
    """Number of responses or conditionings, exactly one of which must be there."""
    if responses is not None and conditioning is not None:
        raise ConfigError("both responses and a conditioning were given", "one of the two")
    if conditioning is not None:
        return _count_conditionings(conditioning)
    if responses is None:
        raise ConfigError("neither responses nor a conditioning were given", "one of the two")
    if pipeline.encoder is None:
        raise ConfigError(
            "responses were given to a pipeline without an encoder", remedy="give its conditioning"
        )
    shape = tuple(responses.shape)
    if len(shape) != 2 or not shape[0]:
        raise DataError(f"responses of shape {shape} were given", "(responses, voxels)")
    return shape[0]


def _count_conditionings(conditioning: Conditioning) -> int:
    """Number of samples, the same for both parts."""
    contexts, pooled = len(conditioning.context), len(conditioning.pooled)
    if contexts != pooled:
        raise ConfigError(
            f"a conditioning of {contexts} contexts and {pooled} pooled vectors was given",
            "as many of one as of the other",
        )
    return contexts
