"""Stage B's task: what trains, what is augmented, what an external model needs."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from mindvis.models.autoencoder import LDM, build_first_stage, save_ldm
from mindvis.models.conditioning import Conditioning, LabelConditioner
from mindvis.models.denoiser import build_denoiser, predict_noise, with_pooled_input
from mindvis.tasks.diffusion import BrainDiffusion
from mindvis.tasks.noising import make_noise_schedule, min_snr_weights

FACTS = {"num_voxels": 56, "patch_size": 8, "image_size": 16}
ENCODER = {"embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def ldm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ldm")
    unet = build_denoiser(8, 4, context_dim=12, pooled_dim=10, block_out_channels=(16, 32),
                          attention_head_dim=8)  # fmt: skip
    conditioner = LabelConditioner(5, context_dim=12, pooled_dim=10)
    save_ldm(
        LDM(unet, build_first_stage("kl", 4, (8, 8)), make_noise_schedule(), conditioner), folder
    )
    return str(folder)


@pytest.fixture
def task(ldm):
    torch.manual_seed(0)
    return BrainDiffusion(
        ldm, FACTS, **ENCODER, num_context_tokens=3, projection_heads=2, encoder_lr=1e-5, lr=1e-3
    )


def batch(size=3):
    generator = torch.Generator().manual_seed(5)
    return {
        "voxels": torch.randn(size, 56, generator=generator),
        "image": torch.rand(size, 3, 16, 16, generator=generator) * 2 - 1,
        "stimulus": torch.arange(size),
        "index": torch.arange(size),
    }


def test_only_the_condition_s_way_trains(task):
    trained = {name for name, p in task.named_parameters() if p.requires_grad}
    unet = {name for name in trained if name.startswith("unet.")}
    modules = {"down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0",
               "up_blocks.0.attentions.1"}  # fmt: skip
    leaves = {"attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_v.weight", "norm2.weight",
              "attn2.to_out.0.weight", "attn2.to_out.0.bias", "norm2.bias"}  # fmt: skip
    expected = {f"unet.{m}.transformer_blocks.0.{leaf}" for m in modules for leaf in leaves}
    assert unet == expected | {"unet.class_embedding.weight", "unet.class_embedding.bias"}
    assert not any(name.startswith("first_stage.") for name in trained)
    assert {name.split(".")[0] for name in trained} == {"unet", "encoder", "conditioner"}


def test_all_of_the_denoiser_trains_where_it_is_asked_for(ldm):
    task = BrainDiffusion(ldm, FACTS, **ENCODER, num_context_tokens=3, projection_heads=2,
                          opened="all")  # fmt: skip
    frozen = {name.split(".")[0] for name, p in task.named_parameters() if not p.requires_grad}
    assert frozen == {"first_stage"}
    assert not any(task.is_reloaded(f"unet.{name}") for name in task.unet.state_dict())


def test_optimiser_has_what_trains_and_nothing_else(task):
    groups = task.parameter_groups()
    held = [p for group in groups for p in group["params"]]
    trained = [p for p in task.parameters() if p.requires_grad]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in trained}
    encoder = {id(p) for p in task.encoder.parameters()}
    for group in groups:
        expected = {1e-5} if {id(p) for p in group["params"]} <= encoder else {1e-3}
        assert {group["lr"]} == expected


def test_frozen_weights_get_no_gradient(task):
    task.cache.fill([batch()], torch.device("cpu"))
    task.loss(batch(), 0).backward()
    for name, parameter in task.named_parameters():
        assert (parameter.grad is None) or parameter.requires_grad, name
    unet = {n: p for n, p in task.unet.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in unet.values())
    # the attention projection's pooled head starts at zero and still learns
    assert task.conditioner.mapping.to_pooled.weight.grad.abs().max() > 0


def test_loss_repeats_for_a_batch_and_differs_between_batches(task):
    task.cache.fill([batch()], torch.device("cpu"))
    with torch.no_grad():
        first, again, other = (task.loss(batch(), index).item() for index in (0, 0, 1))
    assert first == again
    assert first != other


def test_noise_levels_are_weighed_in_training_alone(task, ldm):
    weighed = BrainDiffusion(ldm, FACTS, **ENCODER, num_context_tokens=3, projection_heads=2,
                             snr_gamma=0.1)  # fmt: skip
    condition, latents, items = task.conditioner.null(6), torch.randn(6, 4, 8, 8), torch.arange(6)
    with torch.no_grad():
        ratio = weighed.training_errors(latents, condition, 3) / task.training_errors(
            latents, condition, 3
        )
        alike = weighed.validation_errors(latents, condition, items)
        expected = task.validation_errors(latents, condition, items)
    t = (task.step_uniform((6,), "level", 3) * 1000).long()
    torch.testing.assert_close(ratio, min_snr_weights(task.scheduler, t, 0.1))
    assert ratio.std() > 0.01  # else weights of 1 would pass
    torch.testing.assert_close(alike, expected)


def test_augmentation_drops_the_share_it_says(ldm):
    task = BrainDiffusion(ldm, FACTS, **ENCODER, num_context_tokens=3, projection_heads=2,
                          voxel_dropout=0.3)  # fmt: skip
    voxels = torch.ones(200, 56)
    changed = task.augment({"voxels": voxels}, 0)
    assert (changed == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert set(changed.unique().tolist()) == {0.0, 1.0}
    task.voxel_dropout, task.voxel_noise = 0.0, 0.5
    assert (task.augment({"voxels": voxels}, 0) - 1).std().item() == pytest.approx(0.5, abs=0.02)


def test_empty_condition_is_that_of_the_labels(task, ldm):
    labels = LabelConditioner.from_pretrained(f"{ldm}/conditioner", local_files_only=True)
    assert torch.equal(task.conditioner.null(2).pooled, labels.null(2).pooled)


def test_random_encoder_keeps_the_sizes_and_forgets_the_weights(task, ldm, tmp_path):
    task.encoder.save_pretrained(tmp_path / "encoder")
    options = {"num_context_tokens": 3, "projection_heads": 2, "encoder": str(tmp_path)}
    kept = BrainDiffusion(ldm, FACTS, **options)
    control = BrainDiffusion(ldm, FACTS, **options, encoder_weights="random")
    assert kept.encoder.config.embed_dim == control.encoder.config.embed_dim == 16
    name = "trunk.class_token"
    assert torch.equal(kept.encoder.state_dict()[name], task.encoder.state_dict()[name])
    assert not torch.equal(control.encoder.state_dict()[name], task.encoder.state_dict()[name])


def test_model_without_a_pooled_input_gets_one_that_changes_nothing(ldm, tmp_path):
    plain = UNet2DConditionModel.from_config(
        {**UNet2DConditionModel.load_config(f"{ldm}/unet"), "class_embed_type": None,
         "projection_class_embeddings_input_dim": None}
    ).eval()  # fmt: skip
    wider = with_pooled_input(plain, 9).eval()
    latents, t, context = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 12)
    with torch.no_grad():
        before = plain(latents, t, context, return_dict=False)[0]
        after = predict_noise(wider, latents, t, Conditioning(context, torch.randn(2, 9)))
    torch.testing.assert_close(after, before)


def test_new_branch_of_mindvis_disturbs_the_model(ldm):
    plain = {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    config = {**UNet2DConditionModel.load_config(f"{ldm}/unet"), **plain}
    unet = UNet2DConditionModel.from_config(config)
    assert with_pooled_input(unet, 9).class_embedding.weight.abs().max() == 0
    assert with_pooled_input(unet, 9, "random").class_embedding.weight.abs().min() > 0


def test_model_of_another_source_without_conditioner_can_be_used(ldm, tmp_path):
    unet = UNet2DConditionModel.from_config(
        {**UNet2DConditionModel.load_config(f"{ldm}/unet"), "class_embed_type": None,
         "projection_class_embeddings_input_dim": None}
    )  # fmt: skip
    save_ldm(LDM(unet, build_first_stage("vq", 4, (8, 8)), make_noise_schedule(), None), tmp_path)
    task = BrainDiffusion(str(tmp_path), FACTS, **ENCODER, num_context_tokens=3, projection_heads=2)
    task.cache.fill([batch()], torch.device("cpu"))
    assert torch.isfinite(task.loss(batch(), 0))
    assert not task.is_reloaded("unet.class_embedding.weight")
    assert task.is_reloaded("unet.conv_in.weight")


def test_frozen_weights_may_lie_in_half_precision(ldm, task, tmp_path):
    torch.manual_seed(0)
    narrow = BrainDiffusion(
        ldm, FACTS, **ENCODER, num_context_tokens=3, projection_heads=2, frozen_dtype="bfloat16"
    )
    narrow.load_state_dict(task.state_dict(), strict=False)
    for name, parameter in narrow.unet.named_parameters():
        held = not parameter.requires_grad and parameter.ndim > 1
        assert parameter.dtype == (torch.bfloat16 if held else torch.float32), name
    voxels, latents, t = torch.randn(2, 56), torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    wide, rounded = (predict_noise(x.unet, latents, t, x.condition(voxels)) for x in (task, narrow))
    assert 0 < (wide - rounded).norm() < 0.02 * wide.norm()
    narrow.export(tmp_path)
    saved = UNet2DConditionModel.from_pretrained(tmp_path / "unet", local_files_only=True)
    own = narrow.unet.state_dict()
    assert all(torch.equal(w, own[name].float()) for name, w in saved.state_dict().items())
    assert {w.dtype for w in saved.state_dict().values()} == {torch.float32}
