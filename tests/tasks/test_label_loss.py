"""The label loss of stage B: what it adds, what it never trains, when it is refused."""

from types import SimpleNamespace

import pytest
import torch

from mindvis.errors import ConfigError
from mindvis.models.autoencoder import LDM, build_first_stage, save_ldm
from mindvis.models.conditioning import LabelConditioner, WordConditioner, conditioning_distance
from mindvis.models.denoiser import build_denoiser
from mindvis.tasks.diffusion import BrainDiffusion
from mindvis.tasks.noising import make_noise_schedule

FACTS = {"num_voxels": 56, "patch_size": 8, "image_size": 16}
SIZES = {"embed_dim": 16, "depth": 1, "num_heads": 2, "num_context_tokens": 3}
KNOWN = ["blue_star", "red_circle", "red_star"]


def build(folder, conditioner, **options):
    unet = build_denoiser(
        8, 4, context_dim=12, pooled_dim=10, block_out_channels=(16, 32), attention_head_dim=8
    )
    first_stage = build_first_stage("kl", 4, (8, 8))
    save_ldm(LDM(unet, first_stage, make_noise_schedule(), conditioner), folder)
    torch.manual_seed(0)
    return BrainDiffusion(str(folder), FACTS, **SIZES, projection_heads=2, **options)


def with_classes(task, names):
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(class_names=names))
    task.log_train = lambda *values: None
    task.setup("fit")
    return task


def batch():
    generator = torch.Generator().manual_seed(5)
    return {
        "voxels": torch.randn(2, 56, generator=generator),
        "image": torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1,
        "stimulus": torch.arange(2),
        "label": torch.tensor([1, 0]),
        "index": torch.arange(2),
    }


def loss_of(task):
    task.cache.fill([batch()], torch.device("cpu"))
    task.trainer.current_epoch = task.trainer.global_rank = 0
    return task.loss(batch(), 0)


def test_adds_the_distance_to_the_words_of_each_label(tmp_path):
    words = WordConditioner(KNOWN, 12, 10)
    plain = with_classes(build(tmp_path / "a", words), ["red star", "blue star"])
    task = with_classes(build(tmp_path / "b", words, label_loss=0.3), ["red star", "blue star"])
    task.load_state_dict(plain.state_dict(), strict=False)
    target = words(torch.tensor([0, 2]))  # "blue star", "red star": by name, not by number
    distance = conditioning_distance(task.condition(batch()["voxels"]), target)
    torch.testing.assert_close(loss_of(task), loss_of(plain) + 0.3 * distance)


def test_the_label_s_side_never_trains(tmp_path):
    task = with_classes(build(tmp_path, WordConditioner(KNOWN, 12, 10), label_loss=1.0), KNOWN)
    loss_of(task).backward()
    assert all(p.grad is None and not p.requires_grad for p in task.labels.parameters())
    assert task.is_reloaded("labels.context_table.weight")


def test_classes_without_words_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="knows no classes by the words of their names; train it"):
        build(tmp_path, LabelConditioner(3, 12, 10), label_loss=1.0)


def test_unknown_classes_are_refused(tmp_path):
    task = build(tmp_path, WordConditioner(KNOWN, 12, 10), label_loss=1.0)
    with pytest.raises(ConfigError, match="does not know 1 classes of the store, such as 'a dog'"):
        with_classes(task, ["red star", "a dog"])
