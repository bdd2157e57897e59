"""The whole of stage B in small: picture and brain in, one optimiser step, picture out."""

from functools import cache
from tempfile import TemporaryDirectory

import pytest
import torch
from diffusers import VQModel
from torch import Tensor

from mindvis.models.autoencoder import (
    LDM,
    decode_for_training,
    decode_latents,
    encode_images,
    save_ldm,
)
from mindvis.models.denoiser import build_denoiser, predict_noise
from mindvis.models.layers import sincos_positions
from mindvis.tasks.diffusion import BrainDiffusion
from mindvis.tasks.noising import diffusion_errors, make_noise_schedule
from tests.goldens.brain import build_encoder
from tests.goldens.denoiser import BRANCH, take_branch
from tests.goldens.registry import Rules
from tests.models.upstream import (
    brain_name,
    by_rule,
    compat_weights,
    under,
    unet_name,
    unet_weights,
    vq_weights,
)
from tests.tolerances import (
    EXACT,
    GRADIENT_OF_TIME,
    NETWORK,
    NETWORK_OF_TIME,
    SINGLE,
    adam_steps,
)

LDM_TINY = Rules("ldm_tiny")
UNET, FIRST_STAGE, CONDITION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
FACTS = {"num_voxels": 160, "patch_size": 16, "image_size": 32}
FIXED = f"{CONDITION}mae.pos_embed"  # trains there, is a table here
IDLE = {f"{CONDITION}mae.cls_token", f"{CONDITION}mae.mask_token"}  # without gradient there too


# -- the task, with their weights -----------------------------------------------------------------


