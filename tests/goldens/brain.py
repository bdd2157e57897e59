"""Encoder, masked autoencoder and its training, their parts, and from brain to context."""

from functools import cache

import numpy as np
import pytest
import torch

from mindvis.models.conditioning import BrainConditioner
from mindvis.models.encoder import BrainEncoder
from mindvis.models.layers import patchify, resample_positions, sincos_positions, unpatchify
from mindvis.models.masking import drawn_patches, focus_noise, random_masking
from mindvis.tasks.masked import MaskedModelling, masked_correlation
from mindvis.tasks.schedule import warmup_cosine
from tests.goldens.registry import Rules
from tests.models.upstream import brain_name, brain_weights, close, compat_weights, under
from tests.tolerances import EXACT, NETWORK, SINGLE, THOUSAND_FACTORS, adam_steps, table_of_sines

SIZES = (160, 16, 32, 2, 4, 1.0)  # voxels, patch, width, depth, heads, MLP ratio
RATIOS = {"": 0.75, "_r50": 0.5, "_r0": 0.0}
EPOCHS = (1, 3)
RATES = 4 * 2.5e-2  # of the four steps, at most


def build_encoder(weights, *, pool=False):
    encoder = BrainEncoder(*SIZES, class_token=False, pool=pool)
    encoder.load_state_dict(brain_weights(weights, decoder=False))
    return encoder.eval()


# -- encoder ------------------------------------------------------------------------------------

ENCODER = Rules("mae_encoder")


@ENCODER.equals("out_(tokens|pooled)")
def tokens_of_all_patches(golden, name):
    encoder = build_encoder(golden.tensors("sd/"), pool=name == "out_pooled")
    return encoder(golden.tensor("x")[:, 0])


ENCODER.feeds("x|sd/.*", "out_tokens")

# -- masked autoencoder ---------------------------------------------------------------------------

MAE = Rules("mae_forward")


def build_task(golden):
    """Stage A at the size of the golden file, with the options of its training loop."""
    task = MaskedModelling(
        {"num_voxels": 160, "patch_size": 16},
        embed_dim=32,
        depth=2,
        num_heads=4,
        decoder_embed_dim=16,
        decoder_depth=2,
        decoder_num_heads=4,
        lr=2.5e-2,
        min_lr=1e-5,
        warmup_epochs=2,
        schedule="cosine_from_zero",
        decayed="tokens",
    )
    task.mae.load_state_dict(brain_weights(golden.tensors("sd/")))
    return task


def masked(golden, name, stem):
    """Voxels, mask ratio and noise of the forward pass that an array belongs to."""
    tag = name.removeprefix(stem)
    return golden.tensor("x")[:, 0], RATIOS[tag], golden.tensor(f"noise{tag}")


@MAE.equals("pred(|_r50|_r0)")
def predicted_patches(golden, name):
    return build_task(golden).mae(*masked(golden, name, "pred")).prediction


@MAE.equals("mask(|_r50|_r0)", tolerance=EXACT)
def removed_patches(golden, name):
    return build_task(golden).mae(*masked(golden, name, "mask")).mask


@MAE.equals("loss(|_r50|_r0)")
def mean_error_of_removed_patches(golden, name):
    return build_task(golden).mae(*masked(golden, name, "loss")).loss


@MAE.equals("latent(|_r50|_r0)")
def tokens_of_kept_patches(golden, name):
    return build_task(golden).mae.forward_encoder(*masked(golden, name, "latent"))[0]


@MAE.equals("ids_restore(|_r50|_r0)", tolerance=EXACT)
def order_of_patches(golden, name):
    _, ratio, noise = masked(golden, name, "ids_restore")
    return random_masking(noise, ratio).restore


MAE.feeds("x|noise|sd/.*", "pred")
MAE.feeds("noise_r50", "pred_r50")
MAE.feeds("noise_r0", "pred_r0")


@cache
def gradients(golden):
    """Gradients by our names."""
    task = build_task(golden)
    task.mae(*masked(golden, "loss", "loss")).loss.backward()
    return {name: p.grad for name, p in task.mae.named_parameters()}


@MAE.shows("grad/.*")
def gradient_of_each_weight(golden, name):
    theirs = brain_weights({name.removeprefix("grad/"): torch.from_numpy(golden.expected(name))})
    ((ours, expected),) = theirs.items()
    assert close(gradients(golden)[ours], expected)


@MAE.equals("grad_norm")
def norm_of_all_gradients(golden, _):
    there = {brain_name(n.removeprefix("grad/")) for n in golden.files if n.startswith("grad/")}
    ours = gradients(golden)
    assert ours.keys() == there  # every weight of ours has a gradient there, and no other
    return torch.nn.utils.get_total_norm(ours.values()).double()


@MAE.shows("no_decay")
def weights_without_decay(golden, name):
    task = build_task(golden)
    decayed, spared = task.parameter_groups()
    names = {id(p): n.removeprefix("mae.") for n, p in task.named_parameters()}
    assert {names[id(p)] for p in spared["params"]} == {brain_name(str(n)) for n in golden[name]}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)


@cache
def trained(golden):
    """After two epochs of two batches: weights, least gradients, mean correlation by epoch."""
    task = build_task(golden)
    least = {n: torch.full_like(p, torch.inf) for n, p in task.mae.named_parameters()}
    optimizer = torch.optim.AdamW(task.parameter_groups(), lr=1.0, betas=task.betas)
    correlations = []
    for epoch in EPOCHS:
        generator = torch.Generator().manual_seed(20 + epoch)
        found = []
        for step, batch in enumerate(golden.tensor("train_x")):
            for group in optimizer.param_groups:
                group["lr"] = task.lr * task.lr_factor(2 * epoch + step, 2, 20)
            voxels = batch[:, 0]
            optimizer.zero_grad()
            output = task.mae(voxels, task.mask_ratio, generator=generator)
            output.loss.backward()
            for n, p in task.mae.named_parameters():
                least[n] = torch.minimum(least[n], p.grad.abs())
            torch.nn.utils.clip_grad_norm_(task.mae.parameters(), 0.8)
            optimizer.step()
            predicted = unpatchify(output.prediction.detach())
            found.append(masked_correlation(predicted, voxels, torch.ones_like(voxels)).mean())
        correlations.append(torch.stack(found).mean().double())
    return task.mae.state_dict(), least, torch.stack(correlations)


