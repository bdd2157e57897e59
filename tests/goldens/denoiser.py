"""The U-Net, stock, with and without the time condition."""

from functools import cache

import torch
from diffusers import UNet2DConditionModel

from mindvis.models.conditioning import CompatProjection, Conditioning
from mindvis.models.denoiser import build_denoiser, predict_noise, with_pooled_input
from tests.goldens.registry import Rules
from tests.models.upstream import by_rule, unet_weights
from tests.tolerances import NETWORK_OF_TIME, sinusoid

BRANCH = "time_embed_condtion."
UNET = Rules("unet_tokens_timecond", "unet_pooled_timecond", "unet_tokens_notimecond")


def take_branch(weights):
    """MinD-Vis' pooled branch, 77 tokens to 38 to 1, which is in our conditioner."""
    names = [name for name in weights if name.startswith((f"{BRANCH}0.", f"{BRANCH}1."))]
    return {name.removeprefix(BRANCH): weights.pop(name) for name in names}


def pooled_vector(branch, context):
    """What our conditioner makes of context tokens: the branch's one, or the only token."""
    mapping = CompatProjection(10 if branch else 1, 32, 24, 24, context.shape[1])
    mapping.pooled_maps.load_state_dict(branch)
    return mapping.pooled(context)


@cache
def noise(golden):
    weights, context = by_rule(golden), golden.tensor("context")
    branch = take_branch(weights)
    unet = build_denoiser(8, 3, 24, 24, (32, 64), 1, attention_head_dim=None)
    timed = any(name.startswith(BRANCH) for name in weights)
    if not timed:
        plain = {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
        unet = UNet2DConditionModel.from_config({**unet.config, **plain})
    unet.load_state_dict(unet_weights(weights, levels=2, layers=1))
    unet = with_pooled_input(unet, 24)
    pooled = pooled_vector(branch, context) if timed else torch.ones(2, 24)
    given = Conditioning(context, pooled)
    with torch.no_grad():
        return predict_noise(unet, golden.tensor("x"), golden.tensor("t"), given)


@UNET.equals("out", tolerance=NETWORK_OF_TIME)
def predicted_noise(golden, _):
    return noise(golden)


UNET.feeds("x|context|rule_names|rule_shapes|rule_ones|rule_a", "out")


@UNET.shows("temb(32|192)")
def sinusoid_of_the_time(golden, name):
    width = int(name.removeprefix("temb"))
    with torch.device("meta"):
        unet = build_denoiser(8, 3, 24, 24, (width, width), 1, attention_head_dim=None)
    t = golden.tensor("t") if width == 32 else torch.tensor([0, 1, 500, 999])
    error = (unet.time_proj(t) - golden.tensor(name)).abs()
    assert (error <= sinusoid(t)).all()


UNET.feeds("t", "temb32")
