"""MindVisPipeline: a brain response in, pictures out; a diffusers pipeline like any other."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from safetensors import SafetensorError

from mindvis.data.places import check_places
from mindvis.data.store import StoredSubject
from mindvis.data.transforms import FILE_NAME, Preprocessing
from mindvis.decoding.inputs import (
    OutputType,
    Responses,
    check_inputs,
    transform_responses,
)
from mindvis.errors import CheckpointError
from mindvis.models.autoencoder import FirstStage, decode_latents
from mindvis.models.conditioning import BrainConditioner, Conditioning, LabelConditioner
from mindvis.models.denoiser import predict_noise
from mindvis.models.encoder import BrainEncoder
from mindvis.models.sampling import Generators, denoise, guide

StepCallback = Callable[[Any, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class MindVisPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """Decode brain responses to pictures by latent diffusion.

    Sampler, guidance, callbacks and offloading are those of every diffusers pipeline. Voxel order,
    ROI, normalisation and padding of each subject are saved with the weights, so that responses go
    in as they were measured.

    Args:
        encoder: Responses to tokens; None for a pipeline that is given its `conditioning`.
        conditioner: Tokens to the conditioning of the denoiser.
        unet: The denoiser.
        vae: The first stage (`AutoencoderKL`, `AutoencoderTiny` or `VQModel`).
        scheduler: A diffusers scheduler; exchange it for
            `make_scheduler(name, pipe.scheduler.config)`.
        preprocessing: What is done to each subject's raw responses; None takes them as they come.
    """

    model_cpu_offload_seq = "encoder->conditioner->unet->vae"
    _optional_components: ClassVar[list[str]] = ["encoder"]
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents", "context", "pooled"]

    def __init__(
        self,
        encoder: BrainEncoder | None,
        conditioner: BrainConditioner | LabelConditioner,
        unet: UNet2DConditionModel,
        vae: FirstStage,
        scheduler: Any,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            encoder=encoder, conditioner=conditioner, unet=unet, vae=vae, scheduler=scheduler
        )
        self.preprocessing = preprocessing
        self.image_processor = VaeImageProcessor(do_resize=False)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save every component, and the preprocessing beside them."""
        super().save_pretrained(save_directory, **kwargs)
        if self.preprocessing is not None:
            self.preprocessing.save(save_directory)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Load a saved pipeline: its folder, or the folder of the run that made it.

        Args:
            path: A folder with `model_index.json`, or with `model/model_index.json`.
            **kwargs: As in `DiffusionPipeline.from_pretrained`.

        Raises:
            CheckpointError: The folder is absent, or one of its parts is missing or damaged.
        """
        folder = model_folder(path)
        if (folder / FILE_NAME).is_file():
            kwargs.setdefault("preprocessing", Preprocessing.load(folder))
        try:
            return super().from_pretrained(folder, **{"local_files_only": True, **kwargs})
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"the model in {folder} does not load ({' '.join(str(error).split())})",
                "every part that its model_index.json names",
                "export the model again",
            ) from error

    @torch.no_grad()
    def encode(self, voxels: torch.Tensor) -> Conditioning:
        """The conditioning of transformed responses.

        Args:
            voxels: (n, V), after the preprocessing of their subject.

        Returns:
            Context (n, S, C) and pooled (n, E).
        """
        voxels = voxels.to(self._execution_device, self.encoder.dtype)
        return self.conditioner(self.encoder(voxels))

    @torch.no_grad()
    def __call__(
        self,
        responses: Responses | None = None,
        subject: str | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 2.0,
        num_images_per_stimulus: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        eta: float = 0.0,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        conditioning: Conditioning | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] | list[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Decode n responses to n times `num_images_per_stimulus` pictures, in that order.

        Args:
            responses: (n, stored voxels) as measured; transformed already where the pipeline has
                no preprocessing.
            subject: Whose responses these are; may be left out of a pipeline of one subject.
            num_inference_steps: Denoising steps.
            guidance_scale: Classifier-free guidance; 1 or less is none, at half the cost.
            num_images_per_stimulus: Pictures of each response; it is encoded once.
            generator: Source of the noise: one, or one for each picture.
            latents: The starting noise, (pictures, channels, height, width).
            eta: Fresh noise of each DDIM step, 0 to 1.
            output_type: "pil" images, "np" (n, H, W, 3) or "pt" (n, 3, H, W) in [0, 1], "latent".
            return_dict: Whether to return an `ImagePipelineOutput` rather than a tuple.
            conditioning: Of n samples, instead of responses.
            callback_on_step_end: Called with (pipeline, step, timestep, tensors) after each step;
                may return changed tensors.
            callback_on_step_end_tensor_inputs: Which tensors it sees: latents, context, pooled.

        Raises:
            ConfigError: Arguments that contradict each other.
            DataError: Responses that do not fit the subject.
        """
        check_inputs(
            self,
            responses,
            conditioning,
            num_images_per_stimulus,
            generator,
            latents,
            eta,
            guidance_scale,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        if conditioning is None:
            given = cast(Responses, responses)  # checked above
            conditioning = self.encode(transform_responses(self.preprocessing, given, subject))
        conditioning = self._repeated(conditioning, num_images_per_stimulus)
        latents = self._initial_latents(len(conditioning.context), latents, generator)
        denoiser = GuidedDenoiser(
            self.unet, conditioning, self._null(guidance_scale), guidance_scale
        )
        with self.progress_bar(total=num_inference_steps) as bar:

            def on_step(index: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return latents
                tensors = {"latents": latents, **denoiser.conditioning._asdict()}
                seen = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                tensors |= callback_on_step_end(self, index, int(timestep), seen) or {}
                denoiser.conditioning = Conditioning(tensors["context"], tensors["pooled"])
                return tensors["latents"]

            latents = denoise(
                denoiser,
                self.scheduler,
                latents,
                num_inference_steps,
                eta=eta,
                generator=generator,
                on_step=on_step,
            )
        images = self.to_images(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def check_voxels(self, stored: StoredSubject) -> None:
        """Refuse a stored subject whose voxels are not those that this model was fitted to.

        The pipeline's call is given numbers without places; call this before it with the subject
        that they come from. Places that model or store do not know are passed over.

        Args:
            stored: A subject of a store, such as `VoxelStore(path)["sub-01"]`.

        Raises:
            DataError: The model does not know the subject.
            CheckpointError: The voxels are others, or in another order.
        """
        if self.preprocessing is not None:
            check_places(self.preprocessing[stored.name].places, stored)

    def to_images(self, latents: torch.Tensor, output_type: OutputType = "pil") -> Any:
        """Decode scaled latents (n, C, h, w) to pictures of the chosen type."""
        if output_type == "latent":
            return latents
        images = decode_latents(self.vae, latents.to(self.vae.dtype)).float()
        return self.image_processor.postprocess(images, output_type=output_type)

    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one picture's latents."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return int(self.unet.config.in_channels), int(height), int(width)

    def _repeated(self, conditioning: Conditioning, times: int) -> Conditioning:
        """Each sample `times` times in a row, where the denoiser runs and in its precision."""
        place = {"device": self._execution_device, "dtype": self.unet.dtype}
        context, pooled = (part.to(**place) for part in conditioning)
        return Conditioning(context.repeat_interleave(times, 0), pooled.repeat_interleave(times, 0))

    def _null(self, guidance_scale: float) -> Conditioning | None:
        """The empty conditioning of one sample; None without guidance."""
        if guidance_scale <= 1:
            return None
        return self._repeated(self.conditioner.null(1), 1)

    def _initial_latents(
        self, count: int, latents: torch.Tensor | None, generator: Generators
    ) -> torch.Tensor:
        """Standard normal noise in float32: schedulers lose too much in half precision."""
        if latents is not None:
            return latents.to(self._execution_device, torch.float32)
        shape = (count, *self.latent_shape())
        device = torch.device(self._execution_device)
        return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)


class GuidedDenoiser:
    """Noise prediction with classifier-free guidance: one network pass for both predictions.

    Args:
        unet: The denoiser.
        conditioning: Of the batch.
        null: The empty conditioning of one sample; None for no guidance.
        scale: Of the guidance.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        conditioning: Conditioning,
        null: Conditioning | None,
        scale: float,
    ) -> None:
        self.unet = unet
        self.conditioning = conditioning
        self.null = null
        self.scale = scale

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The noise in float32 latents (batch, C, h, w), itself float32."""
        inputs = latents.to(self.unet.dtype)
        if self.null is None:
            return predict_noise(self.unet, inputs, timestep, self.conditioning).float()
        pairs = zip(self.null, self.conditioning, strict=True)
        both = Conditioning(*(torch.cat([null.expand_as(own), own]) for null, own in pairs))
        noise = predict_noise(self.unet, torch.cat([inputs, inputs]), timestep, both)
        unconditional, conditional = noise.float().chunk(2)
        return guide(unconditional, conditional, self.scale)


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of a saved pipeline: `path`, or `path/model` of a training run.

    Raises:
        CheckpointError: Neither holds a pipeline.
    """
    for folder in (Path(path), Path(path) / "model"):
        if (folder / "model_index.json").is_file():
            return folder
    missing = "has no model_index.json" if Path(path).is_dir() else "does not exist"
    raise CheckpointError(
        f"the model folder {path} {missing}",
        "the folder of a finished finetune run, or of a saved MindVisPipeline",
        "run `mindvis fit -c configs/finetune.yaml` to its end, or correct the path",
    )
