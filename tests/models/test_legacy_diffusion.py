"""MinD-Vis' pipelines and CompVis' models: what they compute, and what became of each tensor."""

import json

import numpy as np
import pytest
import torch
import yaml
from diffusers import DDPMScheduler, PNDMScheduler
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from mindvis.errors import CheckpointError
from mindvis.models.autoencoder import decode_latents, encode_images
from mindvis.models.conditioning import BrainConditioner
from mindvis.models.denoiser import build_denoiser, predict_noise, with_pooled_input
from mindvis.models.encoder import BrainEncoder
from mindvis.models.layers import sincos_positions
from mindvis.models.legacy import load_mindvis_encoder, load_mindvis_ldm
from mindvis.models.legacy.configuration import compvis_config
from mindvis.models.legacy.exporting import export_ldm, export_pipeline
from mindvis.models.legacy.names import FIRST_STAGE, UNET, brain_table, unet_table, vq_table
from mindvis.models.legacy.sizes import encoder_sizes, unet_sizes, vq_sizes
from tests.models import legacy_files as legacy
from tests.models import reference, upstream
from tests.models.upstream import by_rule, close, under
from tests.tolerances import NETWORK, NETWORK_OF_TIME, SINGLE_FACTORS

CONFIGS = {"ldm_config": legacy.ldm_config(), "encoder_config": legacy.ENCODER_SIZES}


@pytest.fixture(scope="module")
def weights():
    return legacy.pipeline_weights()


@pytest.fixture
def file(tmp_path, weights):
    return legacy.save_pipeline(tmp_path / "checkpoint.pth", weights)


@pytest.fixture
def model(file):
    return load_mindvis_ldm(file, **CONFIGS)


@pytest.fixture
def voxels(rng):
    return torch.from_numpy(rng.normal(size=(2, legacy.VOXELS))).float()


def latents(seed=7):
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def reference_context(weights, voxels, pooled=False):
    w = under(weights, "cond_stage_model.")
    tokens = reference.encode_brain(under(w, "mae."), voxels, legacy.HEADS, pooled)
    return reference.to_context(w, tokens)


# -- what a pipeline computes ----------------------------------------------------------------------


@torch.no_grad()
def test_context_tokens(model, weights, voxels):
    context = model.conditioner(model.encoder(voxels)).context
    assert context.shape == (2, 77, legacy.CONTEXT)
    assert close(context, reference_context(weights, voxels))


@torch.no_grad()
def test_noise(model, weights, voxels):
    t = torch.tensor([3, 900])
    ours = predict_noise(model.unet, latents(), t, model.conditioner(model.encoder(voxels)))
    context = reference_context(weights, voxels)
    theirs = reference.predict(under(weights, "model.diffusion_model."), latents(), t, context)
    assert close(ours, theirs)


@torch.no_grad()
def test_pictures(model, weights, rng):
    images = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 16, 16))).float()
    w = under(weights, "first_stage_model.")
    encoded = encode_images(model.first_stage, images)
    assert close(encoded, reference.encode_picture(w, images))
    spread = latents() / 2  # so that several codes are the nearest ones
    assert len(model.first_stage.quantize(spread)[2][2].unique()) > 8
    decoded = reference.decode_picture(w, spread).clamp(-1, 1)
    assert close(decode_latents(model.first_stage, spread), decoded, 2 * NETWORK)


@pytest.mark.parametrize(("time", "pooled"), [("pooled", True), (None, False), (None, True)])
@torch.no_grad()
def test_other_forms_of_conditioning(tmp_path, voxels, time, pooled):
    """One mean token instead of 77; no branch to the time embedding."""
    weights = legacy.pipeline_weights(time, pooled)
    config = {"global_pool": pooled, "use_time_cond": time is not None}
    file = legacy.save_pipeline(tmp_path / "a.pth", weights, **config)
    model = load_mindvis_ldm(file, **CONFIGS)
    conditioning = model.conditioner(model.encoder(voxels))
    context = reference_context(weights, voxels, pooled)
    assert close(conditioning.context, context)
    t = torch.tensor([3, 900])
    theirs = reference.predict(under(weights, "model.diffusion_model."), latents(), t, context)
    assert close(predict_noise(model.unet, latents(), t, conditioning), theirs, NETWORK_OF_TIME)


