"""Patches with maps of their own: against a loop over patches, and what they must not share."""

import pytest
import torch

from mindvis.errors import CheckpointError, ConfigError
from mindvis.models.encoder import BrainEncoder
from mindvis.models.layers import OwnLinear, Trunk, patch_linear
from mindvis.models.mae import BrainMAE

SIZES = {"num_voxels": 35, "patch_size": 5, "embed_dim": 12, "depth": 1, "num_heads": 3}


def own_mae() -> BrainMAE:
    torch.manual_seed(0)
    decoder = {"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2}
    return BrainMAE(**SIZES, **decoder, mlp_ratio=2.0, patch_weights="own")


def test_each_patch_goes_through_its_own_matrix():
    layer = OwnLinear(4, 5, 3)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    patches = torch.randn(2, 4, 5)
    expected = torch.stack(
        [patches[:, place] @ layer.weight[place] + layer.bias[place] for place in range(4)], dim=1
    )
    torch.testing.assert_close(layer(patches), expected)


@pytest.mark.parametrize("weights", ["shared", "own"])
def test_kept_patches_are_embedded_as_among_all(weights):
    trunk = Trunk(35, 5, 12, 1, 3, 1.0, weights)
    if weights == "own":
        torch.nn.init.normal_(trunk.patch_embed.weight)
    patches = torch.randn(2, 7, 5)
    kept = torch.tensor([[6, 1, 3], [0, 2, 5]])
    every = trunk.embed(patches)
    expected = torch.stack([every[row, places] for row, places in enumerate(kept)])
    torch.testing.assert_close(trunk.embed(patches, kept), expected)


def test_swapping_two_patches_matters_even_without_positions():
    trunk = own_mae().trunk
    trunk.positions.zero_()
    patches = torch.randn(1, 7, 5)
    swapped = patches[:, [1, 0, 2, 3, 4, 5, 6]]
    difference = trunk.embed(patches)[:, [1, 0]] - trunk.embed(swapped)[:, [0, 1]]
    assert difference.abs().min() > 1e-4


def test_each_map_starts_with_the_fans_of_one_map():
    weight = own_mae().trunk.patch_embed.weight
    bound = (6 / (5 + 12)) ** 0.5
    assert 0.8 * bound < weight.abs().max() <= bound
    assert not own_mae().trunk.patch_embed.bias.any()


def test_encoder_of_an_own_autoencoder_has_its_maps(tmp_path):
    mae = own_mae()
    encoder = BrainEncoder.from_mae(mae)
    torch.testing.assert_close(encoder.trunk.patch_embed.weight, mae.trunk.patch_embed.weight)
    encoder.save_pretrained(tmp_path)
    voxels = torch.randn(2, 35)
    again = BrainEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(again(voxels), encoder(voxels))


def test_maps_of_patches_cannot_be_resized():
    encoder = BrainEncoder.from_mae(own_mae())
    with pytest.raises(CheckpointError, match=r"own for each patch of 35 voxels .* to 45"):
        encoder.resized(45)


def test_unknown_weights_are_refused():
    with pytest.raises(ConfigError, match="patch_weights is 'each'; expected shared or own"):
        patch_linear("each", 3, 2, 2)
