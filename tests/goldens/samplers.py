"""Noise schedules and the stock samplers, step by step."""

from functools import cache

import pytest
import torch
from diffusers import DDPMScheduler

from mindvis.errors import ConfigError
from mindvis.models.sampling import denoise, guide, make_scheduler, set_steps
from mindvis.models.schedules import noise_betas
from mindvis.tasks.noising import make_noise_schedule
from tests.goldens.registry import Rules
from tests.tolerances import NORMAL_DRAW, SINGLE, SINGLE_FACTORS, THOUSAND_FACTORS, sampled

SAMPLERS = Rules("samplers")
# What a latent diffusion model of MinD-Vis' kind saves; deliberately of yet another class, with
# the clipping that diffusers switches on by default.
BASE = DDPMScheduler(
    beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, clip_sample=True
).config
OUR_NAMES = {
    "linear": "scaled_linear",
    "sqrt_linear": "linear",
    "cosine": "cosine",
    "sqrt": "square_root",
}


# -- schedules ------------------------------------------------------------------------------------


@SAMPLERS.equals("betas", tolerance=THOUSAND_FACTORS)
def betas(_, __):
    ours = noise_betas()
    assert torch.equal(make_noise_schedule().betas.double() - ours < 1e-8, ours > 0)
    return ours


@SAMPLERS.equals("betas_(linear|cosine|sqrt_linear|sqrt)_1000_default", tolerance=THOUSAND_FACTORS)
def betas_of_four_schedules(_, name):
    kind = OUR_NAMES[name.removeprefix("betas_").removesuffix("_1000_default")]
    ends = {"beta_start": 1e-4, "beta_end": 2e-2}
    ours = noise_betas(kind, **ends)
    stock = make_noise_schedule(noise_schedule=kind, **ends).betas
    torch.testing.assert_close(stock.double(), ours, rtol=10 * SINGLE, atol=0)
    return ours


@SAMPLERS.shows("alphas_cumprod")
def remaining_signal(golden, name):
    expected = golden.tensor(name)
    torch.testing.assert_close(
        (1 - noise_betas()).cumprod(0), expected, rtol=THOUSAND_FACTORS, atol=0
    )
    for sampler in ("dpm", "ddim", "plms", "unipc"):  # the stock ones compute in single precision
        ours = make_scheduler(sampler, BASE).alphas_cumprod.double()
        assert (ours - expected).abs().max() < SINGLE_FACTORS


# -- time steps -----------------------------------------------------------------------------------


@SAMPLERS.shows(r"ddim_timesteps_(10|20|50|100|200|250|500)")
def time_steps(golden, name):
    steps = set_steps(make_scheduler("ddim", BASE), int(name.rsplit("_", 1)[1]))
    assert steps.flip(0).tolist() == golden[name].tolist()


@SAMPLERS.shows(r"ddim_timesteps_(300|334|1000)")
def time_steps_that_are_refused(golden, name):
    """Upstream's are more than were asked for, or reach beyond the last noise level."""
    asked = int(name.rsplit("_", 1)[1])
    assert len(golden[name]) != asked or golden[name].max() == 1000
    for sampler in ("ddim", "plms"):
        with pytest.raises(ConfigError, match=f"cannot do {asked} steps"):
            set_steps(make_scheduler(sampler, BASE), asked)


@SAMPLERS.shows("ddim_steps_that_crash_upstream|ddim_steps_all_crashing_1_1000")
def numbers_of_steps_that_crash_there(golden, name):
    ddim = make_scheduler("ddim", BASE)
    refused = 0
    for asked in golden[name].tolist():
        try:
            assert set_steps(ddim, asked).max() < 1000
        except ConfigError:
            refused += 1
    assert refused > len(golden[name]) // 2


# -- trajectories ---------------------------------------------------------------------------------


def closed_form_noise(golden, latents, timestep, condition):
    """The golden file's eps network."""
    abar = golden.tensor("alphas_cumprod").float()[timestep]
    bias = golden.tensor(condition).mean((1, 2))[:, None, None, None]
    return (1 - abar).sqrt() * latents + 0.2 * torch.sin(3 * latents + timestep / 150) + bias


@cache
def trajectory(golden, sampler, steps, scale=1.0, eta=0.0):
    """Latents after each step, the starting noise first."""
    path = [golden.tensor("x_T")]

    def predict(latents, timestep):
        noise = closed_form_noise(golden, latents, timestep, "cond")
        if scale == 1:
            return noise
        return guide(closed_form_noise(golden, latents, timestep, "uncond"), noise, scale)

    def keep(_, __, latents):
        path.append(latents)
        return latents

    generator = torch.Generator().manual_seed(12)
    scheduler = make_scheduler(sampler, BASE)
    denoise(predict, scheduler, path[0], steps, eta=eta, generator=generator, on_step=keep)
    if sampler == "plms":
        del path[1]  # the first step costs two evaluations; the file has what came of both
    return torch.stack(path)


def number_of_steps(name):
    return int(name.removeprefix("plms").removeprefix("ddim").split("_")[0])


@SAMPLERS.equals(r"plms\d+_x", tolerance=sampled(250))
def plms(golden, name):
    return trajectory(golden, "plms", number_of_steps(name))


@SAMPLERS.equals(r"plms\d+_final", tolerance=sampled(250))
def end_of_plms(golden, name):
    return trajectory(golden, "plms", number_of_steps(name))[-1]


@SAMPLERS.equals("plms20_cfg2.5_x", tolerance=sampled(20))
def guided_plms(golden, _):
    return trajectory(golden, "plms", 20, scale=2.5)


@SAMPLERS.equals(r"ddim\d+_eta0_x", tolerance=sampled(50))
def ddim(golden, name):
    return trajectory(golden, "ddim", number_of_steps(name))


@SAMPLERS.equals("ddim20_eta1_x", tolerance=sampled(20))
def stochastic_ddim(golden, _):
    return trajectory(golden, "ddim", 20, eta=1.0)


@SAMPLERS.equals("ddim20_eta1_noise", tolerance=NORMAL_DRAW)
def noise_of_stochastic_ddim(golden, name):
    generator = torch.Generator().manual_seed(12)
    shape = golden.expected(name).shape
    return torch.stack([torch.randn(shape[1:], generator=generator) for _ in range(shape[0])])


@SAMPLERS.shows(r"plms\d+_pred_x0")
def picture_foreseen_by_plms(golden, name):
    """Each of our steps ends where their foreseen picture leads from where ours began.

    DDIM's equation 12: x' = sqrt(a') x0 + sqrt(1 - a') e, where x = sqrt(a) x0 + sqrt(1 - a) e.
    """
    steps = number_of_steps(name)
    ours, foreseen = trajectory(golden, "plms", steps).double(), golden.tensor(name).double()
    abar = golden.tensor("alphas_cumprod")
    times = set_steps(make_scheduler("ddim", BASE), steps)
    before = abar[times].view(-1, 1, 1, 1, 1)
    after = torch.cat([abar[times[1:]], abar[:1]]).view(-1, 1, 1, 1, 1)
    noise = (ours[:-1] - before.sqrt() * foreseen) / (1 - before).sqrt()
    reached = after.sqrt() * foreseen + (1 - after).sqrt() * noise
    assert (reached - ours[1:]).abs().max() < sampled(steps) * ours.abs().max()


SAMPLERS.feeds("x_T|cond", "ddim20_eta0_x")
SAMPLERS.feeds("uncond", "plms20_cfg2.5_x")
