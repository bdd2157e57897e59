"""Stock schedulers as our factory sets them up; trajectories are compared in test_goldens."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler

from mindvis.errors import ConfigError
from mindvis.models.sampling import denoise, make_scheduler, set_steps

# diffusers 0.42 with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ("dpm", "ddim", "plms", "unipc")
# What a latent diffusion model of the reference's kind saves; deliberately of yet another class,
# with the clipping that diffusers switches on by default.
BASE = DDPMScheduler(
    beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, clip_sample=True
).config


def relative_error(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_sampler_reaches_a_gaussian_target(name):
    """For data N(m, s^2) the exact noise prediction is linear, and samples must follow that law."""
    mean, spread = 0.7, 0.3
    scheduler = make_scheduler(name, BASE)

    def exact(latents, timestep):
        abar = scheduler.alphas_cumprod[int(timestep)]
        variance = abar * spread**2 + 1 - abar
        return (1 - abar).sqrt() * (latents - abar.sqrt() * mean) / variance

    noise = torch.randn((20000, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    samples = denoise(exact, scheduler, noise, 25)
    assert abs(float(samples.mean()) - mean) < 0.02
    # DDIM is of first order, the others of second and more
    assert abs(float(samples.std()) / spread - 1) < (0.2 if name == "ddim" else 0.05)


def bent_noise(scheduler, steps, **options):
    """The end of a run with an eps that is no straight line."""

    def predict(latents, timestep):
        abar = scheduler.alphas_cumprod[int(timestep)]
        return (1 - abar).sqrt() * latents + 0.2 * torch.sin(3 * latents + timestep / 150)

    noise = torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    return denoise(predict, scheduler, noise, steps, **options)


def test_stochastic_ddim_uses_the_generator():
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return bent_noise(make_scheduler("ddim", BASE), 20, eta=1.0, generator=generator)

    assert torch.equal(run(12), run(12))
    assert not torch.equal(run(12), run(13))


def test_samplers_agree_in_the_limit():
    """Four solvers of one differential equation end at one place."""
    ends = {name: bent_noise(make_scheduler(name, BASE), 250) for name in NAMES}
    for name in ("ddim", "dpm", "unipc"):
        assert relative_error(ends[name], ends["plms"]) < 0.03, name


@pytest.mark.parametrize("name", NAMES)
def test_every_accepted_number_of_steps_gives_finite_latents(name):
    noise = torch.ones(1, 1, 2, 3)
    accepted = 0
    for steps in [*range(1, 60), 250, 333, 500, 999, 1000]:
        try:
            latents = denoise(lambda x, t: 0.5 * x, make_scheduler(name, BASE), noise, steps)
        except ConfigError:
            continue
        accepted += 1
        assert torch.isfinite(latents).all(), steps
    assert accepted >= 60


def test_only_the_noise_schedule_is_taken_from_the_saved_scheduler():
    saved = PNDMScheduler(num_train_timesteps=200, beta_schedule="linear", steps_offset=7)
    ddim = make_scheduler("ddim", saved.config)
    assert isinstance(ddim, DDIMScheduler)
    assert (ddim.config.num_train_timesteps, ddim.config.beta_schedule) == (200, "linear")
    assert (ddim.config.steps_offset, ddim.config.clip_sample) == (1, False)


def test_unknown_scheduler_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no scheduler 'ddmi'.*did you mean 'ddim'"):
        make_scheduler("ddmi", BASE)


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_impossible_numbers_of_steps(steps):
    with pytest.raises(ConfigError, match=f"{steps} sampling steps.*from 1 to 1000"):
        set_steps(make_scheduler("dpm", BASE), steps)


@pytest.mark.parametrize(
    ("name", "steps", "words"),
    [
        ("plms", 1000, r"PNDMScheduler cannot do 1000 steps.*timestep 1000 .*such as 500"),
        ("ddim", 300, r"DDIMScheduler cannot do 300 steps.*start at timestep 898.*such as 250"),
    ],
)
def test_numbers_of_steps_that_a_scheduler_cannot_do(name, steps, words):
    with pytest.raises(ConfigError, match=words):
        set_steps(make_scheduler(name, BASE), steps)


def test_eta_is_refused_where_no_noise_is_added():
    with pytest.raises(ConfigError, match=r"eta is 0.5, but PNDMScheduler adds no noise"):
        denoise(lambda x, t: x, make_scheduler("plms", BASE), torch.ones(1, 1, 2, 2), 10, eta=0.5)
