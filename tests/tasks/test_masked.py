"""Stage A's task on tensors alone."""

import numpy as np
import pytest
import torch

from mindvis.errors import CheckpointError, ConfigError
from mindvis.tasks.masked import MaskedModelling, masked_correlation

SIZES = {
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "decoder_embed_dim": 8,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
}


def task(**options):
    return MaskedModelling({"num_voxels": 56, "patch_size": 8}, **{**SIZES, **options})


def batch(size=5, first=0):
    generator = torch.Generator().manual_seed(3)
    return {
        "voxels": torch.randn(size, 56, generator=generator),
        "valid": torch.arange(56).expand(size, -1) < 50,
        "index": torch.arange(first, first + size),
    }


def test_correlation_is_that_of_numpy_on_the_places_that_count(rng):
    x, y = rng.normal(size=(2, 4, 11))
    weight = rng.random((4, 11)) < 0.6
    found = masked_correlation(*(torch.tensor(v) for v in (x, y, weight.astype(float))))
    expected = [np.corrcoef(a[w], b[w])[0, 1] for a, b, w in zip(x, y, weight, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_correlation_of_a_constant_is_zero():
    constant, line = torch.ones(1, 5), torch.arange(5.0)[None]
    assert masked_correlation(constant, line, torch.ones(1, 5)).item() == 0.0


def test_draws_depend_on_seed_purpose_and_batch_alone():
    first, again, other = task(), task(), task(seed=1)
    assert torch.equal(first.step_uniform((3, 7), "mask", 2), again.step_uniform((3, 7), "mask", 2))
    for draw in (
        first.step_uniform((3, 7), "mask", 3),
        first.step_uniform((3, 7), "other", 2),
        other.step_uniform((3, 7), "mask", 2),
    ):
        assert not torch.equal(first.step_uniform((3, 7), "mask", 2), draw)


def test_validation_mask_belongs_to_the_item_not_to_its_batch():
    module = task().eval()
    whole = module.reconstruct(batch(5)).mask
    part = {name: value[2:4] for name, value in batch(5).items()}
    assert torch.equal(module.reconstruct(part).mask, whole[2:4])
    assert len(whole.unique(dim=0)) > 1


def test_figure_is_drawn():
    with torch.no_grad():
        assert task().figure(batch()).size[0] > 500


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_error_of_seen_patches_counts_by_its_weight(weight, monkeypatch):
    module, logged = task(visible_weight=weight), {}

    def log(loss, size, name="train_loss"):
        logged[name] = loss.item()

    monkeypatch.setattr(module, "log_train", log)
    monkeypatch.setattr(module, "step_uniform", lambda *_: torch.arange(7.0).expand(5, -1))
    torch.nn.init.normal_(module.mae.decoder_pred.weight)
    data = batch()
    with torch.no_grad():
        total = module.training_step(data, 0).item()
        output = module.mae(data["voxels"], 0.75, torch.arange(7.0).expand(5, -1))
    squares = (module.mae.unpatchify(output.prediction) - data["voxels"]).square().numpy()
    removed = squares[:, 8:50].mean()  # of 7 patches of 8 the first is kept, 6 voxels are padding
    assert logged["train_loss"] == pytest.approx(removed, rel=1e-5)
    assert total == pytest.approx(removed + weight * squares[:, :8].mean(), rel=1e-5)


def test_negative_weight_of_seen_patches():
    with pytest.raises(ConfigError, match=r"visible_weight is -1.* expected 0 or more"):
        task(visible_weight=-1)


def test_sizes_that_the_data_do_not_know():
    with pytest.raises(
        ConfigError, match=r"MaskedModelling needs patch_size but .* knows num_voxels"
    ):
        MaskedModelling({"num_voxels": 56}, **SIZES)


def test_start_from_a_run_of_other_sizes(tmp_path):
    task().export(tmp_path)
    same = task(init_from=str(tmp_path))
    assert same.mae.training
    assert same.ancestors == [str(tmp_path)]
    with pytest.raises(
        CheckpointError, match="was trained with num_voxels 56; expected 64, as the"
    ):
        MaskedModelling({"num_voxels": 64, "patch_size": 8}, init_from=str(tmp_path))


def test_start_from_a_run_has_its_weights(tmp_path):
    trained = task()
    with torch.no_grad():
        trained.mae.mask_token += 1
    trained.export(tmp_path)
    started = task(init_from=str(tmp_path), depth=3)
    assert torch.equal(started.mae.mask_token, trained.mae.mask_token)
    assert started.mae.config.depth == 1


def test_checkpoint_of_another_model_is_refused_by_name():
    saved = {"state_dict": task().state_dict()}
    wider = task(embed_dim=24)
    with pytest.raises(CheckpointError, match=r"weight mae\.\S+ is \(.*\); expected \(.*24"):
        wider.on_load_checkpoint(saved)