@pytest.mark.parametrize("unet", [{"num_heads": 2}, {"num_head_channels": 16, "num_heads": -1}])
@torch.no_grad()
def test_heads_of_the_unet_are_the_configurations(file, weights, voxels, unet):
    model = load_mindvis_ldm(file, legacy.ldm_config(**unet), legacy.ENCODER_SIZES)
    context = reference_context(weights, voxels)
    heads = 2 if "num_head_channels" not in unet else 4  # 64 channels attend
    w, t = under(weights, "model.diffusion_model."), torch.tensor([3, 900])
    theirs = reference.predict(w, latents(), t, context, heads)
    ours = predict_noise(model.unet, latents(), t, model.conditioner(model.encoder(voxels)))
    assert close(ours, theirs, NETWORK_OF_TIME)


def test_sampler_and_schedule(model):
    assert isinstance(model.scheduler, PNDMScheduler)
    assert close(model.scheduler.alphas_cumprod, legacy.buffers()["alphas_cumprod"], SINGLE_FACTORS)
    assert not model.conditioner.config.guidable


def test_the_encoder_alone(file, weights, voxels):
    with pytest.raises(CheckpointError, match="how many attention heads"):
        load_mindvis_encoder(file)
    encoder = load_mindvis_encoder(file, legacy.ENCODER_SIZES)
    w = under(weights, "cond_stage_model.mae.")
    assert close(encoder(voxels).detach(), reference.encode_brain(w, voxels, legacy.HEADS))


@torch.no_grad()
def test_a_file_of_mindvis_own_numbers(shared, tmp_path):
    """Its tiny model as a file: what was computed with it there is computed here."""
    golden = np.load(shared("goldens/ldm_tiny.npz"))
    weights = by_rule(golden) | {
        "first_stage_model.quantize.embedding.weight": torch.from_numpy(golden["codebook"]),
        "cond_stage_model.mae.pos_embed": sincos_positions(10, 32).float()[None],
    }
    file = legacy.save_pipeline(tmp_path / "a.pth", weights)
    model = load_mindvis_ldm(file, legacy.unet_config(num_heads=1), {"num_heads": 4})
    images = torch.from_numpy(golden["image"]).movedim(-1, 1)
    z = encode_images(model.first_stage, images)
    assert close(z, golden["z"])
    assert close(model.first_stage.decode(torch.from_numpy(golden["z"])).sample, golden["decoded"])
    conditioning = model.conditioner(model.encoder(torch.from_numpy(golden["fmri"])[:, 0]))
    assert close(conditioning.context, golden["context"])
    noisy, t = torch.from_numpy(golden["z_noisy"]), torch.from_numpy(golden["t"])
    assert close(predict_noise(model.unet, noisy, t, conditioning), golden["eps"], NETWORK_OF_TIME)


# -- accounts --------------------------------------------------------------------------------------


def test_every_tensor_is_used_or_left_out_with_a_reason(model, weights):
    accounts = model.checkpoint.accounts
    assert accounts.used.keys() | accounts.left_out.keys() == weights.keys() | {"state"}
    assert not accounts.used.keys() & accounts.left_out.keys()
    assert set(accounts.left_out) == set(legacy.buffers()) | {
        "cond_stage_model.mae.mask_token",
        "state",
    }
    parts = {
        "encoder": model.encoder,
        "conditioner": model.conditioner,
        "unet": model.unet,
        "vae": model.first_stage,
    }
    ours = {f"{part}/{name}" for part, net in parts.items() for name in net.state_dict()}
    assert ours == set(accounts.used.values()) | set(accounts.made_here)
    assert set(accounts.made_here) == {"conditioner/empty.context", "conditioner/empty.pooled"}


@pytest.mark.parametrize(
    "name",
    [
        "cond_stage_model.channel_mapper.1.bias",
        "cond_stage_model.mae.norm.weight",
        "first_stage_model.decoder.up.1.block.1.conv2.weight",
        "first_stage_model.quantize.embedding.weight",
        "model.diffusion_model.output_blocks.3.1.proj_out.bias",
        "model.diffusion_model.time_embed_condtion.0.weight",
    ],
)
def test_a_missing_tensor_is_named(tmp_path, weights, name):
    if "output_blocks.3.1" in name:
        name = name.replace("3.1", "1.1")
    file = legacy.save_pipeline(tmp_path / "a.pth", {n: w for n, w in weights.items() if n != name})
    with pytest.raises(CheckpointError, match=rf"a.pth has no {name}"):
        load_mindvis_ldm(file, **CONFIGS)


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.input_blocks.1.0.extra.weight",
        "first_stage_model.encoder.down.1.attn.0.q.weight",
        "cond_stage_model.mae.blocks.0.ls1.gamma",
        "something",
    ],
)
def test_a_surplus_tensor_is_named(tmp_path, weights, name):
    file = legacy.save_pipeline(tmp_path / "a.pth", weights | {name: torch.ones(1)})
    with pytest.raises(CheckpointError, match=rf"has {name} that no part of the model reads"):
        load_mindvis_ldm(file, **CONFIGS)


