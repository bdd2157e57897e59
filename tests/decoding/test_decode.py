"""The decode command: every picture a function of what it shows, and nothing lost by a kill."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.decoding.decode import choose_device, decode, load_pipeline
from mindvis.decoding.listing import Item, picture_file, truth_file
from mindvis.decoding.pipeline import MindVisPipeline
from mindvis.decoding.plan import batches, own_share, parse_shard
from mindvis.errors import CheckpointError, ConfigError, StoreError
from mindvis.models.encoder import BrainEncoder
from mindvis.provenance import read_manifest, write_lineage

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# 2 subjects x (12 stimuli and 1 + 3 x 4 controls) x 2 draws: 100 pictures, not a multiple of 7
OPTIONS = {"draws": 2, "steps": 3, "batch_size": 7, "device": "cpu"}


@pytest.fixture(scope="module")
def decoded(model, store, tmp_path_factory):
    """An undisturbed run; never write to it."""
    output = tmp_path_factory.mktemp("decoded") / "out"
    decode(str(model), str(store), str(output), **OPTIONS)
    return output


def pictures(folder):
    return sorted(folder.glob("images/*/*.png")) + sorted(folder.glob("controls/*/*.png"))


def contents(folder):
    """Bytes of everything but the record of the machine and of the run's own place."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("environment.json", "config.yaml")
    }


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def worst_difference(one, other):
    names = [path.relative_to(one) for path in pictures(one)]
    assert names == [path.relative_to(other) for path in pictures(other)]
    return max(np.abs(pixels(one / name) - pixels(other / name)).max() for name in names)


def test_everything_is_there(decoded, store):
    index = pd.read_csv(decoded / "index.csv")
    assert len(index) == 2 * 12 * 2
    assert index["sample_id"].is_unique
    assert index["seed"].is_unique
    assert all((decoded / file).is_file() for file in index["file"])
    controls = {path.name for path in (decoded / "controls" / "mean-brain").iterdir()}
    assert controls == {f"sub-0{subject}_draw{draw}.png" for subject in (1, 2) for draw in (0, 1)}
    assert {pixels(path).shape for path in pictures(decoded)} == {(16, 16, 3)}
    hidden = [path for path in decoded.iterdir() if path.name.startswith(".")]
    assert not hidden
    with VoxelStore(store) as opened:
        for name in index["stimulus"].unique():
            (shown,) = opened.stimuli.images(opened.stimuli.index([name]))
            assert np.array_equal(pixels(decoded / "truth" / f"{name}.png"), shown)


def test_index_says_which_classes_were_seen(decoded, store):
    index = pd.read_csv(decoded / "index.csv").set_index("stimulus")
    with VoxelStore(store) as opened:
        label = dict(zip(opened.stimuli.ids, opened.stimuli.labels, strict=True))
    assert all(label[name] == row["label"] for name, row in index.iterrows())
    assert (index["category"] == index["label"].str.split().str[1]).all()
    assert (index["seen"] == (index["label"] != "blue square")).all()
    assert index["seen"].nunique() == 2


def test_provenance(decoded, model, store):
    config = yaml.safe_load((decoded / "config.yaml").read_text())
    assert (config["draws"], config["seed"], config["scheduler"]) == (2, 0, "dpm")
    assert (config["model"], config["store"]) == (str(model), str(store))
    assert config["transductive"] is False
    listed = {Path(entry["path"]) for entry in read_manifest(decoded)["files"]}
    assert {store, model / "preprocessing.json"} <= listed
    assert (decoded / "environment.json").is_file()


def test_a_picture_can_be_drawn_again_from_its_row(decoded, model, store):
    """By the pipeline alone: the mean response to the stimulus, and the seed in the index."""
    row = pd.read_csv(decoded / "index.csv").iloc[31]
    pipeline = MindVisPipeline.from_pretrained(model)
    with VoxelStore(store) as opened:
        subject = opened[row["subject"]]
        trials = np.flatnonzero(subject.trials["stimulus"] == row["stimulus"])
        assert len(trials) == 3
        response = subject.responses(trials).mean(0, keepdims=True)
    noise = torch.Generator().manual_seed(int(row["seed"]))
    (image,) = pipeline(response, row["subject"], 3, 2.0, generator=noise).images
    assert np.abs(np.asarray(image).astype(int) - pixels(decoded / row["file"])).max() <= 1


