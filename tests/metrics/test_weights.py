"""Weights are found where torch and Hugging Face keep them, and checked before they are used."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mindvis.cli import main
from mindvis.errors import CheckpointError, ConfigError
from mindvis.metrics.prefetch import prefetch
from mindvis.metrics.weights import WEIGHTS, fetch, locate, needed, verify

CONTENT = b"not really an AlexNet"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Empty caches, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("MINDVIS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def alexnet(caches, monkeypatch):
    """A file whose digest is published."""
    weights = replace(WEIGHTS["alexnet"], published=DIGEST[:8])
    monkeypatch.setitem(WEIGHTS, "alexnet", weights)
    (caches / weights.file).write_bytes(CONTENT)
    return weights


def test_published_figures_are_those_in_the_names_of_files():
    for weights in WEIGHTS.values():
        if weights.published:
            stem = weights.file.rsplit(".", 1)[0]
            assert stem.endswith(f"-{weights.published}")
            assert len(weights.published) == 8
        else:
            assert weights.name in {"swav-resnet50", "clip-vit-l-14"}


def test_a_file_is_found_in_the_cache_or_in_a_folder_of_ones_own(alexnet, caches, tmp_path):
    assert locate(alexnet) == caches / "alexnet-owt-7be5be79.pth"
    assert locate(WEIGHTS["vit-h-14"]) is None
    own = tmp_path / "own"
    own.mkdir()
    (own / alexnet.file).write_bytes(CONTENT)
    assert locate(alexnet, own) == own / alexnet.file
    assert verify(alexnet, own / alexnet.file) == DIGEST


def test_a_damaged_file_is_refused_with_what_its_publisher_says(alexnet, caches):
    (caches / alexnet.file).write_bytes(CONTENT[:-1])
    with pytest.raises(CheckpointError, match=f"starts with {DIGEST[:8]}, as its publisher says"):
        verify(alexnet, caches / alexnet.file)


def test_an_unpublished_digest_is_recorded_and_kept_to(caches, tmp_path):
    swav = WEIGHTS["swav-resnet50"]
    file = caches / swav.file
    file.write_bytes(CONTENT)
    assert verify(swav, file) == verify(swav, file) == DIGEST
    lock = json.loads((tmp_path / "home" / "weights.lock.json").read_text())
    assert lock == {"swav-resnet50": DIGEST}
    file.write_bytes(b"others")
    with pytest.raises(CheckpointError, match=f"when it was first used {DIGEST[:16]}"):
        verify(swav, file)


def test_a_repository_is_found_in_the_hub_cache(tmp_path):
    clip = WEIGHTS["clip-vit-l-14"]
    assert locate(clip) is None
    root = tmp_path / "hub" / "models--openai--clip-vit-large-patch14"
    snapshot = root / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    save_file({"w": torch.ones(2)}, snapshot / "model.safetensors")
    assert locate(clip) == snapshot
    expected = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    assert verify(clip, snapshot) == expected


def test_check_names_what_is_missing_and_exits_with_2(alexnet, capsys):
    words = ["prefetch", "--check", "--protocols", '["nsd8-braindiffuser"]']
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "alexnet" not in printed.err
    for name in ("inception-v3", "efficientnet-b1-v1", "swav-resnet50", "clip-vit-l-14"):
        assert f"{name} (" in printed.err
    assert "4 of 5 weights are not there" in printed.err
    assert printed.err.count("\n") == 1
    assert f"{DIGEST}" in printed.out
    assert main(["prefetch", "--check", "--names", '["alexnet"]']) == 0


def test_a_manifest_holds_path_size_and_digest(alexnet, tmp_path):
    found = prefetch(names=["alexnet"], check=True, manifest=str(tmp_path / "m.json"))
    assert json.loads((tmp_path / "m.json").read_text()) == found
    assert found["alexnet"]["bytes"] == len(CONTENT)
    assert found["alexnet"]["sha256"] == DIGEST


def test_what_cannot_be_fetched_says_what_to_do(alexnet):
    assert fetch(alexnet) == locate(alexnet)
    with pytest.raises(CheckpointError, match=r"inception-v3 cannot be fetched .*no route to host"):
        prefetch(names=["alexnet", "inception-v3"])


def test_a_fetched_file_is_checked_as_it_arrives(caches, monkeypatch):
    def download(url, target, hash_prefix):
        assert url.endswith("vit_h_14_swag-80465313.pth")
        assert hash_prefix == "80465313"
        with open(target, "wb") as file:  # noqa: PTH123
            file.write(CONTENT)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(CheckpointError, match="starts with 80465313"):
        prefetch(names=["vit-h-14"])


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"no weights 'alexnett'.*did you mean 'alexnet'"):
        prefetch(names=["alexnett"])
    with pytest.raises(ConfigError, match="protocol 'mse' needs no weights"):
        prefetch(protocols=["mse"])
    assert {w.name for w in needed(["kid"])} == {"fid-inception"}
    assert needed() == list(WEIGHTS.values())