def change(**params):
    config = json.loads(json.dumps(legacy.ldm_config()))
    config["model"]["params"].update(params)
    return config


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (legacy.ldm_config(model_channels=64), "model_channels 32, its configuration says 64"),
        (legacy.ldm_config(channel_mult=[1, 3]), r"channel_mult \[1, 2\]"),
        (legacy.ldm_config(context_dim=32), "context_dim 24, its configuration says 32"),
        (change(linear_end=0.02), "betas in .* are not linear"),
        (change(parameterization="x0"), "predicts x0; expected a model that predicts noise"),
        (legacy.ldm_config(image_size=[8, 8]), r"says image_size \[8, 8\]; expected a positive"),
        (legacy.ldm_config(num_heads=0), "says num_heads 0; expected a positive number"),
        (change(timesteps=500), "betas in .* are not linear"),
        (change(unet_config=None), "how many attention heads its U-Net has"),
        ({"model": {}}, "has no model.params"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
        (None, "how many attention heads its U-Net has"),
    ],
)
def test_configurations_that_do_not_fit(file, config, words):
    with pytest.raises(CheckpointError, match=words):
        load_mindvis_ldm(file, config, legacy.ENCODER_SIZES)


def test_switches_that_contradict_the_weights(tmp_path, weights):
    file = legacy.save_pipeline(tmp_path / "a.pth", weights, global_pool=True)
    with pytest.raises(CheckpointError, match="global_pool False, its configuration says True"):
        load_mindvis_ldm(file, **CONFIGS)


def test_configuration_beside_the_file(file):
    file.with_name("config.yaml").write_text(yaml.safe_dump(legacy.ldm_config(num_heads=2)))
    unet = load_mindvis_ldm(file, None, legacy.ENCODER_SIZES).unet
    assert tuple(unet.config.attention_head_dim) == (2, 2)
    file.with_name("config.yaml").write_text("model: {class_path: Other}\n")
    with pytest.raises(CheckpointError, match="how many attention heads its U-Net"):
        load_mindvis_ldm(file, None, legacy.ENCODER_SIZES)


def test_an_encoder_is_no_pipeline(tmp_path):
    with pytest.raises(CheckpointError, match="is an encoder alone"):
        load_mindvis_ldm(legacy.save_encoder(tmp_path / "a.pth"))


# -- CompVis' label-conditioned model --------------------------------------------------------------


@torch.no_grad()
def test_labels(tmp_path):
    weights = legacy.ldm_weights()
    file = legacy.save_ldm(tmp_path / "model.ckpt", weights)
    model = load_mindvis_ldm(file, legacy.ldm_config())
    assert model.encoder is None
    assert isinstance(model.scheduler, DDPMScheduler)
    labels, t = torch.tensor([4, 10]), torch.tensor([3, 900])
    context = weights["cond_stage_model.embedding.weight"][labels][:, None]
    w = under(weights, "model.diffusion_model.")
    theirs = reference.predict(w, latents(), t, context)
    ours = predict_noise(model.unet, latents(), t, model.conditioner(labels))
    assert close(ours, theirs, NETWORK_OF_TIME)
    accounts = model.checkpoint.accounts
    assert "callbacks" in "".join(accounts.left_out)
    averages = [name for name in accounts.left_out if name.startswith("model_ema.")]
    assert len(averages) == 2 + len(w)
    assert accounts.left_out["model_ema.decay"].startswith("moving average")


def test_the_last_of_1001_classes_is_the_empty_one(tmp_path):
    weights = legacy.ldm_weights(classes=1001)
    model = load_mindvis_ldm(legacy.save_ldm(tmp_path / "a.ckpt", weights), legacy.ldm_config())
    table = weights["cond_stage_model.embedding.weight"]
    assert torch.equal(model.conditioner.null(1).context[0], table[-1:])
    assert "last class" in model.checkpoint.accounts.made_here["conditioner/empty.context"]