def test_control_is_the_mean_training_response(decoded, model, store):
    pipeline = MindVisPipeline.from_pretrained(model)
    with VoxelStore(store) as opened:
        subject = opened["sub-02"]
        response = subject.responses(subject.trials["split"] == "train").mean(0, keepdims=True)
    drawn = pixels(decoded / "controls/mean-brain/sub-02_draw1.png")
    voxels = torch.from_numpy(pipeline.preprocessing["sub-02"](response))
    assert voxels.abs().max() < 1e-4  # standardised by the training rows
    others = [pixels(path) for path in pictures(decoded)]
    assert sum(np.array_equal(drawn, other) for other in others) == 1


@pytest.fixture
def noises(monkeypatch):
    """The noise that every picture of a run starts from, by the seed of its generator."""
    original, seen = MindVisPipeline._initial_latents, {}

    def keep(self, count, latents, generator):
        noise = original(self, count, latents, generator)
        seen.update(zip([g.initial_seed() for g in generator], noise, strict=True))
        return noise

    monkeypatch.setattr(MindVisPipeline, "_initial_latents", keep)
    return seen


def test_no_batch_size_changes_a_picture(decoded, model, store, tmp_path, noises):
    decode(str(model), str(store), str(tmp_path / "one"), **{**OPTIONS, "batch_size": 1})
    singly = dict(noises)
    noises.clear()
    decode(str(model), str(store), str(tmp_path / "seven"), **OPTIONS)
    assert singly.keys() == noises.keys()
    assert len(singly) == 100
    assert all(torch.equal(singly[seed], noises[seed]) for seed in singly)
    assert worst_difference(tmp_path / "one", decoded) <= 1
    assert contents(tmp_path / "seven") == contents(decoded)


def test_shards_fill_one_folder(decoded, model, store, tmp_path):
    for part in (2, 0, 1):
        assert not (tmp_path / "index.csv").exists()
        decode(str(model), str(store), str(tmp_path), **OPTIONS, shard=f"{part}/3")
    assert worst_difference(tmp_path, decoded) <= 1
    assert (tmp_path / "index.csv").read_text() == (decoded / "index.csv").read_text()
    assert len(list((tmp_path / "truth").iterdir())) == 12


def test_a_subject_alone_is_decoded_as_among_others(decoded, model, store, tmp_path):
    options = {**OPTIONS, "subjects": ["sub-02"], "controls": False}
    decode(str(model), str(store), str(tmp_path), **options)
    assert len(pictures(tmp_path)) == 24
    for path in pictures(tmp_path):
        same = decoded / path.relative_to(tmp_path)
        assert np.abs(pixels(path) - pixels(same)).max() <= 1


def test_each_response_is_encoded_once(model, store, tmp_path, monkeypatch):
    original, rows = BrainEncoder.forward, []

    def count(self, voxels):
        rows.append(len(voxels))
        return original(self, voxels)

    monkeypatch.setattr(BrainEncoder, "forward", count)
    options = {**OPTIONS, "draws": 5, "steps": 1}
    decode(str(model), str(store), str(tmp_path), **options)
    assert sum(rows) == 2 * (12 + 13)


def test_single_trials_are_noisier_than_their_mean(decoded, model, store, tmp_path):
    decode(str(model), str(store), str(tmp_path), **OPTIONS, repeats="single")
    assert worst_difference(tmp_path, decoded) > 1
    with VoxelStore(store) as opened:
        subject = opened["sub-01"]
        first = np.flatnonzero(subject.trials["stimulus"] == "test-004")[:1]
        response = subject.responses(first)
    row = pd.read_csv(tmp_path / "index.csv").set_index("sample_id").loc["sub-01_test-004_draw1"]
    noise = torch.Generator().manual_seed(int(row["seed"]))
    pipeline = MindVisPipeline.from_pretrained(model)
    (image,) = pipeline(response, "sub-01", 3, 2.0, generator=noise).images
    assert np.abs(np.asarray(image).astype(int) - pixels(tmp_path / row["file"])).max() <= 1


# -- interruption ---------------------------------------------------------------------------


