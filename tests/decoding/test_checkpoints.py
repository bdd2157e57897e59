"""`mindvis import-checkpoint` and `export-checkpoint`: folders, files, refusals."""

import json

import numpy as np
import pytest
import torch
import yaml

from mindvis.cli import main
from mindvis.data.store import VoxelStore
from mindvis.data.transforms import Preprocessing
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.errors import ConfigError
from mindvis.models.autoencoder import load_ldm
from mindvis.models.encoder import load_encoder
from mindvis.models.sampling import make_scheduler
from mindvis.provenance import read_lineage, read_manifest
from tests.models import legacy_files as legacy
from tests.models import reference
from tests.models.upstream import close, under
from tests.tolerances import NETWORK_OF_TIME

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STEPS = 10


def run(*words):
    return main([str(word) for word in words])


def refused(capsys, *words):
    """The sentence on stderr of a command that must end with code 2; progress bars aside."""
    capsys.readouterr()
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("mindvis: ")]
    return line


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
    assert read_lineage(out)["selected_on"] is None
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


def test_a_file_is_not_replaced_by_its_own_import(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("import-checkpoint", file, "--output", out) == 0
    inside = legacy.save_encoder(out / "fmri_encoder.pth")
    assert "holds something else" in refused(capsys, "import-checkpoint", inside, "--output", out)
    assert inside.is_file()


def test_refusals_are_one_sentence_and_leave_nothing(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"nothing")
    for path in (tmp_path / "a.pth", tmp_path / "nowhere.pth", tmp_path):
        refused(capsys, "import-checkpoint", path, "--output", tmp_path / "out")
    assert "holds no" in refused(
        capsys, "export-checkpoint", tmp_path, "--output", tmp_path / "out.pth"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]


def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, capsys):
    trace, path = tmp_path / "it-ran", tmp_path / "a.pth"
    torch.save({"model": legacy.mae_weights(), "optimizer": legacy.Attack(trace)}, path)
    said = refused(capsys, "import-checkpoint", path, "--output", tmp_path / "out")
    assert "a.pth pickles posix.system; expected weights" in said
    assert not trace.exists()


# -- whole pipelines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights():
    return legacy.pipeline_weights()


@pytest.fixture(scope="module")
def imported(tmp_path_factory, weights, store):
    """An imported pipeline; never write to it."""
    folder = tmp_path_factory.mktemp("legacy")
    file = legacy.save_pipeline(folder / "checkpoint.pth", weights)
    (folder / "config.yaml").write_text(yaml.safe_dump(legacy.ldm_config()))
    encoder = legacy.save_encoder(folder / "fmri_encoder.pth")
    words = ["--encoder_config", encoder, "--store", store, "--roi", "VC"]
    assert run("import-checkpoint", file, "--output", folder / "model", *words) == 0
    return folder / "model"


def reference_pictures(weights, voxels, noise):
    """Encoder, mapping, PLMS and first stage of plain functions; pictures in [0, 1]."""
    w = under(weights, "cond_stage_model.")
    context = reference.to_context(
        w, reference.encode_brain(under(w, "mae."), voxels, legacy.HEADS)
    )
    unet = under(weights, "model.diffusion_model.")

    def noise_of(x, t):
        return reference.predict(unet, x, torch.full((len(x),), t), context)

    latents = reference.plms(noise_of, noise, STEPS)
    pictures = reference.decode_picture(under(weights, "first_stage_model."), latents)
    return latents.float(), pictures.clamp(-1, 1) / 2 + 0.5


@torch.no_grad()
def test_pictures_are_those_of_plain_functions(imported, weights, store):
    pipeline = MindVisPipeline.from_pretrained(imported)
    pipeline.set_progress_bar_config(disable=True)
    with VoxelStore(store) as opened:
        responses = opened["sub-01"].responses([0, 5])
    voxels = torch.from_numpy(pipeline.preprocessing["sub-01"](responses))
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    latents, pictures = reference_pictures(weights, voxels, noise)
    options = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "latents": noise}
    ours = pipeline(responses, "sub-01", output_type="latent", **options).images
    assert close(ours, latents, STEPS * NETWORK_OF_TIME)
    painted = pipeline(responses, "sub-01", output_type="pt", **options).images
    assert close(painted, pictures, STEPS * NETWORK_OF_TIME)
    assert len(pipeline.vae.quantize(ours)[2][2].unique()) > 2
    assert (pictures[0] - pictures[1]).abs().max() > 0.01


