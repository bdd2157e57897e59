"""The recipes of `configs/god/compat` in their tiny form: three stages, then PLMS."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mindvis.cli import main
from mindvis.data.transforms import Preprocessing
from mindvis.models.autoencoder import load_ldm
from mindvis.models.encoder import load_encoder
from mindvis.provenance import read_lineage
from mindvis.tasks.records import read_rows

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = ("pretrain", "adapt", "finetune")


def words(stage, store, root, ldm):
    """Words that fit a stage of god/compat on a small store, in seconds."""
    args = ["fit", "-c", CONFIGS / "god" / "compat" / f"{stage}.yaml"]
    args += ["-c", CONFIGS / "size" / "tiny" / f"{stage}.yaml"]
    args += ["--data.store", store, "--output", root / stage, "--trainer.precision", "32-true"]
    args += ["--trainer.enable_progress_bar", "false"]
    if stage == "adapt":
        args += ["--model.init_from", root / "pretrain"]
    if stage == "finetune":
        args += ["--model.encoder", root / "adapt", "--model.ldm", ldm]
        args += ["--data.image_size", "16", "--model.warmup_epochs", "0"]
    return [str(word) for word in args]


@pytest.fixture(scope="module")
def compat(store, runs, tmp_path_factory):
    """Folder with the three runs and what was decoded."""
    root = tmp_path_factory.mktemp("compat")
    for stage in STAGES:
        assert main(words(stage, store, root, runs / "latent")) == 0
    decode = ["decode", root / "finetune", "--store", store, "--output", root / "decoded"]
    options = ["--scheduler", "plms", "--steps", "10", "--guidance", "1", "--draws", "2"]
    assert main([str(word) for word in [*decode, *options]]) == 0
    return root


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_finite_without_validation(compat, stage):
    rows = read_rows(compat / stage / "metrics.csv")
    losses = [float(row["train_loss"]) for row in rows if "train_loss" in row]
    assert losses
    assert np.isfinite(losses).all()
    assert not any("val_loss" in row for row in rows)


def test_rate_of_stage_b_is_constant(compat):
    rows = read_rows(compat / "finetune" / "metrics.csv")
    rates = [float(row["lr"]) for row in rows if "lr" in row]
    assert rates
    assert rates == pytest.approx([1e-3] * len(rates))


def test_responses_are_those_of_mindvis_throughout(compat, store):
    """One preprocessing from stage A1 to decoding: legacy padding, test responses as stored."""
    loaded = [Preprocessing.load(compat / stage) for stage in STAGES]
    first = loaded[0]
    assert all(other.subjects.keys() == first.subjects.keys() for other in loaded)
    for name, transform in first.subjects.items():
        assert all(other[name].to_dict() == transform.to_dict() for other in loaded)
        assert (transform.padding, transform.raw_test) == ("legacy", True)
        assert len(set(transform.mean.tolist())) == len(set(transform.std.tolist())) == 1
    assert max(len(transform.columns) for transform in first.subjects.values()) == first.length


def test_stage_b_has_no_class_token_and_the_projection_of_mindvis(compat):
    length = Preprocessing.load(compat / "finetune").length
    encoder = load_encoder(compat / "finetune", length, 8)
    assert encoder.num_tokens == length // 8
    conditioner = load_ldm(compat / "finetune").conditioner
    shapes = [tuple(p.shape) for p in conditioner.mapping.token_maps.parameters() if p.ndim > 1]
    tokens = encoder.num_tokens
    assert shapes == [(tokens // 2, tokens, 1), (4, tokens // 2, 1)]


def test_stage_b_trains_what_mindvis_trains(compat, runs):
    before = load_ldm(runs / "latent").unet.state_dict()
    after = load_ldm(compat / "finetune").unet.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = (".attn2.", ".norm2.", "class_embedding.")
    assert changed
    assert all(any(part in name for part in parts) for name in changed)


def test_adaptation_and_all_after_it_are_transductive(compat):
    assert not read_lineage(compat / "pretrain")["transductive"]
    assert read_lineage(compat / "adapt")["transductive"]
    assert read_lineage(compat / "finetune")["transductive"]
    config = yaml.safe_load((compat / "decoded" / "config.yaml").read_text())
    assert (config["transductive"], config["scheduler"]) == (True, "plms")


def test_every_test_picture_is_decoded(compat):
    index = pd.read_csv(compat / "decoded" / "index.csv")
    shown = index[~index["stimulus"].str.contains("mean-brain")]
    assert shown.groupby(["subject", "stimulus"]).size().tolist() == [2] * 24
