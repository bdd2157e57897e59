"""The plain functions that imports are compared with, against MinD-Vis' own numbers."""

import numpy as np
import pytest
import torch

from tests.models import reference
from tests.models.upstream import arrays, by_rule, close, under
from tests.tolerances import NETWORK_OF_TIME, sampled


@pytest.fixture
def golden(shared):
    return np.load(shared("goldens/ldm_tiny.npz"))


@pytest.fixture
def weights(golden):
    codes = {"first_stage_model.quantize.embedding.weight": torch.from_numpy(golden["codebook"])}
    return by_rule(golden) | codes


def test_state_dicts_hold_what_mindvis_has(weights):
    """Names and shapes; the tables of positions and an unused mask token aside."""
    parts = {
        "model.diffusion_model.": reference.unet_shapes(32, (1, 2), 1, (False, True), 24),
        "first_stage_model.": reference.vq_shapes(32, (1, 2, 4), 2, 3, 64),
        "cond_stage_model.": reference.condition_shapes(10, 32, 24),
        "cond_stage_model.mae.": reference.encoder_shapes(10, 16, 32, 2, 32),
    }
    listed = {p + name: shape for p, shapes in parts.items() for name, shape in shapes.items()}
    listed["cond_stage_model.mae.mask_token"] = (1, 1, 32)
    del listed["cond_stage_model.mae.pos_embed"]
    assert {name: tuple(w.shape) for name, w in weights.items()} == listed


def test_autoencoder_holds_what_mindvis_has(shared):
    stored = arrays(np.load(shared("goldens/mae_forward.npz")), "sd/")
    shapes = reference.mae_shapes(10, 16, 32, 2, 32, 16, 2, 16)
    assert {name: tuple(w.shape) for name, w in stored.items()} == shapes


def test_autoencoder(shared):
    golden = np.load(shared("goldens/mae_forward.npz"))
    voxels = torch.from_numpy(golden["x"])[:, 0]
    predicted = reference.predict_patches(arrays(golden, "sd/"), voxels, 4, 4)
    assert close(predicted, golden["pred_r0"])


@pytest.mark.parametrize("form", ["tokens", "pooled"])
def test_context(shared, form):
    golden = np.load(shared("goldens/cond_stage.npz"))
    w, voxels = arrays(golden, f"sd_{form}/"), torch.from_numpy(golden["x"])[:, 0]
    tokens = reference.encode_brain(under(w, "mae."), voxels, 4, pooled=form == "pooled")
    assert close(tokens, golden[f"mae_{form}"])
    assert close(reference.to_context(w, tokens), golden[f"out_{form}"])


@pytest.mark.parametrize("case", ["tokens_timecond", "pooled_timecond", "tokens_notimecond"])
def test_noise(shared, case):
    golden = np.load(shared(f"goldens/unet_{case}.npz"))
    x, t, context = (torch.from_numpy(golden[name]) for name in ("x", "t", "context"))
    assert close(reference.predict(by_rule(golden), x, t, context), golden["out"], NETWORK_OF_TIME)


def test_pictures(golden, weights):
    w = under(weights, "first_stage_model.")
    latents = reference.encode_picture(w, torch.from_numpy(golden["image"]).movedim(-1, 1))
    assert close(latents, golden["z"])
    assert close(reference.decode_picture(w, torch.from_numpy(golden["z"])), golden["decoded"])


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_sampler(shared, steps):
    golden = np.load(shared("goldens/samplers.npz"))
    abar, condition = golden["alphas_cumprod"].astype("f4"), torch.from_numpy(golden["cond"])

    def noise_of(x, t):
        wave = 0.2 * torch.sin(3 * x + t / 150)
        return float((1 - abar[t]) ** 0.5) * x + wave + condition.mean((1, 2))[:, None, None, None]

    final = reference.plms(noise_of, torch.from_numpy(golden["x_T"]), steps)
    assert close(final, golden[f"plms{steps}_final"], sampled(steps))
