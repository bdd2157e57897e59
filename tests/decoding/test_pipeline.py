"""The pipeline: what goes in, what comes out, and that nothing about a batch changes an image."""

import json
import shutil

import numpy as np
import pytest
import torch

from mindvis.data.store import VoxelStore
from mindvis.decoding.pipeline import GuidedDenoiser, MindVisPipeline
from mindvis.errors import CheckpointError, ConfigError, DataError
from mindvis.models.autoencoder import decode_latents
from mindvis.models.conditioning import Conditioning, LabelConditioner
from mindvis.models.denoiser import predict_noise
from mindvis.models.sampling import make_scheduler
from mindvis.seeding import torch_generator

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STEPS = 4


@pytest.fixture(scope="module")
def responses(store):
    with VoxelStore(store) as opened:
        return opened["sub-02"].responses([0, 1, 50])


def generators(count, seed=0):
    return [torch_generator(seed, index) for index in range(count)]


def run(pipeline, responses, subject="sub-02", output_type="pt", **options):
    options = {"num_inference_steps": STEPS, "generator": torch_generator(1), **options}
    return pipeline(responses, subject, output_type=output_type, **options).images


def random_conditioning(count):
    generator = torch.Generator().manual_seed(8)
    context = torch.randn(count, 5, 24, generator=generator)
    return Conditioning(context, torch.randn(count, 20, generator=generator))


def test_outputs_of_every_type_are_one_picture(pipeline, responses):
    latents = run(pipeline, responses, output_type="latent")
    assert latents.shape == (3, 3, 8, 8)
    tensors = run(pipeline, responses)
    assert tensors.shape == (3, 3, 16, 16)
    assert torch.equal(tensors, decode_latents(pipeline.vae, latents) / 2 + 0.5)
    arrays = run(pipeline, responses, output_type="np")
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    images = run(pipeline, responses, output_type="pil")
    assert [image.size for image in images] == [(16, 16)] * 3
    assert np.array_equal(np.asarray(images[2]), (arrays[2] * 255).round().astype(np.uint8))


def test_a_tuple_on_request(pipeline, responses):
    result = pipeline(responses, "sub-02", num_inference_steps=1, return_dict=False)
    assert isinstance(result, tuple)
    assert len(result[0]) == 3


def test_response_decides_the_picture(pipeline, responses):
    noise = torch.ones(3, 3, 8, 8)
    images = run(pipeline, responses, latents=noise, guidance_scale=3.0)
    assert (images[0] - images[1]).abs().max() > 0.05
    assert torch.allclose(
        images[:1], run(pipeline, responses[:1], latents=noise[:1], guidance_scale=3.0), atol=1e-5
    )


