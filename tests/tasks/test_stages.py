"""Every stage from its configuration to what it leaves behind."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageClassification

from mindvis.cli import main
from mindvis.data.synthetic import class_names, make_store
from mindvis.files import sha256
from mindvis.models.autoencoder import estimate_scaling, load_ldm
from mindvis.models.loading import load_component
from mindvis.models.mae import BrainMAE
from mindvis.provenance import read_lineage, read_manifest
from mindvis.tasks.records import read_rows

STAGES = ("pretrain", "adapt", "latent", "finetune", "judge")
FIGURES = {
    "pretrain": "masked-epoch0004.png",
    "adapt": "masked-epoch0002.png",
    "latent": "latent-epoch0004.png",
    "finetune": "diffusion-epoch0003.png",
}


@pytest.mark.parametrize("stage", STAGES)
def test_run_folder_is_complete(runs, stage):
    run = runs / stage
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "environment.json", "manifest.json", "metrics.csv", "model"} <= names
    assert not list(run.rglob("*.partial*"))
    environment = json.loads((run / "environment.json").read_text())
    assert {"mindvis", "python", "torch", "lightning"} <= set(environment["software"])


@pytest.mark.parametrize("stage", STAGES)
def test_manifest_has_the_store(runs, store, stage):
    entries = {entry["path"]: entry for entry in read_manifest(runs / stage)["files"]}
    assert entries[str(store)]["sha256"] == sha256(store)
    assert entries[str(store)]["bytes"] == store.stat().st_size


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_logged_and_finite(runs, stage):
    rows = read_rows(runs / stage / "metrics.csv")
    for name in ("train_loss", "val_loss"):
        values = [float(row[name]) for row in rows if name in row]
        assert values
        assert np.isfinite(values).all()


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_has_plain_types(runs, stage):
    checkpoint = torch.load(runs / stage / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"]


@pytest.mark.parametrize("stage", FIGURES)
def test_figure_shows_something(runs, stage):
    with Image.open(runs / stage / "figures" / FIGURES[stage]) as picture:
        assert np.asarray(picture).std() > 1


def test_stage_a_can_be_loaded(runs):
    mae = load_component(BrainMAE, runs / "pretrain" / "model" / "mae")
    assert mae.config.num_voxels == 96  # 93 voxels of the larger subject, in patches of 8
    assert (runs / "pretrain" / "model" / "preprocessing.json").is_file()


def test_adaptation_starts_from_the_earlier_run_and_says_what_it_saw(runs):
    before = load_component(BrainMAE, runs / "pretrain" / "model" / "mae").state_dict()
    after = load_component(BrainMAE, runs / "adapt" / "model" / "mae").state_dict()
    moved = [(after[n] - before[n]).abs().max().item() for n in before]
    assert 0 < max(moved) < 0.05  # two epochs at 5.3e-5
    assert read_lineage(runs / "adapt")["transductive"] is True
    assert read_manifest(runs / "adapt")["transductive"] is True
    assert read_lineage(runs / "pretrain")["transductive"] is False


def test_run_and_checkpoint_record_the_splits(runs):
    for stage, module in (("pretrain", "ResponseData"), ("finetune", "PairData")):
        recorded = read_lineage(runs / stage)["splits"]
        assert set(recorded) == {"sub-01", "sub-02"}
        assert read_manifest(runs / stage)["splits"] == recorded
        saved = torch.load(runs / stage / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved[module]["splits"] == recorded
    chain = read_lineage(runs / "finetune")
    assert chain["selected_on"] == "nothing"
    assert chain["ancestors"][0]["splits"]["sub-01"]["test"] == recorded["sub-01"]["test"]


def test_stopping_by_test_scores_is_recorded_as_selection_on_test(runs, store, tmp_path, fit_words):
    words = fit_words("adapt", store, runs)
    words[words.index("--output") + 1] = str(tmp_path / "run")
    stop = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val_loss"]
    assert main([*words, *stop]) == 0
    assert read_lineage(tmp_path / "run")["selected_on"] == "test"
    assert read_lineage(runs / "adapt")["selected_on"] == "nothing"


def test_preprocessing_of_stage_a_is_used_again(runs):
    config = yaml.safe_load((runs / "finetune" / "config.yaml").read_text())
    assert config["data"]["init_args"]["preprocessing"] == str(runs / "pretrain")
    first = json.loads((runs / "pretrain" / "model" / "preprocessing.json").read_text())
    second = json.loads((runs / "finetune" / "model" / "preprocessing.json").read_text())
    assert first["subjects"] == second["subjects"]


def test_stage_b_of_an_adapted_encoder_is_transductive(runs, store, tmp_path, fit_words):
    words = fit_words("finetune", store, runs)
    output = ["--output", str(tmp_path / "run"), "--model.encoder", str(runs / "adapt")]
    assert main([*words, *output, "--trainer.max_epochs", "1"]) == 0
    assert read_lineage(tmp_path / "run")["transductive"] is True


def test_latent_model_has_unit_variance_and_its_classes(runs):
    ldm = load_ldm(runs / "latent")
    names = json.loads((runs / "latent" / "model" / "classes.json").read_text())
    assert set(names) <= set(class_names())
    assert ldm.conditioner.config.num_classes == len(names)
    assert ldm.first_stage.config.scaling_factor != 1.0
    pictures = [torch.rand(8, 3, 16, 16) * 2 - 1]
    assert np.isfinite(estimate_scaling(ldm.first_stage, pictures))


def test_first_stage_trains_before_the_denoiser(runs):
    rows = read_rows(runs / "latent" / "metrics.csv")
    phases = {
        name: sorted({int(row["epoch"]) for row in rows if name in row})
        for name in ("train_first_stage_loss", "val_reconstruction", "train_loss", "val_loss")
    }
    assert phases["train_first_stage_loss"] == phases["val_reconstruction"] == [0, 1]
    assert phases["train_loss"] == phases["val_loss"] == [2, 3]


def test_stage_b_is_a_pipeline(runs):
    folder = runs / "finetune" / "model"
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "MindVisPipeline"
    assert index["encoder"] == ["mindvis.models.encoder", "BrainEncoder"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert all((folder / part).is_dir() for part in index if not part.startswith("_"))


def test_stage_b_changes_only_what_it_opens(runs):
    before = load_ldm(runs / "latent").unet.state_dict()
    after = load_ldm(runs / "finetune").unet.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(
        ".attn2." in n or ".norm2." in n or n.startswith("class_embedding.") for n in changed
    )


def test_frozen_weights_are_not_in_the_checkpoint(runs):
    saved = torch.load(runs / "finetune" / "checkpoints" / "last.ckpt", weights_only=True)
    names = set(saved["state_dict"])
    assert not any(name.startswith("first_stage.") for name in names)
    assert not any(".attn1." in name for name in names)
    assert any(".attn2." in name for name in names)
    groups = saved["optimizer_states"][0]["param_groups"]
    assert len(saved["optimizer_states"][0]["state"]) == sum(len(g["params"]) for g in groups)


def test_judge_knows_the_classes_by_name(runs):
    folder = runs / "judge" / "model"
    judge = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    assert set(judge.config.id2label.values()) <= set(class_names())
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 16, "width": 16}
    assert processor["image_mean"] == [0.5, 0.5, 0.5]


# -- the same command again -------------------------------------------------------------------


@pytest.fixture
def copied(runs, store, tmp_path, fit_words):
    """A run of stage A that may be changed, and the words that made it."""
    shutil.copytree(runs / "pretrain", tmp_path / "pretrain")
    return tmp_path / "pretrain", fit_words("pretrain", store, tmp_path)


def test_complete_run_says_so_and_changes_nothing(copied, capsys):
    run, words = copied
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main(words) == 0
    assert f"{run} is complete: {run / 'model'}" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_saved_configuration_is_the_run(copied, capsys):
    run, _ = copied
    assert main(["fit", "-c", str(run / "config.yaml"), "--output", str(run)]) == 0
    assert "is complete" in capsys.readouterr().out


def test_model_that_was_not_written_is_written(copied):
    run, words = copied
    weights = run / "model" / "mae" / "diffusion_pytorch_model.safetensors"
    digest = sha256(weights)
    shutil.rmtree(run / "model")
    assert main(words) == 0
    assert sha256(weights) == digest


def test_run_can_be_made_longer(copied):
    run, words = copied
    assert main([*words, "--trainer.max_epochs", "6"]) == 0
    epochs = [row["epoch"] for row in read_rows(run / "metrics.csv") if "train_loss" in row]
    assert epochs == ["0", "1", "2", "3", "4", "5"]
    assert json.loads((run / "complete.json").read_text())["epochs"] == 6


def test_other_options_are_refused(copied, capsys):
    run, words = copied
    assert main([*words, "--model.depth", "3"]) == 2
    assert f"{run} was begun with model.depth 2, and now it is 3" in capsys.readouterr().err
    assert main([*words, "--data.num_workers", "1"]) == 0


def test_changed_store_is_refused(runs, tmp_path, fit_words, capsys):
    shutil.copytree(runs / "pretrain", tmp_path / "pretrain")
    own = tmp_path / "store.h5"
    make_store(own)
    words = fit_words("pretrain", own, tmp_path)
    shutil.rmtree(tmp_path / "pretrain")
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    make_store(own, noise=0.6)
    assert main([*words, "--trainer.max_epochs", "2"]) == 2
    assert f"{own} has changed since {tmp_path / 'pretrain'} was begun" in capsys.readouterr().err


def test_damaged_checkpoint_is_named(copied, capsys):
    run, words = copied
    (run / "checkpoints" / "last.ckpt").write_bytes(b"half a checkpoint")
    assert main([*words, "--trainer.max_epochs", "6"]) == 2
    assert "last.ckpt cannot be read" in capsys.readouterr().err.splitlines()[-1]


def test_validate_repeats_the_last_validation(runs, capsys):
    assert main(["validate", "-c", str(runs / "finetune" / "config.yaml")]) == 0
    printed = capsys.readouterr().out
    with (runs / "finetune" / "metrics.csv").open() as file:
        last = [row["val_loss"] for row in csv.DictReader(file) if row["val_loss"]][-1]
    assert last[:7] in printed


# -- what does not fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "options", "sentence"),
    [
        ("finetune", ["--data.preprocessing", "null", "--data.length", "104", "--data.patch_size",
         "8", "--model.encoder", "{runs}/pretrain/model/mae"],
         "was trained on 96 voxels; expected 104"),
        ("finetune", ["--model.ldm", "{runs}/pretrain"], "has no unet"),
        ("finetune", ["--model.encoder", "nowhere"], "no folder nowhere"),
        ("finetune", ["--data.image_size", "32"],
         "pictures are 32 pixels wide; expected 16, as the latent"),
        ("latent", ["--trainer.max_epochs", "2"], "expected epochs left for the denoiser"),
        ("latent", ["--data.image_size", "15"], "expected a multiple of 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    runs, store, tmp_path, fit_words, capsys, stage, options, sentence
):
    words = fit_words(stage, store, runs)
    filled = [word.replace("{runs}", str(runs)) for word in options]
    assert main([*words, "--output", str(tmp_path / "run"), *filled]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_gradients_are_clipped_beside_mixed_precision(fit_words, store, tmp_path):
    """As in the recipes of the data sets and the job script."""
    words = fit_words("pretrain", store, tmp_path)
    words += ["--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "0.8"]
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    assert (tmp_path / "pretrain" / "complete.json").is_file()
