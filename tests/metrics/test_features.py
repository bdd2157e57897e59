"""Judges are read from a folder, prepare pictures as they were trained, and name what they lack."""

import json
import shutil
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mindvis.errors import CheckpointError
from mindvis.files import sha256
from mindvis.metrics import swag
from mindvis.metrics.digests import folder_digest
from mindvis.metrics.features import Judge

LABELS = ["red circle", "blue <square>", "green star", "grey cross", "black heart"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    path = tmp_path_factory.mktemp("judge")
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = ResNetConfig(
        hidden_sizes=[8, 12], depths=[1, 1], embedding_size=8, layer_type="basic", id2label=names
    )
    ResNetForImageClassification(config).save_pretrained(path)
    processor = ViTImageProcessorPil(
        size={"height": 24, "width": 20},
        resample=2,
        image_mean=[0.4, 0.5, 0.6],
        image_std=[0.3] * 3,
    )
    processor.save_pretrained(path)
    return path


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (7, 32, 28, 3), dtype=np.uint8)


def test_probabilities_are_a_softmax_over_prepared_pictures(folder, pictures):
    judge = Judge.load(folder)
    got = judge.probabilities(pictures, batch_size=3)
    assert got.shape == (7, 5)
    assert got.dtype == torch.float64
    prepared = []
    for picture in pictures:
        small = np.asarray(Image.fromarray(picture).resize((20, 24), Image.Resampling.BILINEAR))
        prepared.append((small / 255 - [0.4, 0.5, 0.6]) / 0.3)
    pixels = torch.tensor(np.stack(prepared)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = judge.model(pixel_values=pixels).logits.double().softmax(-1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_probabilities_do_not_depend_on_the_batch(folder, pictures):
    judge = Judge.load(folder)
    whole, parts = judge.probabilities(pictures), judge.probabilities(list(pictures), batch_size=2)
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-7)
    assert judge.probabilities(pictures[:0]).shape == (0, 5)


def test_classes_are_found_by_name(folder):
    judge = Judge.load(folder)
    assert judge.labels == tuple(LABELS)
    assert judge.class_numbers(["Green_star", " black heart", "dog"]).tolist() == [2, 4, -1]


def test_digest_is_that_of_the_weights(folder, tmp_path):
    assert Judge.load(folder).digest == sha256(folder / "model.safetensors")
    weights = load_file(folder / "model.safetensors")
    for part, names in enumerate((list(weights)[:3], list(weights)[3:])):
        save_file({name: weights[name] for name in names}, tmp_path / f"part{part}.safetensors")
    before = folder_digest(tmp_path)
    weights[names[0]] += 1
    save_file({name: weights[name] for name in names}, tmp_path / "part1.safetensors")
    assert folder_digest(tmp_path) != before


def test_a_run_folder_stands_for_its_model(folder, tmp_path):
    run = tmp_path / "judge-run"
    run.mkdir()
    (run / "model").symlink_to(folder)
    assert Judge.load(run).name == "judge-run"


def test_a_folder_without_a_judge_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no judge in .*nowhere; expected a transformers"):
        Judge.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"lacks \*.safetensors and preprocessor_config.json"):
        Judge.load(tmp_path)