@pytest.mark.parametrize("first_stage", ["vq", "tiny"])
def test_other_first_stages(make_pipeline, responses, first_stage, tmp_path):
    pipeline = make_pipeline(first_stage)
    images = run(pipeline, responses)
    assert images.shape == (3, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    pipeline.save_pretrained(tmp_path)
    assert torch.equal(run(MindVisPipeline.from_pretrained(tmp_path), responses), images)


@pytest.mark.parametrize("name", ["dpm", "ddim", "plms", "unipc"])
def test_any_scheduler(pipeline, responses, name):
    pipeline.scheduler = make_scheduler(name, pipeline.scheduler.config)
    first = run(pipeline, responses, num_inference_steps=10)
    assert torch.isfinite(first).all()
    assert torch.equal(run(pipeline, responses, num_inference_steps=10), first)


def test_saved_and_loaded_it_draws_the_same(pipeline, responses, tmp_path):
    pipeline.save_pretrained(tmp_path / "run" / "model")
    loaded = MindVisPipeline.from_pretrained(tmp_path / "run")
    assert loaded.preprocessing.length == pipeline.preprocessing.length
    assert torch.equal(run(loaded, responses), run(pipeline, responses))


def test_raw_responses_are_transformed_as_saved(make_pipeline, pipeline, responses):
    transformed = pipeline.preprocessing["sub-02"](responses)
    bare = make_pipeline(raw=False)
    assert torch.equal(run(bare, transformed, None), run(pipeline, responses))
    assert torch.equal(run(pipeline, torch.from_numpy(responses)), run(pipeline, responses))


def test_conditioning_instead_of_responses(pipeline, responses):
    voxels = torch.from_numpy(pipeline.preprocessing["sub-02"](responses))
    given = pipeline.encode(voxels)
    assert torch.equal(run(pipeline, None, None, conditioning=given), run(pipeline, responses))


def test_labels_condition_the_same_pipeline(pipeline, tmp_path):
    conditioner = LabelConditioner(num_classes=4, context_dim=24, pooled_dim=20)
    parts = (pipeline.unet, pipeline.vae, pipeline.scheduler)
    MindVisPipeline(None, conditioner, *parts).save_pretrained(tmp_path)
    loaded = MindVisPipeline.from_pretrained(tmp_path)
    images = run(loaded, None, None, conditioning=conditioner(torch.tensor([3, 1])))
    assert images.shape == (2, 3, 16, 16)
    with pytest.raises(ConfigError, match="pipeline without an encoder; give its conditioning"):
        run(loaded, np.zeros((1, 96), np.float32), None)


def test_images_of_a_stimulus_lie_together_and_depend_on_their_generator_alone(pipeline, responses):
    together = run(pipeline, responses, num_images_per_stimulus=2, generator=generators(6))
    for index in (0, 3, 5):
        alone = run(pipeline, responses[[index // 2]], generator=[torch_generator(0, index)])
        assert (together[index] - alone[0]).abs().max() < 1 / 255


def test_each_response_is_encoded_once(pipeline, responses):
    rows = []
    pipeline.encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    run(pipeline, responses, num_images_per_stimulus=4)
    assert rows == [3]


@pytest.mark.parametrize(("scale", "images"), [(1.0, 3), (0.0, 3), (2.5, 6)])
def test_without_guidance_the_network_sees_each_image_once(pipeline, responses, scale, images):
    batches = []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    run(pipeline, responses, guidance_scale=scale)
    assert batches == [images] * STEPS


def test_guidance_extrapolates_from_the_empty_conditioning(pipeline):
    given, latents, t = random_conditioning(2), torch.randn(2, 3, 8, 8), torch.tensor(400)
    empty = pipeline.conditioner.null(1)
    with torch.no_grad():
        guided = GuidedDenoiser(pipeline.unet, given, empty, 2.5)(latents, t)
        with_brain = predict_noise(pipeline.unet, latents, t, given)
        without = predict_noise(pipeline.unet, latents, t, pipeline.conditioner.null(2))
    assert (with_brain - without).abs().max() > 0.01
    assert torch.allclose(guided, 2.5 * with_brain - 1.5 * without, atol=1e-5)


def test_callback_sees_and_changes_what_it_asked_for(pipeline, responses):
    seen = []

    def stop_noise(pipe, step, timestep, tensors):
        seen.append((pipe is pipeline, step, timestep, sorted(tensors)))
        return {"latents": torch.zeros_like(tensors["latents"])}

    images = run(
        pipeline,
        responses,
        output_type="latent",
        callback_on_step_end=stop_noise,
        callback_on_step_end_tensor_inputs=["latents", "context"],
    )
    assert torch.equal(images, torch.zeros(3, 3, 8, 8))
    assert [entry[1] for entry in seen] == [0, 1, 2, 3]
    assert [entry[2] for entry in seen] == sorted((entry[2] for entry in seen), reverse=True)
    assert all(entry[0] and entry[3] == ["context", "latents"] for entry in seen)


def test_callback_may_exchange_the_conditioning(pipeline, responses):
    def swap(pipe, step, timestep, tensors):
        return {"context": tensors["context"].flip(0), "pooled": tensors["pooled"].flip(0)}

    tensors = ["context", "pooled"]
    swapped = run(
        pipeline, responses, callback_on_step_end=swap, callback_on_step_end_tensor_inputs=tensors
    )
    changed = (swapped - run(pipeline, responses)).abs().amax((1, 2, 3))
    assert changed[0] > 1e-4
    assert changed[2] > 1e-4
    assert changed[1] < 1e-6  # the middle one keeps its place


def test_bfloat16_stays_near_float32(make_pipeline, responses):
    exact = run(make_pipeline(), responses, num_inference_steps=10)
    half = make_pipeline().to(torch.bfloat16)
    rounded = run(half, responses, num_inference_steps=10)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.02


def test_noise_is_the_generators_in_float32(pipeline):
    noise = pipeline._initial_latents(2, None, generators(2))
    expected = [torch.randn(1, 3, 8, 8, generator=torch_generator(0, index)) for index in range(2)]
    assert torch.equal(noise, torch.cat(expected))


BAD_CALLS = [
    ({"responses": None}, ConfigError, "neither responses nor a conditioning"),
    ({"conditioning": random_conditioning(3)}, ConfigError, "both responses and a conditioning"),
    ({"subject": "sub-3"}, DataError, "no subject 'sub-3'.*did you mean 'sub-0"),
    (
        {"subject": None},
        ConfigError,
        "no subject was given to a model of 2 subjects.*sub-01, sub-02",
    ),
    ({"subject": "sub-01"}, DataError, r"shape \(3, 93\) for subject sub-01.*70 voxels"),
    ({"responses": np.zeros(93, np.float32)}, DataError, r"shape \(93,\).*\(responses, voxels\)"),
    ({"responses": np.full((1, 93), np.nan)}, DataError, "93 voxels of subject sub-02 are NaN"),
    ({"num_inference_steps": 0}, ConfigError, "0 sampling steps.*from 1 to 1000"),
    ({"num_images_per_stimulus": 0}, ConfigError, "0 images per stimulus.*1 or more"),
    ({"generator": generators(2)}, ConfigError, "2 generators were given for 3 images"),
    ({"latents": torch.zeros(3, 3, 8, 9)}, ConfigError, r"\(3, 3, 8, 9\).*\(3, 3, 8, 8\)"),
    ({"output_type": "png"}, ConfigError, "no output type 'png'.*latent, np, pil, pt"),
    ({"eta": 0.5}, ConfigError, "eta is 0.5, but DPMSolverMultistepScheduler"),
    (
        {"callback_on_step_end_tensor_inputs": ["latent"]},
        ConfigError,
        "cannot be given 'latent'.*did you mean 'latents'",
    ),
    (
        {
            "responses": None,
            "conditioning": Conditioning(torch.zeros(2, 5, 24), torch.zeros(3, 20)),
        },
        ConfigError,
        "2 contexts and 3 pooled vectors",
    ),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD_CALLS)
def test_refused_before_any_work(pipeline, responses, options, error, words):
    worked = []
    pipeline.unet.register_forward_pre_hook(lambda *_: worked.append(1))
    with pytest.raises(error, match=words):
        run(pipeline, **{"responses": responses, "subject": "sub-02", **options})
    assert not worked


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere does not exist.*finetune run"):
        MindVisPipeline.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"has no model_index.json"):
        MindVisPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("part", ["unet", "encoder", "scheduler"])
def test_missing_part(model, tmp_path, part):
    copy = shutil.copytree(model, tmp_path / "copy")
    shutil.rmtree(copy / part)
    with pytest.raises(CheckpointError, match=f"does not load.*{part}.*export the model again"):
        MindVisPipeline.from_pretrained(copy)


def test_damaged_weights(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="does not load"):
        MindVisPipeline.from_pretrained(copy)


def test_nothing_is_imported_because_a_model_names_it(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    index["encoder"] = ["os_of_somebody", "system"]
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="os_of_somebody"):
        MindVisPipeline.from_pretrained(copy)