def start(model, store, output, options):
    code = f"from mindvis.decoding.decode import decode; decode({str(model)!r}, {str(store)!r}, "
    code += f"{str(output)!r}, **{options!r})"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after(process, output, count):
    """SIGKILL once that many pictures are there."""
    deadline = time.monotonic() + 100
    while len(pictures(output)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_killed_and_run_again_the_pictures_are_bit_identical(model, store, tmp_path):
    options = {**OPTIONS, "steps": 12, "batch_size": 3, "subjects": ["sub-01"]}
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    assert kill_after(start(model, store, killed, options), killed, 4) == -signal.SIGKILL
    assert 4 <= len(pictures(killed)) < 26
    assert not (killed / "index.csv").exists()
    decode(str(model), str(store), str(killed), **options)
    decode(str(model), str(store), str(undisturbed), **options)
    for partial in killed.rglob("*.partial*"):
        partial.unlink()  # at most one, of the picture that was being written
    assert contents(killed) == contents(undisturbed)


def test_finished_batches_are_left_alone_and_others_done_whole(decoded, model, store, tmp_path):
    decode(str(model), str(store), str(tmp_path), **OPTIONS)
    files = [tmp_path / name for name in pd.read_csv(tmp_path / "index.csv")["file"]]
    whole = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(whole[file] + b"touched")
    files[9].unlink()
    decode(str(model), str(store), str(tmp_path), **OPTIONS)
    assert [file for file in files if file.read_bytes() == whole[file]] == files[7:14]


def test_killed_before_its_options_were_recorded(decoded, model, store, tmp_path):
    left = tmp_path / ".shard-0-of-1"
    left.mkdir()
    (left / "config.yaml").write_text("half")
    (left / "manifest.json").write_text("{}")
    decode(str(model), str(store), str(tmp_path), **OPTIONS)
    assert contents(tmp_path) == contents(decoded)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 4}, r"decoded with steps 3, now steps is 4.*choose another --output"),
        ({"batch_size": 5}, "decoded with batch_size 7, now batch_size is 5"),
        ({"seed": 1}, "decoded with seed 0, now seed is 1"),
    ],
)
def test_other_options_are_not_mixed_in(decoded, model, store, change, words):
    before = contents(decoded)
    with pytest.raises(ConfigError, match=words):
        decode(str(model), str(store), str(decoded), **{**OPTIONS, **change})
    assert contents(decoded) == before