def test_scale_factor(tmp_path):
    weights = legacy.ldm_weights() | {"scale_factor": torch.tensor(0.25)}
    model = load_mindvis_ldm(legacy.save_ldm(tmp_path / "a.ckpt", weights), legacy.ldm_config())
    assert model.first_stage.config.scaling_factor == 0.25
    assert "scale_factor" in model.checkpoint.accounts.used


# -- the tables ------------------------------------------------------------------------------------


def test_names_of_the_unet_are_those_of_diffusers_own_converter():
    """Every weight of a network at the published shape, with its own value, by two maps."""
    sizes = (192, 384, 576, 960)
    shapes = reference.unet_shapes(192, (1, 2, 3, 5), 2, (False, True, True, True), 512, time=None)
    with torch.device("meta"):
        unet = build_denoiser(64, 3, 512, 512, sizes, 2, attention_head_dim=None)
    theirs = {f"{UNET}{name}": torch.full((1,), n) for n, name in enumerate(shapes)}
    config = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    converted = convert_ldm_unet_checkpoint(dict(theirs), config)
    table = unet_table(unet.state_dict(), 2)
    timed = {name for name in table if name.startswith("class_embedding.")}
    assert table.keys() - timed == converted.keys()
    for name in converted:
        assert torch.equal(theirs[table[name].name], converted[name]), name


def test_names_are_those_of_an_independent_map():
    """The map that the golden numbers are compared through, which reads the other way."""
    unet = under(legacy.pipeline_weights(), "model.diffusion_model.")
    vq, mae = legacy.vq_weights(), legacy.mae_weights()
    in_conditioner = ("time_embed_condtion.0", "time_embed_condtion.1")
    known = {
        UNET + name: upstream.unet_name(name, levels=2, layers=1)
        for name in unet
        if not name.startswith(in_conditioner)
    }
    table = unet_table(known.values(), 1)
    assert {place.name: ours for ours, place in table.items()} == known
    known = {FIRST_STAGE + name: upstream.vq_name(name, levels=2) for name in vq}
    table = vq_table(known.values(), 2)
    assert {place.name: ours for ours, place in table.items()} == known
    known = {name: upstream.brain_name(name) for name in mae}
    table = brain_table(known.values())
    assert {place.name: ours for ours, place in table.items()} == known


def test_published_sizes_need_no_configuration():
    """Everything but the heads is in the shapes; those of the published model are known."""
    shapes = (
        legacy.prefixed(
            "model.diffusion_model.",
            reference.unet_shapes(192, (1, 2, 3, 5), 2, (False, True, True, True), 512),
        )
        | legacy.prefixed("first_stage_model.", reference.vq_shapes(128, (1, 2, 4), 2, 3, 8192))
        | reference.encoder_shapes(291, 16, 1024, 24, 1024)
    )
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    unet = unet_sizes(weights, {}, "file")
    assert unet["block_out_channels"] == (192, 384, 576, 960)
    assert unet["heads"] == (1, 1, 1, 1)
    assert (unet["layers_per_block"], unet["sample_size"]) == (2, 64)
    assert unet["attention"] == (False, True, True, True)
    assert vq_sizes(weights, "file")["block_out_channels"] == (128, 256, 512)
    encoder = encoder_sizes(weights, "", {}, "file")
    assert (encoder["num_voxels"], encoder["num_heads"], encoder["mlp_ratio"]) == (4656, 16, 1.0)


# -- the other way ---------------------------------------------------------------------------------


def exported(model):
    parts = (model.unet, model.first_stage, model.scheduler.config)
    if model.encoder is None:
        return export_ldm(model.conditioner, *parts)
    return export_pipeline(model.encoder, model.conditioner, *parts, model.checkpoint.config)


@pytest.mark.parametrize(
    ("time", "pooled"), [("tokens", False), ("pooled", True), (None, False), (None, True)]
)
def test_exported_state_dicts_are_mindvis_whole(tmp_path, time, pooled):
    """So that its code can load them strictly; the unused mask token alone is not kept."""
    weights = legacy.pipeline_weights(time, pooled)
    config = {"global_pool": pooled, "use_time_cond": time is not None, "dataset": "BOLD5000"}
    file = legacy.save_pipeline(tmp_path / "a.pth", weights, **config)
    content = exported(load_mindvis_ldm(file, **CONFIGS))
    ours = content["model_state_dict"]
    assert ours.keys() == weights.keys()
    for name, weight in weights.items():
        if name in legacy.buffers():
            assert torch.allclose(ours[name], weight, rtol=1e-6), name
        elif not name.endswith("mask_token"):
            assert torch.equal(ours[name], weight), name
    for name, value in {**config, **legacy.ENCODER_SIZES}.items():
        if not name.startswith("decoder"):
            assert getattr(content["config"], name) == value
    assert content["config"].ddim_steps == 250
    assert content["state"] is None


