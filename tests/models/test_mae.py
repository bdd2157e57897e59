"""BrainMAE against MinD-Vis' own numbers, and its contract."""

import math

import numpy as np
import pytest
import torch

from mindvis.errors import ConfigError, DataError
from mindvis.models.mae import BrainMAE
from tests.models.upstream import arrays, brain_name, brain_weights, close

TAGS = [("", 0.75), ("_r50", 0.5), ("_r0", 0.0)]


@pytest.fixture
def golden(shared):
    return np.load(shared("goldens/mae_forward.npz"))


@pytest.fixture
def upstream(golden):
    mae = BrainMAE(160, 16, 32, 2, 4, 1.0, 16, 2, 4)
    mae.load_state_dict(brain_weights(arrays(golden, "sd/")))
    return mae


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return BrainMAE(
        num_voxels=42,
        patch_size=6,
        embed_dim=10,
        depth=2,
        num_heads=5,
        decoder_embed_dim=8,
        decoder_depth=1,
        decoder_num_heads=2,
    )


@pytest.mark.parametrize(("tag", "ratio"), TAGS)
def test_forward_is_that_of_mindvis(golden, upstream, tag, ratio):
    voxels = torch.from_numpy(golden["x"])[:, 0]
    noise = torch.from_numpy(golden[f"noise{tag}"])
    output = upstream(voxels, ratio, noise)
    latent, masking = upstream.forward_encoder(voxels, ratio, noise)
    assert close(latent, golden[f"latent{tag}"])
    assert close(output.prediction, golden[f"pred{tag}"])
    assert np.array_equal(output.mask, golden[f"mask{tag}"])
    assert np.array_equal(masking.restore, golden[f"ids_restore{tag}"])
    assert output.loss.item() == pytest.approx(float(golden[f"loss{tag}"]), rel=1e-6)


def test_every_gradient_is_that_of_mindvis(golden, upstream):
    voxels, noise = torch.from_numpy(golden["x"])[:, 0], torch.from_numpy(golden["noise"])
    upstream(voxels, 0.75, noise).loss.backward()
    expected = brain_weights(arrays(golden, "grad/"))
    ours = {name: p.grad for name, p in upstream.named_parameters()}
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert close(gradient, expected[name]), name
    norm = torch.stack([g.norm() for g in ours.values()]).norm().item()
    assert norm == pytest.approx(float(golden["grad_norm"]), rel=1e-6)


def upstream_rate(epoch):
    """Warm-up over 2 epochs, half a cosine to 1e-5 over the other 8 of 10."""
    if epoch < 2:
        return 2.5e-2 * epoch / 2
    return 1e-5 + (2.5e-2 - 1e-5) * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / 8))


def mean_correlation(prediction, voxels):
    pairs = zip(prediction.detach().flatten(1), voxels[:, 0], strict=True)
    return sum(np.corrcoef(a, b)[0, 1] for a, b in pairs) / len(voxels)


def test_four_training_steps_are_those_of_mindvis(golden, upstream):
    exempt = {brain_name(str(name)) for name in golden["no_decay"]}
    groups = [
        {
            "params": [p for n, p in upstream.named_parameters() if (n in exempt) == (decay == 0)],
            "weight_decay": decay,
        }
        for decay in (0.05, 0.0)
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95))
    correlations = []
    for epoch in (1, 3):
        torch.manual_seed(20 + epoch)
        for step, batch in enumerate(torch.from_numpy(golden["train_x"])):
            for group in optimizer.param_groups:
                group["lr"] = upstream_rate(epoch + step / 2)
            optimizer.zero_grad()
            output = upstream(batch[:, 0], 0.75)
            output.loss.backward()
            correlations.append(mean_correlation(output.prediction, batch))
            torch.nn.utils.clip_grad_norm_(upstream.parameters(), 0.8)
            optimizer.step()
    means = [sum(correlations[:2]) / 2, sum(correlations[2:]) / 2]
    assert means == pytest.approx(golden["train_cor"], abs=1e-5)
    for name, expected in brain_weights(arrays(golden, "after/")).items():
        ours, width = upstream.state_dict()[name], expected.shape[0] // 3
        if name.endswith("qkv.bias"):  # Adam turns the key's gradient, all round-off, into steps
            ours, expected = (torch.cat([b[:width], b[2 * width :]]) for b in (ours, expected))
        assert close(ours, expected, 1e-3), name