def test_other_files_are_not_mixed_in(decoded, model, store, tmp_path):
    shutil.copy(store, tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        file["subjects/sub-01/responses"][0] += 1
    with pytest.raises(ConfigError, match=r"another content of .*other.h5.*manifest.json"):
        decode(str(model), str(tmp_path / "other.h5"), str(decoded), **OPTIONS)


# -- what cannot be decoded -----------------------------------------------------------------

BAD_OPTIONS = [
    ({"draws": 0}, ConfigError, "draws is 0; expected 1 or more"),
    ({"batch_size": -2}, ConfigError, "batch_size is -2"),
    ({"guidance": float("nan")}, ConfigError, "guidance is nan"),
    ({"scheduler": "pndm"}, ConfigError, "no scheduler 'pndm'"),
    ({"scheduler": "plms", "steps": 300}, ConfigError, "PNDMScheduler cannot do 300 steps"),
    ({"steps": 2000}, ConfigError, "2000 sampling steps"),
    ({"subjects": ["sub-1"]}, ConfigError, "store has no subject 'sub-1'.*did you mean 'sub-01'"),
    ({"split": "val"}, StoreError, r"no trials of split 'val'.*\(test: 36, train: 40\)"),
    ({"shard": "3/3"}, ConfigError, "shard is '3/3'; expected i/n with 0 <= i < n"),
    ({"shard": "half"}, ConfigError, "shard is 'half'"),
    ({"device": "cuda:99"}, ConfigError, "device 'cuda:99' cannot be used"),
    ({"device": "toaster"}, ConfigError, "device 'toaster' cannot be used"),
    ({"store": "nowhere.h5"}, StoreError, r"no store nowhere\.h5"),
    ({"model": "nowhere"}, CheckpointError, "model folder nowhere does not exist"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD_OPTIONS)
def test_one_sentence_and_nothing_written(model, store, tmp_path, change, error, words):
    arguments = {"model": str(model), "store": str(store), **OPTIONS, **change}
    with pytest.raises(error, match=words):
        decode(output=str(tmp_path / "out"), **arguments)
    assert not (tmp_path / "out").exists()


def test_store_of_another_voxel_count(model, tmp_path):
    make_store(tmp_path / "store.h5", voxels=(71, 93))
    words = r"trained on 70 voxels of subject sub-01, .*store.h5 holds 71"
    with pytest.raises(CheckpointError, match=words):
        decode(str(model), str(tmp_path / "store.h5"), str(tmp_path / "out"), **OPTIONS)


def test_store_of_other_subjects(model, store, tmp_path):
    with VoxelStore(store) as opened:
        data = copied(opened["sub-01"])
    write_store(tmp_path / "store.h5", [("sub-77", data)], None, {"dataset": "x"})
    with pytest.raises(CheckpointError, match=r"model knows sub-01, sub-02 but .* holds sub-77"):
        decode(str(model), str(tmp_path / "store.h5"), str(tmp_path / "out"), **OPTIONS)
    with pytest.raises(ConfigError, match="the model has no subject 'sub-77'"):
        decode(str(model), str(tmp_path / "store.h5"), str(tmp_path / "out"), subjects=["sub-77"])


def copied(subject):
    names = ("trials", "ijk", "affine", "shape", "rois", "quality", "units", "space", "tr")
    return SubjectData(subject.responses(), **{name: getattr(subject, name) for name in names})


def test_store_without_pictures(model, store, tmp_path):
    with VoxelStore(store) as opened:
        data = copied(opened["sub-01"])
    write_store(tmp_path / "store.h5", [("sub-01", data)], None, {"dataset": "x"})
    options = {**OPTIONS, "steps": 1}
    decode(str(model), str(tmp_path / "store.h5"), str(tmp_path / "out"), **options)
    index = pd.read_csv(tmp_path / "out" / "index.csv", keep_default_na=False)
    assert len(index) == 24
    assert set(index["label"]) == set(index["seen"]) == set(index["truth"]) == {""}
    assert not (tmp_path / "out" / "truth").exists()


def test_model_that_does_not_say_how_to_treat_responses(make_pipeline, store, tmp_path):
    make_pipeline(raw=False).save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"has no preprocessing.json.*finetune run"):
        decode(str(tmp_path / "model"), str(store), str(tmp_path / "out"), **OPTIONS)


def test_a_transductive_model_says_so(make_pipeline, store, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "run" / "model")
    write_lineage(tmp_path / "run" / "model", transductive=True)
    options = {**OPTIONS, "steps": 1, "draws": 1}
    decode(str(tmp_path / "run"), str(store), str(tmp_path / "out"), **options)
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["transductive"] is True
    assert read_manifest(tmp_path / "out")["transductive"] is True


def test_fast_settings_give_nearly_the_same_pictures(decoded, model, store, tmp_path):
    options = {**OPTIONS, "dtype": "bfloat16", "channels_last": True}
    decode(str(model), str(store), str(tmp_path), **options)
    names = [path.relative_to(decoded) for path in pictures(decoded)]
    errors = [np.abs(pixels(tmp_path / name) - pixels(decoded / name)).mean() for name in names]
    assert 0 < np.mean(errors) < 5


def test_settings_reach_the_networks(model):
    pipeline = load_pipeline(model, "unipc", "cpu", "bfloat16", channels_last=True)
    assert type(pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
    assert {part.dtype for part in (pipeline.encoder, pipeline.unet, pipeline.vae)} == {
        torch.bfloat16
    }
    weight = pipeline.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_auto_is_an_accelerator_or_the_cpu():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected


# -- names and partitions -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "/root", "..", "c:\\d", "ü?.png", "a\0"]
)
def test_no_id_leads_out_of_the_folder(name):
    for file in (truth_file(name), picture_file(Item(name, name, (0,)), 1)):
        parts = Path(file).parts
        assert len(parts) == (2 if file.startswith("truth") else 3)
        assert re.fullmatch(r"[\w.%~ -]+", parts[-1])
    assert truth_file(name) != truth_file(name + "_")


def test_a_subject_named_like_the_parent_folder_stays_inside():
    assert ".." not in Path(picture_file(Item("..", "x", (0,)), 0)).parts


def test_shards_are_a_partition():
    things = list(range(11))
    shares = [own_share(things, parse_shard(f"{part}/4")) for part in range(4)]
    assert sorted(thing for share in shares for thing in share) == things
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [list(batch) for batch in batches(things, 4)] == [things[:4], things[4:8], things[8:]]
