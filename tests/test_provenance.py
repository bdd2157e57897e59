"""What an output folder says of its origin."""

import hashlib
import json

import pytest
import yaml

import mindvis
from mindvis.console import complain, is_main_process, say
from mindvis.provenance import (
    environment,
    file_manifest,
    read_lineage,
    read_manifest,
    write_lineage,
    write_provenance,
)


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "red").mkdir(parents=True)
    (folder / "red" / "b.png").write_bytes(b"bb")
    (folder / "a.png").write_bytes(b"a")
    return folder


def test_manifest_lists_every_file_of_a_folder_once(inputs):
    entries = file_manifest([inputs, inputs / "a.png"])
    assert [entry["path"] for entry in entries] == [
        str(inputs / "a.png"),
        str(inputs / "red" / "b.png"),
    ]
    assert [entry["bytes"] for entry in entries] == [1, 2]
    assert entries[1]["sha256"] == hashlib.sha256(b"bb").hexdigest()


def test_manifest_reads_only_what_may_have_changed(inputs):
    known = [{**entry, "sha256": "remembered"} for entry in file_manifest([inputs])]
    (inputs / "red" / "b.png").write_bytes(b"bbb")
    digests = [entry["sha256"] for entry in file_manifest([inputs], known)]
    assert digests == ["remembered", hashlib.sha256(b"bbb").hexdigest()]


def test_output_folder_carries_three_files(inputs, tmp_path):
    write_provenance(tmp_path / "out", {"draws": 5}, [inputs / "a.png"], transductive=True)
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text()) == {"draws": 5}
    written = json.loads((tmp_path / "out" / "environment.json").read_text())
    assert written["software"]["mindvis"] == mindvis.__version__
    manifest = read_manifest(tmp_path / "out")
    assert manifest["transductive"] is True
    assert len(manifest["files"]) == 1


def test_environment_names_versions_machine_and_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    found = environment()
    assert {"torch", "numpy", "diffusers"} <= set(found["software"])
    assert found["machine"]["cpus"] >= 1
    assert found["slurm"]["SLURM_JOB_ID"] == "77"


def test_lineage_is_found_from_the_run_and_from_the_model(tmp_path):
    assert read_lineage(tmp_path)["transductive"] is False
    assert read_lineage(tmp_path)["selected_on"] is None
    write_lineage(tmp_path / "model", task="masked", transductive=True)
    assert read_lineage(tmp_path)["transductive"] is True
    assert read_lineage(tmp_path / "model")["task"] == "masked"


def test_a_complaint_is_one_line(capsys):
    complain("two\nlines   here")
    assert capsys.readouterr().err == "mindvis: two lines here\n"


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID", "LOCAL_RANK"])
def test_one_process_of_many_speaks(capsys, monkeypatch, name):
    assert is_main_process()
    monkeypatch.setenv(name, "3")
    say("hello")
    assert capsys.readouterr().out == ""
