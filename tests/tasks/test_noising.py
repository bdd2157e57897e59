"""The forward process and its loss against NumPy; latents are encoded once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mindvis.errors import ConfigError
from mindvis.models.autoencoder import build_first_stage, encode_images
from mindvis.models.conditioning import Conditioning
from mindvis.models.sampling import make_scheduler
from mindvis.models.schedules import noise_betas
from mindvis.tasks.figures import draw_grid
from mindvis.tasks.noising import (
    LatentCache,
    diffusion_errors,
    make_noise_schedule,
    min_snr_weights,
)


def kept_signal(steps=1000):
    """Share of the signal's variance that is left at each level, by the paper's formula."""
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, steps) ** 2
    return np.cumprod(1 - betas)


class Spy:
    """A network that remembers its input and predicts a constant."""

    def __call__(self, latents, t, encoder_hidden_states, class_labels, return_dict):
        self.seen = latents
        return (torch.full_like(latents, 0.25),)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_errors_follow_the_formula(rng, kind):
    latents, noise = rng.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    t = np.array([0, 500, 999])
    spy = Spy()
    context = Conditioning(torch.zeros(3, 2, 7), torch.zeros(3, 8))
    tensors = [torch.tensor(x) for x in (latents, noise, t)]
    found = diffusion_errors(spy, make_noise_schedule(kind), *tensors, context)
    a = kept_signal()[t][:, None, None, None]
    np.testing.assert_allclose(
        spy.seen, a**0.5 * latents + (1 - a) ** 0.5 * noise, rtol=1e-4, atol=1e-5
    )
    target = noise if kind == "epsilon" else a**0.5 * noise - (1 - a) ** 0.5 * latents
    np.testing.assert_allclose(found, ((0.25 - target) ** 2).mean((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 1, 5])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weighs_the_error_of_the_picture(kind, gamma, rng):
    """Whatever is predicted, the picture that it implies counts min(SNR, gamma) times."""
    scheduler, t = make_noise_schedule(kind), np.array([0, 130, 500, 999])
    a = kept_signal()[t]
    snr = a / (1 - a)
    assert snr.min() < gamma < snr.max()
    signal, noise, wrong = rng.normal(size=(3, 4))
    noisy = a**0.5 * signal + (1 - a) ** 0.5 * noise
    if kind == "epsilon":
        true, implied = noise, (noisy - (1 - a) ** 0.5 * wrong) / a**0.5
    else:
        true, implied = (
            a**0.5 * noise - (1 - a) ** 0.5 * signal,
            a**0.5 * noisy - (1 - a) ** 0.5 * wrong,
        )
    found = min_snr_weights(scheduler, torch.tensor(t), gamma).numpy() * (wrong - true) ** 2
    np.testing.assert_allclose(found, np.minimum(snr, gamma) * (implied - signal) ** 2, rtol=1e-3)


def test_levels_without_any_signal_have_finite_weights():
    config = SimpleNamespace(prediction_type="epsilon")
    scheduler = SimpleNamespace(alphas_cumprod=torch.tensor([1.0, 0.5, 0.0]), config=config)
    assert min_snr_weights(scheduler, torch.arange(3), 0.5).tolist() == [0, 0.5, 1]
    config.prediction_type = "v_prediction"
    assert min_snr_weights(scheduler, torch.arange(3), 0.5).tolist() == [0, 0.25, 0]


def test_weights_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="snr_gamma is 0; expected a number above 0, or null"):
        min_snr_weights(make_noise_schedule(), torch.tensor([3]), 0)


def test_cache_encodes_each_picture_once_and_finds_it_again():
    first_stage = build_first_stage("kl", 3, (8, 8)).eval()
    images = torch.rand(5, 3, 8, 12) * 2 - 1
    keys = torch.tensor([4, 9, 4, 7, 9])
    images = images[[0, 1, 0, 2, 1]]
    calls = []
    encode = first_stage.encode
    first_stage.encode = lambda x: (calls.append(len(x)), encode(x))[1]
    cache = LatentCache(first_stage, "stimulus")
    batches = [
        {"stimulus": keys[:3], "image": images[:3]},
        {"stimulus": keys[3:], "image": images[3:]},
    ]
    cache.fill(batches, torch.device("cpu"))
    cache.fill(batches, torch.device("cpu"))
    assert calls == [2, 1]
    with torch.no_grad():
        expected = encode_images(first_stage, images)
    torch.testing.assert_close(cache({"stimulus": keys}), expected, rtol=1e-4, atol=1e-5)


def test_grid_has_a_row_for_each_tensor():
    black, white = torch.full((3, 3, 40, 64), -1.0), torch.full((3, 3, 40, 64), 1.0)
    grid = draw_grid(black, white)
    assert grid.size == (3 * 66, 2 * 42)
    assert grid.getpixel((10, 10)) == (0, 0, 0)
    assert grid.getpixel((10, 60)) == (255, 255, 255)


def test_schedule_is_saved_with_what_it_predicts():
    config = SimpleNamespace(**make_noise_schedule("v_prediction").config)
    assert (config.prediction_type, config.beta_schedule) == ("v_prediction", "scaled_linear")


@pytest.mark.parametrize("schedule", ["linear", "cosine", "square_root"])
def test_samplers_take_over_a_schedule_that_has_no_name(schedule):
    trained = make_noise_schedule(noise_schedule=schedule, num_train_timesteps=50)
    sampler = make_scheduler("ddim", trained.config)
    assert torch.equal(sampler.alphas_cumprod, trained.alphas_cumprod)
    assert not torch.equal(trained.betas, make_noise_schedule(num_train_timesteps=50).betas)


def test_unknown_schedules_are_refused():
    with pytest.raises(ConfigError, match="noise schedule is 'sigmoid'; expected scaled_linear"):
        noise_betas("sigmoid")
