"""First stages: the border between pictures and latents, their training loss, and LDM folders."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler

from mindvis.errors import CheckpointError
from mindvis.models.autoencoder import (
    LDM,
    build_first_stage,
    decode_latents,
    downsampling,
    encode_images,
    estimate_scaling,
    first_stage_loss,
    latent_channels,
    load_ldm,
    raw_latents,
    save_ldm,
    set_scaling,
    start_codebook,
)
from mindvis.models.conditioning import LabelConditioner
from mindvis.models.denoiser import build_denoiser

KINDS = ["vq", "kl", "tiny"]


def first_stage(kind):
    torch.manual_seed(0)
    return build_first_stage(kind, 3, (8, 16), num_codes=11).eval()


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    unet = build_denoiser(8, 3, 6, 5, (8, 16), attention_head_dim=4)
    ldm = LDM(unet, first_stage("kl"), DDPMScheduler(), LabelConditioner(4, 6, 5))
    save_ldm(ldm, tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_latents_have_the_announced_shape(kind, images):
    model = first_stage(kind)
    latents = encode_images(model, images)
    side = 16 // downsampling(model)
    assert latents.shape == (5, latent_channels(model), side, side) == (5, 3, 8, 8)
    decoded = decode_latents(model, latents * 100)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_scaling_is_applied_at_the_border_and_saved(kind, images, tmp_path):
    model = first_stage(kind)
    before = decode_latents(model, encode_images(model, images))
    factor = estimate_scaling(model, [images[:2], images[2:]])
    assert factor == pytest.approx(1 / raw_latents(model, images).std().item(), rel=1e-3)
    set_scaling(model, factor)
    assert encode_images(model, images).std().item() == pytest.approx(1, rel=1e-3)
    assert torch.allclose(decode_latents(model, encode_images(model, images)), before, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["scaling_factor"] == factor


def test_a_shift_is_taken_off_before_scaling(images):
    model = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, scaling_factor=0.5, shift_factor=3.0
    ).eval()
    with torch.no_grad():
        expected = (model.encode(images).latent_dist.mean - 3) * 0.5
        assert torch.allclose(encode_images(model, images), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_training_loss_is_the_error_and_a_penalty(kind, images):
    model = first_stage(kind)
    generator = torch.Generator().manual_seed(2)
    result = first_stage_loss(model, images, generator)
    error = result.images - images
    expected = error.abs().mean() + error.square().mean()
    assert result.reconstruction.item() == pytest.approx(expected.item(), rel=1e-6)
    assert result.loss > result.reconstruction
    generator.manual_seed(2)
    bare = first_stage_loss(model, images, generator, regularisation=0.0)
    assert bare.loss.item() == pytest.approx(result.reconstruction.item(), rel=1e-6)


def test_divergence_is_that_of_gaussians(images):
    model = first_stage("kl")
    result = first_stage_loss(model, images, torch.Generator().manual_seed(2), regularisation=1.0)
    posterior = model.encode(images).latent_dist
    gaussian = torch.distributions.Normal(posterior.mean, posterior.std)
    standard = torch.distributions.Normal(0.0, 1.0)
    divergence = torch.distributions.kl_divergence(gaussian, standard).mean()
    penalty = (result.loss - result.reconstruction).item()
    assert penalty == pytest.approx(divergence.item(), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_training_brings_the_picture_back(kind, images):
    model = first_stage(kind).train()
    if kind == "vq":
        start_codebook(model, images, torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(images[:, :, ::8, ::8], (16, 16), mode="bilinear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for step in range(40):
        result = first_stage_loss(model, smooth, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        errors.append(result.reconstruction.item())
    assert errors[-1] < 0.6 * errors[0]


def test_codes_start_at_latents(images):
    model = first_stage("vq")
    start_codebook(model, images, torch.Generator().manual_seed(0))
    latents = raw_latents(model, images).movedim(1, -1).flatten(0, -2)
    gaps = model.quantize.embedding.weight[:, None] - latents
    assert gaps.norm(dim=-1).min(dim=1).values.max() < 1e-6


def test_folder_is_read_back(folder, images):
    for path in (folder, folder / "model"):
        ldm = load_ldm(path)
        assert type(ldm.scheduler).__name__ == "DDPMScheduler"
        assert ldm.conditioner.config.num_classes == 4
        expected = encode_images(first_stage("kl"), images)
        assert torch.equal(encode_images(ldm.first_stage, images), expected)


def test_first_stage_may_be_called_vqvae_and_the_conditioner_be_absent(folder):
    (folder / "model" / "vae").rename(folder / "model" / "vqvae")
    shutil.rmtree(folder / "model" / "conditioner")
    ldm = load_ldm(folder)
    assert isinstance(ldm.first_stage, AutoencoderKL)
    assert ldm.conditioner is None


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("unet", r"has no unet \(unet/\); expected unet/, vae/ or vqvae/"),
        ("vae", r"has no first stage \(vae/ or vqvae/\)"),
        ("scheduler", r"scheduler_config\.json cannot be read"),
    ],
)
def test_a_missing_part_is_refused(folder, part, message):
    shutil.rmtree(folder / "model" / part)
    with pytest.raises(CheckpointError, match=message):
        load_ldm(folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("vae/config.json", "holds a Unheard; expected its class to be one of AutoencoderKL"),
        ("scheduler/scheduler_config.json", "names the scheduler 'Unheard'"),
    ],
)
def test_unknown_classes_are_refused(folder, file, message):
    path = folder / "model" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "Unheard"}))
    with pytest.raises(CheckpointError, match=message):
        load_ldm(folder)


def test_weights_of_another_shape_are_refused(folder):
    path = folder / "model" / "conditioner" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_classes": 9}))
    with pytest.raises(CheckpointError, match="do not load as LabelConditioner"):
        load_ldm(folder)


def test_unknown_weights_are_refused(folder):
    path = folder / "model" / "unet" / "config.json"
    config = {**json.loads(path.read_text()), "class_embed_type": None}
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="2 unknown ones"):
        load_ldm(folder)
