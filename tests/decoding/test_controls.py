"""Control responses have the amplitude of real ones and none of their content."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mindvis.data.store import VoxelStore
from mindvis.decoding.ceilings import noise_ceiling
from mindvis.decoding.controls import (
    CROSSED,
    control_items,
    gaussian_noise,
    noise_response,
    random_phases,
)
from mindvis.decoding.decode import decode
from mindvis.decoding.listing import Item
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.decoding.predictions import read_predictions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def decoded(model, store, tmp_path_factory):
    output = tmp_path_factory.mktemp("controls") / "out"
    options = {"draws": 2, "steps": 2, "subjects": ["sub-02"], "device": "cpu"}
    decode(str(model), str(store), str(output), **options)
    return output


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("count", [63, 64])
def test_phases_are_new_and_the_spectrum_is_kept(count, rng):
    response = (np.cumsum(rng.normal(size=count)) / 5).astype(np.float32)
    noise = random_phases(response, rng)
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(noise)), np.abs(np.fft.rfft(response)), rtol=1e-4, atol=1e-5
    )
    assert abs(np.corrcoef(noise, response)[0, 1]) < 0.7
    assert noise.std() == pytest.approx(response.std(), rel=1e-4)


def test_gaussian_noise_is_as_spread_and_leaves_constant_voxels(rng):
    response = rng.normal(0, 3, 4000).astype(np.float32)
    response[::4] = 0
    noise = gaussian_noise(response, rng)
    assert (noise[::4] == 0).all()
    assert noise[response != 0].std() == pytest.approx(response.std(), rel=0.05)
    assert abs(np.corrcoef(noise, response)[0, 1]) < 0.05


def test_items_take_their_amplitude_from_spread_stimuli():
    own = [Item("s", f"t{i}", (i,)) for i in range(10)]
    items = control_items("s", own, (20, 21), responses=3)
    assert [(i.name, i.number, i.rows) for i in items[:4]] == [
        ("mean-brain", 0, (20, 21)),
        ("gaussian-brain", 0, (0,)),
        ("gaussian-brain", 1, (4,)),
        ("gaussian-brain", 2, (9,)),
    ]
    assert [i.rows for i in items if i.name == "prior"] == [()] * 3
    assert all(item.control for item in items)
    assert "mean-brain" not in {item.name for item in control_items("s", own, ())}


def test_every_control_is_decoded_and_read_back(decoded):
    (subject,) = read_predictions(decoded).subjects
    assert {kind: len(files) for kind, files in subject.controls.items()} == {
        "mean-brain": 2, "gaussian-brain": 8, "phase-brain": 8, "prior": 8,
    }  # fmt: skip
    assert set(subject.controls) == set(CROSSED)
    contents = [file.read_bytes() for files in subject.controls.values() for file in files]
    assert len(set(contents)) == len(contents)
    assert len(subject.first_stage) == 12


def test_the_prior_is_drawn_without_a_condition(decoded, model):
    """By the pipeline alone, from the seed and the empty conditioning."""
    from mindvis.seeding import seed_from

    pipeline = MindVisPipeline.from_pretrained(model)
    noise = torch.Generator().manual_seed(seed_from(0, "sub-02", "prior", 2, 1))
    empty = pipeline.conditioner.null(1)
    (image,) = pipeline(
        conditioning=empty, num_inference_steps=2, guidance_scale=2.0, generator=noise
    ).images
    drawn = pixels(decoded / "controls/prior/2/sub-02_draw1.png")
    assert np.abs(np.asarray(image).astype(int) - drawn).max() <= 1


def test_the_first_stage_ceiling_is_the_shown_picture_there_and_back(decoded, model, store):
    pipeline = MindVisPipeline.from_pretrained(model)
    with VoxelStore(store) as opened:
        (shown,) = opened.stimuli.images(opened.stimuli.index(["test-003"]))
    images = torch.from_numpy(shown).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        back = pipeline.vae(images, return_dict=False)[0].clamp(-1, 1)[0].permute(1, 2, 0)
    expected = ((back + 1) * 127.5).round().numpy()
    file = decoded / "controls/first-stage/test-003.png"
    assert np.abs(expected - pixels(file)).max() <= 1


def test_noise_reaches_the_model_in_its_own_order_and_length(make_pipeline, store):
    transform = make_pipeline().preprocessing["sub-01"]
    with VoxelStore(store) as opened:
        response = opened["sub-01"].responses([0])[0]
    noise = noise_response("gaussian-brain", transform, response, np.random.default_rng(2))
    assert noise.shape == (transform.length,)
    assert (noise[len(transform.columns) :] == 0).all()
    again = noise_response("gaussian-brain", transform, response, np.random.default_rng(2))
    np.testing.assert_array_equal(noise, again)


def test_noise_ceiling_is_that_of_the_mean_of_repeats(store):
    with VoxelStore(store) as opened:
        shown = [name for name in opened.stimuli.ids if name.startswith("test")]
        mean = noise_ceiling(opened, "sub-01", shown)
        single = noise_ceiling(opened, "sub-01", shown, single=True)
        assert (mean["repeats"], single["repeats"], mean["voxels"]) == (3.0, 1.0, 70)
        v = single["best"]
        assert mean["best"] == pytest.approx(3 * v / (1 + 2 * v))
        assert mean["median"] > single["median"]
        train = [name for name in opened.stimuli.ids if name.startswith("train")]
        reason = noise_ceiling(opened, "sub-01", train, split="train")["reason"]
        assert "needs repeats" in reason
        assert "no subject sub-9" in noise_ceiling(opened, "sub-9", shown)["reason"]


def test_controls_are_no_part_of_the_index(decoded):
    assert len(pd.read_csv(decoded / "index.csv")) == 24