@torch.no_grad()
def test_a_pipeline_trained_here_serves_there(tmp_path, voxels):
    """Encoder and conditioner of ours on imported labels: the file's weights, by its own names,
    compute what our networks compute."""
    labels = load_mindvis_ldm(legacy.save_ldm(tmp_path / "a.ckpt"), legacy.ldm_config())
    torch.manual_seed(0)
    encoder = BrainEncoder(160, 16, 32, 2, 4, class_token=False).eval()
    conditioner = BrainConditioner(10, 32, 24, 24, projection="compat").eval()
    unet = with_pooled_input(labels.unet, 24, start="random").eval()
    parts = (labels.first_stage, labels.scheduler.config)
    content = export_pipeline(encoder, conditioner, unet, *parts)
    weights = content["model_state_dict"]
    assert {n: w.shape for n, w in weights.items() if n.startswith("model.")} == {
        n: w.shape for n, w in legacy.pipeline_weights().items() if n.startswith("model.")
    }
    w = under(weights, "cond_stage_model.")
    context = reference.to_context(w, reference.encode_brain(under(w, "mae."), voxels, 4))
    conditioning = conditioner(encoder(voxels))
    assert close(conditioning.context, context)
    t = torch.tensor([3, 900])
    theirs = reference.predict(under(weights, "model.diffusion_model."), latents(), t, context)
    assert close(predict_noise(unet, latents(), t, conditioning), theirs, NETWORK_OF_TIME)
    torch.save(content, tmp_path / "b.pth")
    back = load_mindvis_ldm(tmp_path / "b.pth", legacy.unet_config(num_heads=1, image_size=8))
    assert equal_weights(back.unet, unet)
    assert equal_weights(back.encoder, encoder)
    assert equal_weights(back.conditioner.mapping, conditioner.mapping)


def equal_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], w) for n, w in theirs.items())


def test_exported_labels(tmp_path):
    weights = legacy.ldm_weights()
    model = load_mindvis_ldm(legacy.save_ldm(tmp_path / "a.ckpt", weights), legacy.ldm_config())
    ours = exported(model)["state_dict"]
    kept = {name: w for name, w in weights.items() if not name.startswith("model_ema.")}
    assert ours.keys() == kept.keys()
    assert all(
        torch.equal(ours[name], w) for name, w in kept.items() if name not in legacy.buffers()
    )


def test_exported_configuration_is_compvis(model):
    made = compvis_config(model.unet, model.first_stage, model.scheduler.config)["model"]["params"]
    given = legacy.ldm_config()["model"]["params"]
    for part in ("unet_config", "first_stage_config"):
        found = made[part]["params"]
        for name, value in given[part]["params"].items():
            inner = value.items() if isinstance(value, dict) else ()
            assert found[name] == value or all(found[name][key] == v for key, v in inner), name
    assert (made["linear_start"], made["linear_end"]) == (0.0015, 0.0195)
    assert made["first_stage_config"]["params"]["ddconfig"]["resolution"] == 16
    assert made["unet_config"]["params"]["attention_resolutions"] == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m._replace(encoder=BrainEncoder(160, 16, 32, 2, 4)), "uses its class token"),
        (
            lambda m: m._replace(
                encoder=BrainEncoder(160, 16, 32, 2, 4, class_token=False, patch_weights="own")
            ),
            "map of its own for each patch",
        ),
        (
            lambda m: m._replace(conditioner=BrainConditioner(10, 32, 24, 24, 5)),
            "projection is attention.*expected projection compat",
        ),
        (
            lambda m: m._replace(scheduler=DDPMScheduler(prediction_type="v_prediction")),
            "predicts v_prediction.*expected epsilon",
        ),
        (lambda m: m._replace(scheduler=DDPMScheduler()), "linear noise schedule of its own"),
    ],
)
def test_what_mindvis_cannot_hold_is_not_exported(model, change, words):
    with pytest.raises(CheckpointError, match=words):
        exported(change(model))