def build_first_stage(weights):
    model = VQModel(
        block_out_channels=(32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        num_vq_embeddings=64,
        scaling_factor=1.0,
    )
    model.load_state_dict(vq_weights(under(weights, FIRST_STAGE), levels=3))
    return model


def build_unet(weights):
    unet = build_denoiser(8, 3, 24, 24, (32, 64), 1, attention_head_dim=None)
    unet.load_state_dict(unet_weights(weights, levels=2, layers=1))
    return unet


@cache
def task(golden):
    """Stage B under the options of `compat`, started from their weights."""
    codebook = {f"{FIRST_STAGE}quantize.embedding.weight": golden.tensor("codebook")}
    weights = by_rule(golden) | codebook
    in_unet = under(weights, UNET)
    branch = {f"pooled_maps.{name}": w for name, w in take_branch(in_unet).items()}
    positions = {"pos_embed": sincos_positions(10, 32).float()[None]}
    encoder = build_encoder(under(weights, f"{CONDITION}mae.") | positions)
    ldm = LDM(build_unet(in_unet), build_first_stage(weights), make_noise_schedule(), None)
    with TemporaryDirectory() as folder:
        save_ldm(ldm, f"{folder}/ldm")
        encoder.save_pretrained(f"{folder}/brain/encoder")
        built = BrainDiffusion(
            f"{folder}/ldm",
            FACTS,
            encoder=f"{folder}/brain",
            class_token=False,
            projection="compat",
            condition_dropout=0.0,
            schedule="constant",
            decayed="all",
        )
    maps = compat_weights(under(weights, CONDITION))
    built.conditioner.mapping.load_state_dict(maps | branch)
    return built


def parameter(golden, name):
    """Our parameter of an upstream name."""
    own = task(golden)
    if name.startswith(f"{CONDITION}mae."):
        return own.encoder.get_parameter(brain_name(name.removeprefix(f"{CONDITION}mae.")))
    if name.startswith(CONDITION):
        (ours,) = compat_weights({name.removeprefix(CONDITION): None})
        return own.conditioner.mapping.get_parameter(ours)
    if name.startswith((f"{UNET}{BRANCH}0", f"{UNET}{BRANCH}1")):
        place = name.removeprefix(f"{UNET}{BRANCH}")
        return own.conditioner.mapping.get_parameter(f"pooled_maps.{place}")
    return own.unet.get_parameter(unet_name(name.removeprefix(UNET), levels=2, layers=1))


# -- forward --------------------------------------------------------------------------------------


@cache
def latents(golden):
    with torch.no_grad():
        return encode_images(task(golden).first_stage, golden.tensor("image").movedim(-1, 1))


@LDM_TINY.equals("z")
def latents_before_quantisation(golden, _):
    return latents(golden)


@LDM_TINY.equals("z_noisy")
def noisy_latents(golden, _):
    scheduler = task(golden).scheduler
    return scheduler.add_noise(latents(golden), golden.tensor("noise"), golden.tensor("t"))


def condition(golden):
    return task(golden).condition(golden.tensor("fmri")[:, 0])


@LDM_TINY.equals("context")
def context_tokens(golden, _):
    return condition(golden).context


@LDM_TINY.equals("eps", tolerance=NETWORK_OF_TIME)
def predicted_noise(golden, _):
    noisy = noisy_latents(golden, "z_noisy")
    return predict_noise(task(golden).unet, noisy, golden.tensor("t"), condition(golden))


def training_loss(golden):
    own, t, noise = task(golden), golden.tensor("t"), golden.tensor("noise")
    given = condition(golden)
    return diffusion_errors(own.unet, own.scheduler, latents(golden), noise, t, given).mean()


@LDM_TINY.equals("loss|loss_simple")
def mean_squared_error_of_the_noise(golden, _):
    return training_loss(golden)


LDM_TINY.feeds("image|fmri|t|noise|codebook|rule_names|rule_shapes|rule_ones|rule_a", "loss")
LDM_TINY.leaves_out(
    "loss_vlb|lvlb_weights", "a second loss that is logged there and multiplied by zero"
)


@LDM_TINY.equals("betas")
def betas(golden, _):
    return task(golden).scheduler.betas


@LDM_TINY.equals("sqrt_alphas_cumprod")
def remaining_signal(golden, _):
    return task(golden).scheduler.alphas_cumprod.sqrt()


# -- first stage ----------------------------------------------------------------------------------


def quantised(golden):
    with torch.no_grad():
        return task(golden).first_stage.quantize(golden.tensor("z"))


@LDM_TINY.equals("zq")
def latents_of_codes(golden, _):
    return quantised(golden)[0]


@LDM_TINY.equals("zq_loss")
def loss_of_the_codebook(golden, _):
    return quantised(golden)[1]


@LDM_TINY.equals("zq_indices", tolerance=EXACT)
def numbers_of_codes(golden, _):
    """The nearest codes are much nearer than the second, so that no rounding decides."""
    latents = golden.tensor("z").movedim(1, -1).reshape(-1, 3).double()
    nearest = torch.cdist(latents, golden.tensor("codebook").double()).sort().values
    assert (nearest[:, 1] - nearest[:, 0]).min() > NETWORK * nearest.max()
    return quantised(golden)[2][2].flatten()


@LDM_TINY.shows("decoded")
def decoded_picture(golden, name):
    """Ours is clamped to what a picture can be; theirs is, too, before it is saved."""
    with torch.no_grad():
        ours = decode_latents(task(golden).first_stage, golden.tensor("z"))
    theirs = golden.tensor(name)
    assert (ours - theirs.clamp(-1, 1)).abs().max() <= NETWORK * theirs.abs().max()


@LDM_TINY.equals("decoded_not_quantised")
def picture_of_latents_as_they_are(golden, _):
    with torch.no_grad():
        return decode_for_training(task(golden).first_stage, golden.tensor("z"))


# -- backward and one step ------------------------------------------------------------------------


@cache
def stepped(golden):
    """Gradients by upstream name, their norm, and our weights after one step."""
    own = task(golden)
    own.zero_grad()
    training_loss(golden).backward()
    names = [str(name) for name in golden["grad_names"] if name != FIXED]
    trained = {name: parameter(golden, name) for name in names}
    gradients = {name: p.grad.clone() for name, p in trained.items()}
    before = {name: p.detach().clone() for name, p in trained.items()}
    groups = own.parameter_groups()
    opened = [p for group in groups for p in group["params"] if p.grad is not None]
    with_gradient = {id(p) for p in own.parameters() if p.grad is not None}
    assert {id(p) for p in trained.values()} == {id(p) for p in opened} == with_gradient
    norm = torch.nn.utils.clip_grad_norm_(opened, 0.5)
    torch.optim.AdamW(groups, lr=own.lr, betas=own.betas).step()
    after = {name: p.detach().clone() for name, p in trained.items()}
    with torch.no_grad():  # the task is that of the other checks
        for name, p in trained.items():
            p.copy_(before[name])
    return gradients, norm, after


def statistics(values: Tensor) -> Tensor:
    """Sum, norm, number, first five, as the golden file has them."""
    flat = values.detach().double().flatten()
    first = torch.zeros(5, dtype=torch.float64)
    first[: min(5, len(flat))] = flat[:5]
    return torch.cat([torch.stack([flat.sum(), flat.norm()]), torch.tensor([len(flat)]), first])


def assert_agree(ours, theirs, tolerance, error):
    """Sum, norm and first five values: each value has its error, the norm a relative one."""
    theirs = torch.from_numpy(theirs)
    total, norm, number = theirs[:3].tolist()
    assert ours[2] == number
    assert ours[0].item() == pytest.approx(total, abs=error.sum().item() + 1e-9)
    assert ours[1].item() == pytest.approx(norm, rel=tolerance, abs=1e-9)
    first = error.flatten()[:5]
    assert ((ours[3:] - theirs[3:]).abs()[: len(first)] <= first).all()


@LDM_TINY.shows("grad_stats")
def gradients(golden, name):
    found = stepped(golden)[0]
    for upstream, expected in zip(golden["grad_names"], golden[name], strict=True):
        if upstream != FIXED:
            ours = found[str(upstream)]
            error = torch.full(ours.shape, GRADIENT_OF_TIME * expected[1] + 1e-9)
            assert_agree(statistics(ours), expected, GRADIENT_OF_TIME, error)


@LDM_TINY.equals("grad_norm_each_once", tolerance=GRADIENT_OF_TIME)
def norm_of_all_gradients(golden, _):
    """Theirs has the table of positions among what trains (Q16)."""
    names = golden["grad_names"].tolist()
    fixed = golden["grad_stats"][names.index(FIXED), 1]
    return torch.tensor([stepped(golden)[1].item(), fixed]).norm()


@LDM_TINY.shows("after_stats_each_once")
def weights_after_one_step(golden, name):
    gradients, _, found = stepped(golden)
    for upstream, expected in zip(golden["grad_names"], golden[name], strict=True):
        if upstream != FIXED and not upstream.endswith("qkv.bias"):
            # Adam turns the key's gradient, all round-off, into a step
            ours, gradient = found[str(upstream)], gradients[str(upstream)]
            step = adam_steps(task(golden).lr, GRADIENT_OF_TIME * gradient.norm(), gradient)
            assert_agree(statistics(ours), expected, NETWORK, step + SINGLE * ours.abs())


LDM_TINY.feeds("grad_names", "grad_stats")
LDM_TINY.leaves_out(
    "after_stats|grad_norm_upstream",
    "weights that its optimiser holds twice get two steps; present torch refuses such a list",
)


def trained_here(golden):
    """Upstream names of what our optimiser is given."""
    given = {id(p) for group in task(golden).parameter_groups() for p in group["params"]}
    names = {str(name) for name in golden["rule_names"] if not name.startswith(FIRST_STAGE)}
    found = set()
    for name in names - {FIXED, f"{CONDITION}mae.mask_token"}:
        if id(parameter(golden, name)) in given:
            found.add(name)
    return found


@LDM_TINY.shows("optimised_names")
def what_the_optimiser_is_given(golden, name):
    """All that theirs is given but the table, idle tokens, and norms of the frozen picture net."""
    theirs, ours = set(golden[name].tolist()), trained_here(golden)
    assert ours <= theirs
    assert {n for n in theirs - ours if not n.startswith(FIRST_STAGE)} == IDLE | {FIXED}


@LDM_TINY.shows("names_with_grad")
def what_gets_a_gradient(golden, name):
    """Only what trains; there, every weight of the U-Net gets one that nobody uses."""
    theirs, ours = set(golden[name].tolist()), set(stepped(golden)[0])
    assert ours < theirs
    assert ours == trained_here(golden)


@LDM_TINY.shows("duplicated_names")
def what_is_listed_twice(golden, name):
    given = [id(p) for group in task(golden).parameter_groups() for p in group["params"]]
    assert len(set(given)) == len(given)
    for duplicated in golden[name]:
        assert given.count(id(parameter(golden, str(duplicated)))) == 1