def test_loss_counts_valid_voxels_of_removed_patches_only(tiny):
    generator = torch.Generator().manual_seed(5)
    voxels = torch.randn(3, 42, generator=generator)
    valid = torch.rand(3, 42, generator=generator) > 0.3
    output = tiny(voxels, 0.5, generator=generator, valid=valid)
    total, count = 0.0, 0
    for sample in range(3):
        for voxel in range(42):
            patch, within = divmod(voxel, 6)
            if output.mask[sample, patch] == 1 and valid[sample, voxel]:
                error = output.prediction[sample, patch, within] - voxels[sample, voxel]
                total, count = total + error.item() ** 2, count + 1
    assert output.loss.item() == pytest.approx(total / count, rel=1e-5)


def test_valid_voxels_may_be_the_same_for_all(tiny):
    voxels, noise = torch.randn(2, 42), torch.rand(2, 7)
    valid = torch.arange(42) < 33
    one = tiny(voxels, 0.5, noise, valid=valid).loss
    each = tiny(voxels, 0.5, noise, valid=valid.expand(2, -1)).loss
    assert torch.equal(one, each)
    assert tiny(voxels, 0.5, noise, valid=torch.zeros(42, dtype=torch.bool)).loss == 0


def test_removed_patches_are_not_seen(tiny):
    voxels, noise = torch.randn(2, 42), torch.rand(2, 7)
    output = tiny(voxels, 0.6, noise)
    hidden = output.mask.bool().repeat_interleave(6, dim=1)
    other = tiny(torch.where(hidden, 100.0, voxels), 0.6, noise)
    assert torch.equal(output.prediction, other.prediction)
    shown = tiny(torch.where(hidden, voxels, voxels + 1), 0.6, noise)
    assert not torch.allclose(output.prediction, shown.prediction)


def test_reconstruction_keeps_what_was_seen(tiny):
    voxels = torch.randn(2, 42)
    output = tiny(voxels, 0.6, generator=torch.Generator().manual_seed(1))
    hidden = output.mask.bool().repeat_interleave(6, dim=1)
    whole = tiny.reconstruct(output, voxels)
    assert torch.equal(whole[~hidden], voxels[~hidden])
    assert torch.equal(whole[hidden], tiny.unpatchify(output.prediction)[hidden])


def test_positions_never_train(tiny):
    names = dict(tiny.named_parameters())
    assert not any("positions" in name for name in names)
    assert {"trunk.positions", "decoder_positions"} <= tiny.state_dict().keys()


def test_recomputed_activations_give_the_same_gradients(tiny):
    voxels, noise = torch.randn(2, 42), torch.rand(2, 7)
    plain = torch.autograd.grad(tiny(voxels, 0.5, noise).loss, list(tiny.parameters()))
    tiny.enable_gradient_checkpointing()
    again = torch.autograd.grad(tiny(voxels, 0.5, noise).loss, list(tiny.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_it_learns_a_planted_pattern():
    torch.manual_seed(0)
    mae = BrainMAE(42, 6, 32, 1, 2, 2.0, 32, 1, 2)
    generator = torch.Generator().manual_seed(2)
    pattern = torch.randn(2, 42, generator=generator)
    optimizer = torch.optim.AdamW(mae.parameters(), lr=3e-3)
    for _ in range(180):
        codes = torch.randn(32, 2, generator=generator)
        loss = mae(codes @ pattern, 0.5, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5  # a constant would score the variance of the voxels, 1.8


def test_saved_and_loaded_bit_for_bit(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    loaded = BrainMAE.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    for name, weight in tiny.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name


def test_parameter_count_at_the_papers_size():
    with torch.device("meta"):
        mae = BrainMAE(num_voxels=4656)
    total = sum(p.numel() for p in mae.parameters())
    encoder = sum(p.numel() for p in mae.trunk.parameters())
    # MinD-Vis counts its fixed positions (292 rows) among the parameters
    assert total + 292 * (1024 + 512) == pytest.approx(164.9e6, abs=0.05e6)
    assert encoder + 292 * 1024 == pytest.approx(151.6e6, abs=0.2e6)


def test_mistakes_are_sentences(tiny):
    with pytest.raises(DataError, match="have 36 voxels; expected 42"):
        tiny(torch.zeros(2, 36))
    with pytest.raises(ConfigError, match=r"ratio of 0\.9 keeps 0 of 7"):
        tiny(torch.zeros(2, 42), 0.9)
