"""Reading somebody's pickle: what is recognised, what is refused, and that nothing ever runs."""

import pickle
import zipfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mindvis.errors import CheckpointError, MindVisError
from mindvis.models.legacy import load_mindvis_encoder
from mindvis.models.legacy.loading import open_checkpoint
from mindvis.models.legacy.reading import plain_values, read_checkpoint, tensors_in
from tests.models import legacy_files as legacy


class Build:
    """Evaluates source when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return eval, (f"__import__('pathlib').Path({str(self.trace)!r}).touch()",)


def in_array(attack):
    array = np.empty(1, dtype=object)
    array[0] = attack
    return array


PLACES = {
    "top level": lambda attack: attack,
    "a key of its own": lambda attack: {"model": legacy.mae_weights(), "more": attack},
    "inside the state dict": lambda attack: {"model": {**legacy.mae_weights(), "w": attack}},
    "in the optimiser": lambda attack: {
        "model": legacy.mae_weights(),
        "optimizer": {"state": {0: {"exp_avg": attack}}},
    },
    "as an array": lambda attack: {"model": legacy.mae_weights(), "optimizer": in_array(attack)},
    "as a name": lambda attack: {"model": {**legacy.mae_weights(), attack: torch.ones(1)}},
}


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "it-ran"


@pytest.mark.parametrize("kind", [legacy.Attack, Build])
@pytest.mark.parametrize("place", PLACES)
def test_code_in_a_file_is_refused_by_name_and_does_not_run(tmp_path, trace, kind, place):
    path = tmp_path / "evil.pth"
    torch.save(PLACES[place](kind(trace)), path)
    with pytest.raises(
        CheckpointError, match=r"evil.pth pickles .*(system|eval); expected weights"
    ):
        load_mindvis_encoder(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the file is what it is taken for


@pytest.mark.parametrize("kind", [legacy.Attack, Build])
def test_code_inside_the_configuration(tmp_path, trace, kind):
    path = legacy.save_encoder(
        tmp_path / "evil.pth", config=legacy.ENCODER_SIZES | {"roi": kind(trace)}
    )
    with pytest.raises(CheckpointError, match=r"pickles .*(system|eval)"):
        load_mindvis_encoder(path)
    assert not trace.exists()


def test_code_that_torch_itself_would_have_to_stop(tmp_path, trace, monkeypatch):
    """The second lock: were the list of names wrong, the weights-only reader would refuse."""
    path = tmp_path / "evil.pth"
    torch.save({"model": legacy.Attack(trace)}, path)
    monkeypatch.setattr("mindvis.models.legacy.reading._globals", lambda pickled: iter(()))
    with pytest.raises(CheckpointError, match=r"pickles posix.system"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_other_ways_to_pickle_a_name(tmp_path, trace, protocol):
    path = tmp_path / "evil.pth"
    torch.save({"model": legacy.Attack(trace)}, path, pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=r"evil.pth pickles .*(system|STACK_GLOBAL)"):
        read_checkpoint(path)
    assert not trace.exists()


def test_classes_of_somebody_else(tmp_path):
    cls = legacy.config_class("Secret", "somebody")
    with legacy.module("somebody", Secret=cls):
        torch.save({"model": legacy.mae_weights(), "config": cls()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"pickles somebody.Secret; expected weights"):
        open_checkpoint(tmp_path / "a.pth")


def test_functions_of_torch_that_are_no_weights(tmp_path):
    class Loads:
        def __reduce__(self):
            return torch.load, ("elsewhere.pth",)

    torch.save({"model": Loads()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"pickles torch.*load"):
        read_checkpoint(tmp_path / "a.pth")


# -- files that are not whole, or not checkpoints --------------------------------------------------


def write_truncated(path):
    legacy.save_encoder(path)
    path.write_bytes(path.read_bytes()[:-1000])


def write_damaged(path):
    legacy.save_encoder(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(content)


def write_bare_pickle(path):
    path.write_bytes(pickle.dumps({"model": 1}))


def write_picture(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def rezip(path, level):
    """The same records deflated."""
    legacy.save_encoder(path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def write_bomb(path):
    """A storage of zeros, a thousand times smaller when packed."""
    rezip(path, 9)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/999", bytes(10_000_000))


def repickle(source, target, change):
    """The same archive with another pickle, its checksum right."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for record in archive.infolist():
            content = archive.read(record)
            changed = change(content) if record.filename.endswith("/data.pkl") else content
            copy.writestr(record.filename, changed)


