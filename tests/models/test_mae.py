"""BrainMAE and its contract; its numbers are compared in test_goldens."""

import pytest
import torch

from mindvis.errors import ConfigError, DataError
from mindvis.models.encoder import BrainEncoder
from mindvis.models.mae import BrainMAE


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    mae = BrainMAE(
        num_voxels=42,
        patch_size=6,
        embed_dim=10,
        depth=2,
        num_heads=5,
        decoder_embed_dim=8,
        decoder_depth=1,
        decoder_num_heads=2,
    )
    torch.nn.init.xavier_uniform_(mae.decoder_pred.weight)  # as after some training
    return mae


def test_a_new_network_predicts_the_mean_of_standardised_voxels():
    output = BrainMAE(42, 6, 10, 1, 5, 1.0, 8, 1, 2)(torch.randn(3, 42))
    assert not output.prediction.any()


def test_positions_are_scaled_in_encoder_and_decoder(tmp_path):
    whole, small = (BrainMAE(42, 6, 10, 1, 5, 1.0, 8, 1, 2, position_scale=s) for s in (1.0, 0.1))
    torch.testing.assert_close(small.trunk.positions, 0.1 * whole.trunk.positions)
    torch.testing.assert_close(small.decoder_positions, 0.1 * whole.decoder_positions)
    encoder = BrainEncoder.from_mae(small)
    assert torch.equal(encoder.trunk.positions, small.trunk.positions)
    encoder.save_pretrained(tmp_path)
    again = BrainEncoder.from_config(BrainEncoder.load_config(tmp_path))  # a control: no weights
    assert torch.equal(again.trunk.positions, small.trunk.positions)


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
    torch.testing.assert_close(one, each)
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
