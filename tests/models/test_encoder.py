"""BrainEncoder and where it is loaded from."""

import pytest
import torch

from mindvis.errors import CheckpointError
from mindvis.models.encoder import BrainEncoder, load_encoder
from mindvis.models.mae import BrainMAE


@pytest.fixture
def mae():
    torch.manual_seed(0)
    return BrainMAE(42, 6, 10, 2, 5, 1.0, 8, 1, 2)


@pytest.fixture
def run(mae, tmp_path):
    mae.save_pretrained(tmp_path / "run" / "model" / "mae")
    return tmp_path / "run"


def test_encoder_of_a_mae_gives_what_stage_a_gives(mae):
    voxels = torch.randn(3, 42)
    in_order = torch.arange(7.0).expand(3, -1)
    tokens, _ = mae.forward_encoder(voxels, 0.0, in_order)
    encoder = BrainEncoder.from_mae(mae)
    assert torch.allclose(encoder(voxels), tokens, atol=1e-6)
    assert encoder.num_tokens == 8 == encoder(voxels).shape[1]


def test_encoder_is_a_copy(mae):
    encoder = BrainEncoder.from_mae(mae)
    with torch.no_grad():
        encoder.trunk.norm.weight.add_(1)
    assert torch.equal(mae.trunk.norm.weight, torch.ones(10))


def test_without_class_token_nothing_idle_trains(mae):
    encoder = BrainEncoder.from_mae(mae, class_token=False)
    encoder(torch.randn(2, 42)).sum().backward()
    assert encoder.num_tokens == 7
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


def test_pooled_encoder_normalises_the_mean(mae):
    encoder = BrainEncoder(**mae.encoder_config(), class_token=False, pool=True)
    encoder.trunk.load_state_dict(mae.trunk.state_dict())
    voxels = torch.randn(3, 42)
    tokens = encoder.trunk.blocks(encoder.trunk.embed(voxels.unflatten(1, (-1, 6))))
    expected = encoder.trunk.norm(tokens.mean(dim=1, keepdim=True))
    torch.testing.assert_close(encoder(voxels), expected)
    assert encoder.num_tokens == 1 == expected.shape[1]


@pytest.mark.parametrize("place", [".", "model", "model/mae"])
def test_loads_from_a_run_its_model_or_the_component(mae, run, place):
    voxels = torch.randn(2, 42)
    encoder = load_encoder(run / place, num_voxels=42, patch_size=6)
    assert torch.equal(encoder(voxels), BrainEncoder.from_mae(mae).eval()(voxels))


def test_loads_what_it_saved(mae, tmp_path):
    encoder = BrainEncoder.from_mae(mae, class_token=False)
    encoder.save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path, num_voxels=42, patch_size=6)
    assert loaded.num_tokens == 7
    assert torch.equal(loaded(torch.ones(1, 42)), encoder.eval()(torch.ones(1, 42)))


def test_another_voxel_count_is_refused(run):
    with pytest.raises(
        CheckpointError, match=r"was trained on 42 voxels; expected 48.*set the data's length to 42"
    ):
        load_encoder(run, num_voxels=48, patch_size=6)


def test_another_patch_size_is_refused(run):
    with pytest.raises(CheckpointError, match="patches of 6 voxels; expected 7"):
        load_encoder(run, num_voxels=42, patch_size=7)


def test_resizing_is_asked_for(mae, run):
    encoder = load_encoder(run, num_voxels=24, patch_size=6, resize=True)
    positions = mae.trunk.positions
    assert torch.equal(encoder.trunk.positions, positions[[0, 1, 2, 4, 6]])
    assert encoder(torch.randn(2, 24)).shape == (2, 5, 10)


def test_missing_and_damaged_checkpoints_are_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no folder .*nowhere; expected the run"):
        load_encoder(tmp_path / "nowhere", 42, 6)
    with pytest.raises(CheckpointError, match="holds no encoder or mae folder"):
        load_encoder(tmp_path, 42, 6)
    weights = run / "model" / "mae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="do not load as BrainMAE"):
        load_encoder(run, 42, 6)
    weights.unlink()
    with pytest.raises(CheckpointError, match="do not load as BrainMAE"):
        load_encoder(run, 42, 6)
    (run / "model" / "mae" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_encoder(run, 42, 6)
