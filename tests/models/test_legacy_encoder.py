"""Encoders of MinD-Vis in and out: their tokens, their accounts, their configuration."""

import sys

import pytest
import torch

from mindvis.errors import CheckpointError
from mindvis.models.legacy import load_mindvis_encoder, load_mindvis_mae
from mindvis.models.legacy.exporting import export_mae
from mindvis.models.legacy.names import brain_table
from mindvis.models.loading import load_component
from mindvis.models.mae import BrainMAE
from tests.models import legacy_files as legacy
from tests.models import reference
from tests.models.upstream import close


@pytest.fixture
def file(tmp_path):
    return legacy.save_encoder(tmp_path / "fmri_encoder.pth")


@pytest.fixture
def voxels(rng):
    return torch.from_numpy(rng.normal(size=(3, legacy.VOXELS))).float()


def test_tokens_are_those_of_plain_functions(file, voxels):
    encoder = load_mindvis_encoder(file)
    with torch.no_grad():
        tokens = encoder(voxels)
    assert close(tokens, reference.encode_brain(legacy.mae_weights(), voxels, legacy.HEADS))
    assert not encoder.training
    assert not encoder.config.class_token


def test_reconstructions_are_those_of_plain_functions(file, voxels):
    mae, _ = load_mindvis_mae(file)
    with torch.no_grad():
        predicted = mae(voxels, 0.0, noise=torch.rand(3, 10)).prediction
    heads = legacy.HEADS, legacy.THIN_HEADS
    assert close(predicted, reference.predict_patches(legacy.mae_weights(), voxels, *heads))


def test_every_tensor_is_accounted_for(file):
    mae, checkpoint = load_mindvis_mae(file)
    accounts = checkpoint.accounts
    assert set(accounts.used) == set(legacy.mae_weights())
    assert len(set(accounts.used.values())) == len(mae.state_dict())
    assert not accounts.made_here
    assert accounts.used["pos_embed"] == "mae/trunk.positions"
    assert "trunk" not in "".join(accounts.left_out)


def test_an_encoder_leaves_the_decoder_out(tmp_path):
    weights = legacy.mae_weights() | {"nature_img_decoder.0.weight": torch.ones(2, 2)}
    path = legacy.save_encoder(tmp_path / "a.pth", weights)
    _, checkpoint = load_mindvis_mae(path)
    why = checkpoint.accounts.left_out["nature_img_decoder.0.weight"]
    assert why == "head of the optional image-feature loss"
    assert load_mindvis_encoder(path).num_tokens == 10


@pytest.mark.parametrize(
    "name",
    ["cls_token", "decoder_pos_embed", "blocks.1.norm2.bias", "decoder_blocks.2.mlp.fc1.bias"],
)
def test_a_missing_tensor_is_named(tmp_path, name):
    weights = legacy.mae_weights()
    del weights[name]
    path = legacy.save_encoder(tmp_path / "a.pth", weights)
    with pytest.raises(CheckpointError, match=rf"a.pth has no {name}; expected it, of shape"):
        load_mindvis_mae(path)


def test_a_surplus_tensor_is_named(tmp_path):
    weights = legacy.mae_weights() | {"blocks.0.extra.weight": torch.ones(2), "x": torch.ones(1)}
    path = legacy.save_encoder(tmp_path / "a.pth", weights)
    for load in (load_mindvis_mae, load_mindvis_encoder):
        with pytest.raises(
            CheckpointError, match=r"has blocks.0.extra.weight and 1 more weights that no part"
        ):
            load(path)


def test_a_tensor_of_another_shape_is_named(tmp_path):
    weights = legacy.mae_weights()
    weights["blocks.1.attn.proj.weight"] = torch.ones(32, 31)
    path = legacy.save_encoder(tmp_path / "a.pth", weights)
    with pytest.raises(
        CheckpointError, match=r"blocks.1.attn.proj.weight .*\(32, 31\).*\(32, 32\)"
    ):
        load_mindvis_mae(path)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("patch_embed.proj.weight", torch.ones(32, 16)),
        ("pos_embed", torch.ones(11)),
        ("blocks.0.mlp.fc1.weight", torch.ones(0, 32)),
    ],
)
def test_shapes_that_no_size_can_be_read_from(tmp_path, name, weight):
    path = legacy.save_encoder(tmp_path / "a.pth", legacy.mae_weights() | {name: weight})
    with pytest.raises(
        CheckpointError, match=rf"{name} in .*a.pth has shape .*; expected [23] axes"
    ):
        load_mindvis_encoder(path)


def test_a_block_far_away_is_surplus(tmp_path):
    """It does not make the network a billion blocks deep."""
    weights = legacy.mae_weights() | {"blocks.999999999.norm1.weight": torch.ones(32)}
    path = legacy.save_encoder(tmp_path / "a.pth", weights)
    with pytest.raises(CheckpointError, match=r"has blocks.999999999.norm1.weight that no part"):
        load_mindvis_encoder(path)


@pytest.mark.parametrize("heads", [0, -4, "many", True, None])
def test_heads_that_are_no_number(tmp_path, heads):
    config = legacy.ENCODER_SIZES | {"num_heads": heads}
    path = legacy.save_encoder(tmp_path / "a.pth", config=config)
    with pytest.raises(CheckpointError, match=rf"says num_heads {heads!r}; expected a positive"):
        load_mindvis_encoder(path)