@MAE.shows("after/.*")
def weight_after_four_steps(golden, name):
    theirs = brain_weights({name.removeprefix("after/"): torch.from_numpy(golden.expected(name))})
    ((ours, expected),) = theirs.items()
    weights, least, _ = trained(golden)
    error, gradient = (weights[ours] - expected).abs(), least.get(ours, torch.ones(1))
    # where the gradient is round-off, as that of the key's bias, so is Adam's step
    steps = adam_steps(RATES, SINGLE * gradient.max(), gradient)
    tolerance = NETWORK * expected.abs().max() + steps
    assert (error <= tolerance).all()
    assert (tolerance < 1e-3).double().mean() > (0.6 if ours.endswith("qkv.bias") else 0.8)


@MAE.equals("train_cor")
def correlation_while_training(golden, _):
    return trained(golden)[2]


MAE.feeds("train_x", "train_cor")


def same_draws():
    """A generator whose draws without replacement are those of the golden file."""
    if not torch.backends.mkl.is_available():
        pytest.skip("MKL draws these numbers; other builds of torch draw others")
    return torch.Generator().manual_seed(9)


@MAE.equals("focus_ids_mask", tolerance=EXACT)
def patches_drawn_in_focus(golden, _):
    generator = same_draws()
    return drawn_patches(torch.zeros(3, 10), 32 // 16, 96 // 16, 0.6, 0.75, generator)


@MAE.shows("focus_(mask|ids_restore)")
def masking_in_focus(golden, name):
    generator = same_draws()
    noise = focus_noise(golden.tensor("focus_noise"), 2, 6, 0.6, 0.75, generator)
    masking = random_masking(noise, 0.75)
    ours = masking.mask if name == "focus_mask" else masking.restore
    assert np.array_equal(ours, golden.expected(name))


MAE.feeds("focus_noise", "focus_mask")

# -- parts ----------------------------------------------------------------------------------------

PARTS = Rules("mae_parts")


@PARTS.equals("lr", tolerance=THOUSAND_FACTORS)
def learning_rate(golden, _):
    steps = (2 * golden["lr_epochs"]).astype(int).tolist()  # the file has two steps an epoch
    options = {"total": 1000, "warmup": 80, "schedule": "cosine_from_zero"}
    return np.array([2.5e-4 * warmup_cosine(step, **options) for step in steps])


PARTS.feeds("lr_epochs", "lr")


@PARTS.equals("patchify_out", tolerance=EXACT)
def patches(golden, _):
    return patchify(golden.tensor("patchify_in")[:, 0], 16)


@PARTS.equals("unpatchify_out", tolerance=EXACT)
def voxels_of_patches(golden, _):
    return unpatchify(patchify(golden.tensor("patchify_in"), 16))


PARTS.feeds("patchify_in", "patchify_out")


@PARTS.equals(r"pos_(32_10_cls|32_10_nocls|16_7_cls)", tolerance=table_of_sines(16))
def table_of_positions(_, name):
    dim, length, kind = name.removeprefix("pos_").split("_")
    return sincos_positions(int(length), int(dim), kind == "cls")


@PARTS.equals("pos_1024_282_cls", tolerance=table_of_sines(282))
def table_at_the_papers_size(_, __):
    return sincos_positions(282, 1024)[[0, 1, 2, 100, 282]]


@PARTS.equals(r"pos_interp_10_to_\d+", tolerance=EXACT)
def table_for_other_lengths(golden, name):
    stored = golden.tensor("pos_interp_10_to_10")[0]
    return resample_positions(stored, int(name.rsplit("_", 1)[1]))[None]


# -- from brain to context ------------------------------------------------------------------------

CONDITION = Rules("cond_stage")


def tokens_and_conditioning(golden, kind):
    """Encoder and compat projection, of all tokens or of the pooled one."""
    weights = golden.tensors(f"sd_{kind}/")
    encoder = build_encoder(under(weights, "mae."), pool=kind == "pooled")
    context_tokens = 1 if kind == "pooled" else 77
    conditioner = BrainConditioner(
        encoder.num_tokens, 32, 24, 24, context_tokens, projection="compat"
    )
    found = conditioner.mapping.load_state_dict(compat_weights(weights), strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("pooled_maps.") for name in found.missing_keys)
    tokens = encoder(golden.tensor("x")[:, 0])
    return tokens, conditioner(tokens)


@CONDITION.equals("mae_(tokens|pooled)")
def brain_tokens(golden, name):
    return tokens_and_conditioning(golden, name.removeprefix("mae_"))[0]


@CONDITION.equals("out_(tokens|pooled)")
def context_tokens(golden, name):
    return tokens_and_conditioning(golden, name.removeprefix("out_"))[1].context


CONDITION.feeds("x|sd_tokens/.*", "out_tokens")
CONDITION.feeds("sd_pooled/.*", "out_pooled")


@CONDITION.equals("loaded_pos_embed_10_to_7", tolerance=EXACT)
def positions_of_a_resized_encoder(golden, _):
    encoder = build_encoder(under(golden.tensors("sd_tokens/"), "mae."))
    return encoder.resized(112).trunk.positions[None]