def test_imported_pipelines_decode_a_store(imported, store, tmp_path, capsys):
    words = ["decode", imported, "--store", store, "--output", tmp_path / "out"]
    words += ["--steps", 4, "--draws", 1, "--scheduler", "plms", "--controls", "false"]
    assert "trained without an empty condition; expected guidance 1" in refused(capsys, *words)
    assert not (tmp_path / "out").exists()
    assert run(*words, "--guidance", 1) == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 24
    assert read_manifest(tmp_path / "out")["transductive"] is True


def test_results_of_a_checkpoint_say_that_it_was_chosen_on_test(imported, store, tmp_path, capsys):
    assert read_lineage(imported)["selected_on"] == read_manifest(imported)["selected_on"] == "test"
    words = ["decode", imported, "--store", store, "--output", tmp_path / "out", "--guidance", 1]
    assert run(*words, "--steps", 2, "--draws", 1, "--controls", "false") == 0
    capsys.readouterr()
    assert run("evaluate", tmp_path / "out", "--bootstrap", 100, "--permutations", 100) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("DO NOT REPORT: stage import-checkpoint was selected on test")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["selected_on"] == "test"


@pytest.mark.parametrize(("said", "recorded"), [("nothing", "nothing"), ("null", None)])
def test_another_selection_can_be_said(imported, tmp_path, said, recorded):
    run("export-checkpoint", imported, "--output", tmp_path / "a.pth")
    words = ["import-checkpoint", tmp_path / "a.pth", "--output", tmp_path / "two"]
    assert run(*words, "--selected_on", said) == 0
    assert read_lineage(tmp_path / "two")["selected_on"] == recorded


def test_guidance_is_refused_in_python_too(imported):
    pipeline = MindVisPipeline.from_pretrained(imported)
    with pytest.raises(ConfigError, match=r"guidance of 2.0 .*guidance_scale=1.0"):
        pipeline(np.zeros((1, 70), np.float32), "sub-01")


def test_pipelines_there_and_back_and_there(imported, tmp_path):
    back = tmp_path / "back.pth"
    assert run("export-checkpoint", imported, "--output", back) == 0
    assert run("import-checkpoint", back, "--output", tmp_path / "two") == 0
    ours = contents(imported)
    del ours["preprocessing.json"]  # of a store, which the second import did not get
    assert contents(tmp_path / "two") == ours


def test_labels_there_and_back_and_there(tmp_path):
    file = legacy.save_ldm(tmp_path / "model.ckpt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(legacy.ldm_config()))
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("import-checkpoint", file, "--output", one) == 0
    assert run("export-checkpoint", one, "--output", tmp_path / "back.ckpt") == 0
    assert run("import-checkpoint", tmp_path / "back.ckpt", "--output", two) == 0
    assert contents(one) == contents(two)
    assert read_lineage(one)["transductive"] is False
    assert read_lineage(one)["selected_on"] is None


def test_stage_b_starts_from_imported_labels(tmp_path):
    file = legacy.save_ldm(tmp_path / "model.ckpt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(legacy.ldm_config()))
    run("import-checkpoint", file, "--output", tmp_path / "ldm")
    ldm = load_ldm(tmp_path / "ldm")
    assert ldm.conditioner.config.num_classes == 11
    assert (ldm.scheduler.config.beta_start, ldm.scheduler.config.beta_end) == (0.0015, 0.0195)
    assert make_scheduler("plms", ldm.scheduler.config).config.steps_offset == 1


def test_labels_take_no_store(tmp_path, store, capsys):
    file = legacy.save_ldm(tmp_path / "model.ckpt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(legacy.ldm_config()))
    words = ["import-checkpoint", file, "--output", tmp_path / "out", "--store", store]
    assert "reads labels and no responses; leave --store out" in refused(capsys, *words)


def test_pipelines_of_our_own_kind_are_not_exported(model, tmp_path, capsys):
    said = refused(capsys, "export-checkpoint", model, "--output", tmp_path / "a.pth")
    assert "uses its class token, and MinD-Vis has nothing like it" in said
    assert not list(tmp_path.iterdir())


def test_the_compat_statistics_are_a_choice(file, store, tmp_path):
    words = ["--store", store, "--statistics", "train_only"]
    assert run("import-checkpoint", file, "--output", tmp_path / "out", *words) == 0
    preprocessing = Preprocessing.load(tmp_path / "out")
    responses = np.ones((1, 70), np.float32)
    assert (preprocessing.of("sub-01", "test")(responses) == 1).all()
    assert not (preprocessing.of("sub-01", "train")(responses) == 1).all()