def test_a_configuration_that_contradicts_the_weights(tmp_path):
    path = legacy.save_encoder(tmp_path / "a.pth", config=legacy.ENCODER_SIZES | {"depth": 3})
    with pytest.raises(CheckpointError, match=r"weights of depth 2, its configuration says 3"):
        load_mindvis_encoder(path)


def test_heads_are_asked_for_where_nothing_says_them(tmp_path):
    config = {k: v for k, v in legacy.ENCODER_SIZES.items() if not k.endswith("num_heads")}
    path = legacy.save_encoder(tmp_path / "a.pth", config=config)
    with pytest.raises(CheckpointError, match=r"how many attention heads .*\(num_heads\); give"):
        load_mindvis_encoder(path)
    assert load_mindvis_encoder(path, {"num_heads": 8}).config.num_heads == 8
    assert load_mindvis_mae(path, {"num_heads": 8, "decoder_num_heads": 4})[0].num_patches == 10
    other = legacy.save_encoder(tmp_path / "b.pth")
    assert load_mindvis_encoder(path, other).config.num_heads == legacy.HEADS


def test_half_precision_becomes_float32(tmp_path, voxels):
    weights = {name: w.half() for name, w in legacy.mae_weights().items()}
    encoder = load_mindvis_encoder(legacy.save_encoder(tmp_path / "a.pth", weights))
    assert encoder.dtype == torch.float32
    exact = {name: w.float() for name, w in weights.items()}
    assert close(encoder(voxels).detach(), reference.encode_brain(exact, voxels, legacy.HEADS))


def test_weights_stay_in_the_file(file):
    """Nothing is held twice: ours are the mapped tensors themselves."""
    mae, checkpoint = load_mindvis_mae(file)
    ours, theirs = mae.state_dict(), checkpoint.accounts.weights
    for name, place in brain_table(ours).items():
        assert ours[name].data_ptr() == theirs[place.name].data_ptr(), name


def test_weights_that_share_memory_or_lie_otherwise_are_copied(tmp_path):
    """Tied, cut from one block, transposed: folders of safetensors hold none of these."""
    weights = legacy.mae_weights()
    block = torch.randn(2, 32)
    weights |= {"norm.weight": block[0], "norm.bias": block[1]}
    weights["blocks.1.norm1.weight"] = weights["blocks.0.norm1.weight"]
    weights["blocks.0.attn.proj.weight"] = weights["blocks.0.attn.proj.weight"].T
    mae, _ = load_mindvis_mae(legacy.save_encoder(tmp_path / "a.pth", weights))
    mae.save_pretrained(tmp_path / "mae")
    back = load_component(BrainMAE, tmp_path / "mae").state_dict()
    for name, place in brain_table(back).items():
        assert torch.equal(place.theirs(back[name]), weights[place.name]), name


# -- the other way ---------------------------------------------------------------------------------


def test_exported_names_and_layouts_are_mindvis(file, tmp_path):
    mae, checkpoint = load_mindvis_mae(file)
    content = export_mae(mae, checkpoint.config)
    torch.save(content, tmp_path / "out.pth")
    read = torch.load(tmp_path / "out.pth", weights_only=False)  # as MinD-Vis does
    original = legacy.mae_weights()
    assert read["model"].keys() == original.keys()
    assert all(torch.equal(read["model"][name], w) for name, w in original.items())
    for name, value in legacy.ENCODER_SIZES.items():
        assert getattr(read["config"], name) == value
    assert read["config"].roi == "VC"
    assert type(read["config"]).__module__ == "argparse"


def test_a_file_of_ours_names_no_class_of_ours(tmp_path):
    """It opens where the package is not installed."""
    mae = BrainMAE(96, 8, 24, 1, 2, decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)
    torch.save(export_mae(mae), tmp_path / "out.pth")
    names = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "out.pth")
    assert names == ["argparse.Namespace"]


def test_there_and_back_is_the_same(tmp_path):
    torch.manual_seed(0)
    mae = BrainMAE(96, 8, 24, 1, 2, 1.5, decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=4)
    torch.save(export_mae(mae), tmp_path / "out.pth")
    back, _ = load_mindvis_mae(tmp_path / "out.pth")
    assert (
        dict(back.config).items()
        >= {
            name: mae.config[name] for name in ("num_voxels", "mlp_ratio", "decoder_num_heads")
        }.items()
    )
    assert back.state_dict().keys() == mae.state_dict().keys()
    assert all(torch.equal(back.state_dict()[name], w) for name, w in mae.state_dict().items())


def test_maps_of_each_patch_cannot_be_exported():
    mae = BrainMAE(
        96,
        8,
        24,
        1,
        2,
        decoder_embed_dim=8,
        decoder_depth=1,
        decoder_num_heads=2,
        patch_weights="own",
    )
    with pytest.raises(
        CheckpointError, match=r"map of its own for each patch.*patch_weights shared"
    ):
        export_mae(mae)


def test_no_module_of_mindvis_is_needed(file):
    assert "config" not in sys.modules
    load_mindvis_encoder(file)
    assert "config" not in sys.modules