def test_a_folder_with_another_model_is_refused(folder, tmp_path):
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    with pytest.raises(CheckpointError, match=r"cannot be read: .*no-such-thing"):
        Judge.load(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Judge.load(tmp_path)


def test_a_judge_without_its_last_layer_is_refused(folder, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 2 of the model's, classifier\.1\.bias"):
        Judge.load(tmp_path)


def test_a_judge_is_found_by_its_name_in_the_hub_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--judge" / "snapshots" / ("b" * 40)
    snapshot.parent.mkdir(parents=True)
    (tmp_path / "models--owner--judge" / "refs").mkdir()
    (tmp_path / "models--owner--judge" / "refs" / "main").write_text("b" * 40)
    shutil.copytree(folder, snapshot)
    assert Judge.load("owner/judge").labels == tuple(LABELS)
    with pytest.raises(CheckpointError, match="no judge in owner/other"):
        Judge.load("owner/other")


def test_the_judge_of_mind_vis_asks_for_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vit-h-14 are missing; run `mindvis prefetch"):
        Judge.load("vit-h-14")


def test_the_judge_of_mind_vis_sees_the_middle_at_518_pixels(rng):
    wide = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    got = swag.Processor()([wide, wide[:, :40]])["pixel_values"]
    assert got.shape == (2, 3, 518, 518)
    large = np.asarray(Image.fromarray(wide).resize((777, 518), Image.Resampling.BICUBIC))
    middle = large[:, 130 : 130 + 518] / 255  # (777 - 518) / 2, rounded to even as torchvision does
    expected = (middle - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(got[0], expected.transpose(2, 0, 1), atol=1e-5)


def test_the_judge_of_mind_vis_answers_like_any_other(monkeypatch, tmp_path, rng):
    """torchvision's class is planted: the network itself is not what is tested."""

    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 4)

        def forward(self, pixels):
            return self.head(pixels.mean((2, 3)))

    torch.manual_seed(0)
    original = Tiny()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    names = types.SimpleNamespace(meta={"categories": ["a", "b", "c", "d"]})
    models = types.SimpleNamespace(
        vit_h_14=lambda weights, image_size: Tiny(),
        ViT_H_14_Weights=types.SimpleNamespace(IMAGENET1K_SWAG_E2E_V1=names),
    )
    monkeypatch.setattr(swag, "import_torchvision", lambda: models)
    monkeypatch.setattr(swag, "locate", lambda *_: tmp_path / "weights.pth")
    monkeypatch.setattr(swag, "verify", lambda *_: "ef" * 32)
    judge = Judge.load("vit-h-14")
    pictures = rng.integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    pixels = swag.Processor()(list(pictures))["pixel_values"]
    with torch.no_grad():
        expected = original(pixels).double().softmax(-1)
    torch.testing.assert_close(judge.probabilities(pictures), expected)
    assert (judge.labels, judge.digest) == (("a", "b", "c", "d"), "ef" * 32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_judge_saved_in_half_precision_judges_in_float32(folder, tmp_path, pictures, dtype):
    shutil.copytree(folder, tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    half = {k: w.to(dtype) if w.is_floating_point() else w for k, w in weights.items()}
    save_file(half, tmp_path / "half" / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    judge = Judge.load(tmp_path / "half")
    assert {p.dtype for p in judge.model.parameters()} == {torch.float32}
    expected = Judge.load(folder).probabilities(pictures)
    torch.testing.assert_close(judge.probabilities(pictures), expected, rtol=0.1, atol=0.02)


def changed(folder, path, factor):
    """A copy of a judge whose classifier's weights are multiplied."""
    shutil.copytree(folder, path)
    weights = load_file(folder / "model.safetensors")
    weights = {k: w * factor if k.startswith("classifier") else w for k, w in weights.items()}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return Judge.load(path)


def test_a_judge_that_answers_nan_is_refused(folder, tmp_path, pictures):
    judge = changed(folder, tmp_path / "nan", float("nan"))
    with pytest.raises(CheckpointError, match="the judge nan answers NaN or infinity about 7 of 7"):
        judge.probabilities(pictures)


def test_a_judge_that_answers_alike_is_refused(folder, tmp_path, pictures):
    judge = changed(folder, tmp_path / "dead", 0.0)
    with pytest.raises(CheckpointError, match="gives one answer to all 7 true pictures"):
        judge.check_answers(list(pictures), judge.logits(pictures))
    same = [pictures[0], pictures[0]]
    judge.check_answers(same, judge.logits(same))  # equal pictures, equal answers
    sound = Judge.load(folder)
    sound.check_answers(list(pictures), sound.logits(pictures))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_code_of_a_judge_is_never_run(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "own")
    content = json.loads((folder / name).read_text())
    content["auto_map"] = {"AutoConfig": "evil.Evil"}
    (tmp_path / "own" / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"asks in {name} to run code of its own \(auto_map"):
        Judge.load(tmp_path / "own")


def aspect(folder, path, **options):
    """A copy of a judge whose processor keeps the aspect ratio."""
    shutil.copytree(folder, path)
    file = path / "preprocessor_config.json"
    content = json.loads(file.read_text())
    content |= {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 24}}
    file.write_text(json.dumps({**content, **options}))
    return Judge.load(path)


def test_pictures_of_several_shapes_are_judged_one_by_one(folder, tmp_path, rng):
    judge = aspect(folder, tmp_path / "ratio", do_center_crop=False)
    mixed = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((24, 24), (24, 40))]
    got = judge.probabilities(mixed)
    torch.testing.assert_close(got[1:], judge.probabilities(mixed[1:]))
    assert judge.note(mixed) == ""


def test_what_a_crop_hides_is_said(folder, tmp_path, rng):
    crop = {"height": 24, "width": 24}
    judge = aspect(folder, tmp_path / "crop", do_center_crop=True, crop_size=crop)
    uneven = [rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)]
    assert "does not see the ends of 1 true picture that is not square" in judge.note(uneven)
    assert judge.note([uneven[0][:, :24]]) == ""
