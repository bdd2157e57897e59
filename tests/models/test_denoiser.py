"""The stock U-Net as MinD-Vis' denoiser: its sizes, and what trains of it."""

import pytest
import torch

from mindvis.errors import ConfigError
from mindvis.models.conditioning import BrainConditioner, Conditioning, LabelConditioner
from mindvis.models.denoiser import (
    build_denoiser,
    number_of_heads,
    open_for_conditioning,
    predict_noise,
)
from mindvis.models.frozen import store_frozen


def tiny_denoiser():
    torch.manual_seed(0)
    return build_denoiser(
        sample_size=8,
        in_channels=3,
        context_dim=6,
        pooled_dim=5,
        block_out_channels=(8, 16),
        attention_head_dim=4,
    )


def test_what_trains_at_mindvis_size():
    """27.1 million parameters in 118 tensors: 114 in the U-Net, 4 in the pooled branch."""
    with torch.device("meta"):
        unet = build_denoiser(64, 3, 512, 512, (192, 384, 576, 960), 2, attention_head_dim=None)
        conditioner = BrainConditioner(291, 1024, 512, 512, projection="compat")
    opened = open_for_conditioning(unet)
    branch = list(conditioner.mapping.pooled_maps.parameters())
    assert len(opened) + len(branch) == 118
    trained = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    trained += sum(p.numel() for p in branch)
    assert trained == pytest.approx(27.1e6, abs=0.05e6)
    total = sum(p.numel() for p in unet.parameters()) + sum(p.numel() for p in branch)
    assert total == pytest.approx(401.3e6, abs=0.05e6)


def test_only_the_condition_gets_gradients():
    unet = tiny_denoiser()
    opened = open_for_conditioning(unet)
    conditioner = LabelConditioner(4, context_dim=6, pooled_dim=5)
    noise = predict_noise(
        unet, torch.randn(2, 3, 8, 8), torch.tensor([3, 7]), conditioner(torch.tensor([0, 3]))
    )
    noise.square().mean().backward()
    with_gradient = [name for name, p in unet.named_parameters() if p.grad is not None]
    assert with_gradient == opened
    assert not any("resnets" in name or "attn1" in name for name in opened)
    assert {"class_embedding.weight", "class_embedding.bias"} <= set(opened)


def test_both_ways_of_conditioning_count():
    unet, latents, t = tiny_denoiser(), torch.randn(1, 3, 8, 8), torch.tensor([5])
    context, pooled = torch.randn(1, 4, 6), torch.randn(1, 5)
    base = predict_noise(unet, latents, t, Conditioning(context, pooled))
    other_context = predict_noise(unet, latents, t, Conditioning(-context, pooled))
    other_pooled = predict_noise(unet, latents, t, Conditioning(context, -pooled))
    assert not torch.allclose(base, other_context)
    assert not torch.allclose(base, other_pooled)


def test_repeated_tokens_are_one_token():
    unet, latents, t = tiny_denoiser(), torch.randn(1, 3, 8, 8), torch.tensor([5])
    token, pooled = torch.randn(1, 1, 6), torch.randn(1, 5)
    one = predict_noise(unet, latents, t, Conditioning(token, pooled))
    many = predict_noise(unet, latents, t, Conditioning(token.expand(1, 9, 6), pooled))
    assert torch.allclose(one, many, atol=1e-5)


def test_heads_and_levels():
    unet = build_denoiser(
        8, 3, 6, 5, (8, 16, 24), attention=(True, False, True), attention_head_dim=8
    )
    assert [type(block).__name__ for block in unet.down_blocks] == [
        "CrossAttnDownBlock2D",
        "DownBlock2D",
        "CrossAttnDownBlock2D",
    ]
    assert type(unet.up_blocks[0]).__name__ == "CrossAttnUpBlock2D"
    assert number_of_heads(24, 8) == 3
    assert number_of_heads(24, None) == 1


def test_mistakes_are_sentences():
    with pytest.raises(ConfigError, match="16 channels has attention heads of 5"):
        number_of_heads(16, 5)
    with pytest.raises(ConfigError, match="says 1 levels and block_out_channels 2"):
        build_denoiser(8, 3, 6, 5, (8, 16), attention=(True,))
    with pytest.raises(ConfigError, match="7 x 7 are halved 1 times; expected a multiple of 2"):
        build_denoiser(7, 3, 6, 5, (8, 16))


def test_frozen_weights_are_held_in_another_precision():
    unet = tiny_denoiser()
    opened = set(open_for_conditioning(unet))
    store_frozen(unet, torch.bfloat16)
    for name, parameter in unet.named_parameters():
        held = name not in opened and parameter.ndim > 1
        assert parameter.dtype == (torch.bfloat16 if held else torch.float32), name
    conditioner = LabelConditioner(4, context_dim=6, pooled_dim=5)
    latents, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([3, 7]), torch.tensor([0, 3])
    with torch.autocast("cpu", torch.bfloat16):
        noise = predict_noise(unet, latents, t, conditioner(labels))
    exact = predict_noise(tiny_denoiser(), latents, t, conditioner(labels))
    assert (noise - exact).norm() < 0.05 * exact.norm()
    noise.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in unet.parameters() if p.requires_grad)
