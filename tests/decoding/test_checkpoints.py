"""`mindvis import-checkpoint` and `export-checkpoint`: folders, files, refusals."""

import json

import numpy as np
import pytest
import torch

from mindvis.cli import main
from mindvis.data.store import VoxelStore
from mindvis.data.transforms import Preprocessing
from mindvis.models.encoder import load_encoder
from mindvis.provenance import read_lineage
from tests.models import legacy_files as legacy


def run(*words):
    return main([str(word) for word in words])


def refused(capsys, *words):
    """The one line on stderr of a command that must end with code 2."""
    capsys.readouterr()
    assert run(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def contents(folder):
    """Weights and configurations of a folder, by name."""
    kept = {".safetensors", ".json"}
    records = {"import.json", "manifest.json", "environment.json"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in kept and path.name not in records
    }


@pytest.fixture
def file(tmp_path):
    return legacy.save_encoder(tmp_path / "fmri_encoder.pth")


def test_an_encoder_becomes_a_folder_that_stages_start_from(file, tmp_path, capsys):
    out = tmp_path / "encoder"
    assert run("import-checkpoint", file, "--output", out) == 0
    said = capsys.readouterr().out
    assert f"{len(legacy.mae_weights())} tensors used" in said
    assert f"{2 * len(legacy.mae_weights())} left out: state of the optimiser" in said
    encoder = load_encoder(out, legacy.VOXELS, legacy.PATCH, class_token=False)
    assert torch.equal(encoder.trunk.norm.weight, legacy.mae_weights()["norm.weight"])
    assert read_lineage(out)["transductive"] is True
    assert {"config.yaml", "environment.json", "manifest.json"} <= {p.name for p in out.iterdir()}
    manifest = json.loads((out / "manifest.json").read_text())
    assert [entry["path"] for entry in manifest["files"]] == [str(file)]


def test_the_report_names_every_tensor(file, tmp_path):
    run("import-checkpoint", file, "--output", tmp_path / "out", "--transductive", "false")
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert report["kind"] == "encoder"
    assert report["used"]["patch_embed.proj.weight"] == "mae/trunk.patch_embed.weight"
    assert report["used"].keys() == legacy.mae_weights().keys()
    assert report["left_out"]["optimizer.state.3.exp_avg"] == "state of the optimiser"
    assert report["config"]["num_heads"] == legacy.HEADS
    assert read_lineage(tmp_path / "out")["transductive"] is False


def test_the_store_says_how_to_standardise(file, store, tmp_path):
    words = ["--store", store, "--subjects", '["sub-02"]', "--roi", "VC"]
    assert run("import-checkpoint", file, "--output", tmp_path / "out", *words) == 0
    preprocessing = Preprocessing.load(tmp_path / "out")
    assert (preprocessing.length, preprocessing.patch_size) == (legacy.VOXELS, legacy.PATCH)
    with VoxelStore(store) as opened:
        subject = opened["sub-02"]
        rows = np.flatnonzero(subject.trials["split"] == "train")
        inside = np.flatnonzero(subject.roi_mask("VC"))
        responses = subject.responses(rows)
    short = -len(inside) % 16 or 16
    padded = np.pad(responses[:, inside], ((0, 0), (0, short)), "wrap").astype(float)
    expected = (padded - padded.mean()) / padded.std()
    expected = np.pad(expected, ((0, 0), (0, legacy.VOXELS - expected.shape[1])), "wrap")
    assert np.abs(preprocessing["sub-02"](responses) - expected).max() < 1e-5


def test_a_store_with_more_voxels_than_the_model_reads(store, tmp_path, capsys):
    weights = legacy.mae_weights()
    for name in ("pos_embed", "decoder_pos_embed"):
        weights[name] = weights[name][:, :4]
    file = legacy.save_encoder(tmp_path / "a.pth", weights)
    said = refused(
        capsys, "import-checkpoint", file, "--output", tmp_path / "out", "--store", store
    )
    assert "voxels, the model reads 48" in said
    assert not (tmp_path / "out").exists()


def test_there_and_back_and_there_is_the_same(file, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("import-checkpoint", file, "--output", one) == 0
    assert run("export-checkpoint", one, "--output", tmp_path / "back.pth") == 0
    assert run("import-checkpoint", tmp_path / "back.pth", "--output", two) == 0
    assert contents(one) == contents(two)
    reports = [json.loads((folder / "import.json").read_text()) for folder in (one, two)]
    assert reports[0]["used"] == reports[1]["used"]
    assert reports[1]["config"].items() >= reports[0]["config"].items()


def test_a_second_import_replaces_the_first(file, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert run("import-checkpoint", file, "--output", out) == 0
    (out / "import.json").unlink()
    assert "holds something else" in refused(capsys, "import-checkpoint", file, "--output", out)
    assert (out / "mae").is_dir()


def test_refusals_are_one_sentence_and_leave_nothing(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"nothing")
    for path in (tmp_path / "a.pth", tmp_path / "nowhere.pth", tmp_path):
        refused(capsys, "import-checkpoint", path, "--output", tmp_path / "out")
    assert "holds no" in refused(
        capsys, "export-checkpoint", tmp_path, "--output", tmp_path / "out.pth"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]