def write_packed(path):
    """Deflated without gain: no size tells, but tensors could not be mapped."""
    rezip(path, 0)


def write_other_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def write_old_format(path):
    torch.save({"model": legacy.mae_weights()}, path, _use_new_zipfile_serialization=False)


BROKEN = {
    write_truncated: "cannot be read .*; expected a whole file that torch.save wrote",
    write_damaged: "cannot be read .*Bad CRC",
    write_bare_pickle: "not a zip file",
    write_picture: "not a zip file",
    Path.touch: "not a zip file",
    write_bomb: "claim more bytes than it has",
    write_packed: "its records are packed",
    write_other_archive: "another kind of archive",
    write_old_format: "not a zip file.*version 1.6 or later",
}


@pytest.mark.parametrize("write", BROKEN)
def test_broken_files_are_one_sentence(tmp_path, write):
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(CheckpointError, match=BROKEN[write]):
        open_checkpoint(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An encoder without optimiser: a pickle of weights and a configuration."""
    path = tmp_path_factory.mktemp("whole") / "a.pth"
    return legacy.save(path, {"model": legacy.mae_weights()}, legacy.ENCODER_SIZES)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 0.999), piece=st.binary(max_size=6), cut=st.integers(0, 30))
def test_any_change_of_a_pickle_is_read_or_refused(whole, place, piece, cut):
    """Whatever bytes stand in it: never another exception, and never a warning."""

    def change(content):
        at = int(place * len(content))
        return content[:at] + piece + content[at + cut :]

    target = whole.with_name("changed.pth")
    repickle(whole, target, change)
    with suppress(MindVisError):
        load_mindvis_encoder(target)


def test_a_tensor_may_not_claim_more_than_is_stored(tmp_path):
    wide = torch.ones(1).expand(10**12)
    torch.save({"model": {**legacy.mae_weights(), "w": wide}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"model.w claims more values than are stored"):
        open_checkpoint(tmp_path / "a.pth")


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file .*nowhere.pth"):
        open_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list; expected a dictionary"),
        ({"weights": {"a": torch.ones(1)}, "epoch": 3}, "holds epoch, weights; expected MinD-Vis"),
        ({"model": {"a": torch.ones(1)}}, "holds model; expected MinD-Vis"),
        ({}, "holds nothing"),
        (
            {"model": {**legacy.mae_weights(), "note": "hello"}},
            "'note' among the weights in .* is a str; expected a tensor",
        ),
    ],
)
def test_other_checkpoints_are_said_to_be_others(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "a.pth")


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        (legacy.save_encoder, "encoder"),
        (legacy.save_pipeline, "pipeline"),
        (legacy.save_ldm, "ldm"),
    ],
)
def test_kinds(tmp_path, save, kind):
    checkpoint = open_checkpoint(save(tmp_path / "a.pth"))
    assert checkpoint.kind == kind
    assert {"ldm": 0, "encoder": 9, "pipeline": 4}[kind] <= len(checkpoint.config)


def test_configurations_are_read_as_values(tmp_path):
    checkpoint = open_checkpoint(legacy.save_encoder(tmp_path / "a.pth"))
    expected = legacy.ENCODER_SIZES | {"roi": "VC", "focus_range": None}
    assert checkpoint.config == expected  # numpy's number is no plain value
    torch.save({"config": Namespace(depth=3, inner=[[1]], names=["a"])}, tmp_path / "b.pth")
    config = read_checkpoint(tmp_path / "b.pth")["config"]
    assert not isinstance(config, Namespace)
    assert plain_values(config) == {"depth": 3, "names": ["a"]}


def test_tensors_beside_the_weights_are_listed(tmp_path):
    checkpoint = open_checkpoint(legacy.save_encoder(tmp_path / "a.pth", state=torch.ones(3)))
    left_out = checkpoint.accounts.left_out
    assert left_out["state"] == "random state of the draw that was saved"
    assert left_out["optimizer.state.0.exp_avg"] == "state of the optimiser"
    assert len(left_out) == 1 + 2 * len(legacy.mae_weights())


def test_containers_in_themselves_are_entered_once():
    inner = {"w": torch.ones(1)}
    inner["again"] = inner
    laughs = [inner]
    for _ in range(60):
        laughs = [laughs, laughs]
    assert len(list(tensors_in(laughs))) == 1
