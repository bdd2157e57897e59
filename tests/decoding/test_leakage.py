"""Leaks that were planted are told, and a clean run is called clean."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from lightning.pytorch.callbacks import EarlyStopping

from mindvis.cli import main
from mindvis.data.datamodule import PairData, ResponseData
from mindvis.data.store import VoxelStore
from mindvis.decoding.leakage import check_leakage, find_lineage
from mindvis.files import write_json
from mindvis.metrics.verdict import first_line
from mindvis.provenance import write_lineage, write_provenance
from mindvis.tasks.callbacks import lineage_of, selected_on
from tests.decoding.test_evaluate import write_decoded


def lineage(data, callbacks=(), name="diffusion", ancestors=()):
    task = SimpleNamespace(name=name, ancestors=list(ancestors))
    return lineage_of(task, data, callbacks)


def checked(store, recorded, decoded=None):
    """What is found for the test stimuli of both subjects, or for those given."""
    with VoxelStore(store) as opened:
        shown = decoded or {
            subject.name: tuple(
                subject.trials.loc[subject.trials["split"] == "test", "stimulus"].unique()
            )
            for subject in opened
        }
        return check_leakage(recorded, opened, shown)


def line(found, transductive=False):
    content = {"leakage": found.to_dict(), "transductive": transductive}
    return first_line(content)


@pytest.fixture
def other(store, tmp_path):
    """The same responses; one training stimulus of sub-02 has become a test stimulus."""
    from mindvis.data.store import StimulusData, SubjectData, write_store

    with VoxelStore(store) as old:
        people = []
        for read in old:
            trials = read.trials.copy()
            moved = trials["stimulus"] == trials.loc[trials["split"] == "train", "stimulus"].iloc[0]
            if read.name == "sub-02":
                trials.loc[moved, "split"] = "test"
            parts = (read.ijk, read.affine, read.shape, read.rois)
            people.append((read.name, SubjectData(read.responses(), trials, *parts)))
        shown = old.stimuli
        stimuli = StimulusData(shown.images(), shown.ids, shown.labels, shown.categories)
        write_store(tmp_path / "other.h5", people, stimuli, {})
    return tmp_path / "other.h5"


def test_a_clean_run_is_clean(store):
    found = checked(store, lineage(PairData(str(store))))
    assert (found.problems, found.reservations) == ((), ())
    assert found.selected_on == "nothing"
    assert line(found).startswith("OK: ")


def test_splits_that_disagree_are_named_with_subject_and_both_digests(store, other):
    found = checked(other, lineage(PairData(str(store))), {"sub-01": ["test-001"]})
    assert found.problems == ()
    found = checked(other, lineage(PairData(str(store))), {"sub-02": ["test-001"]})
    assert len(found.problems) == 1  # what is test
    assert len(found.reservations) == 2  # what is not, and what was not scored
    assert found.reservations[0].startswith("12 of 13 test stimuli of sub-02 in ")
    assert "were not scored" in found.reservations[0]
    assert "stage diffusion recorded 12 test stimuli of sub-02 (sha256 " in found.problems[0]
    assert "has 13 (" in found.problems[0]
    assert line(found).startswith("DO NOT REPORT: stage diffusion recorded 12 test")


def test_other_training_stimuli_are_a_reservation_and_no_leak(store):
    recorded = lineage(PairData(str(store)))
    recorded["splits"]["sub-01"]["not_test"]["stimuli"] += 500
    found = checked(store, recorded)
    assert found.problems == ()
    assert line(found).startswith("WITH RESERVATIONS: stage diffusion recorded 540 stimuli outside")


def test_an_ancestor_on_another_split_is_named(store, other, tmp_path):
    write_lineage(tmp_path / "run" / "model", **lineage(ResponseData(str(store)), name="masked"))
    recorded = lineage(PairData(str(other)), ancestors=[tmp_path / "run"])
    found = checked(other, recorded, {"sub-02": ["test-001"]})
    assert {problem.split()[1] for problem in found.problems} == {"masked"}


def test_stimuli_that_were_trained_on_are_told(store, other):
    with VoxelStore(store) as opened:
        trials = opened["sub-01"].trials
        train = trials.loc[trials["split"] == "train", "stimulus"].unique().tolist()
    found = checked(store, lineage(PairData(str(store))), {"sub-01": [*train[:2], "test-001"]})
    assert "2 of 3 stimuli decoded of sub-01 are outside the test split of sub-01" in line(found)
    # another subject of the same model saw it in training
    recorded = lineage(PairData(str(other)))
    moved = train[0] if train[0] in _train(other, "sub-01") else None
    found = checked(other, recorded, {"sub-02": [moved]})
    assert any("decoded of sub-02 is outside the test split of sub-01" in p for p in found.problems)
    alone = lineage(PairData(str(other), subjects=["sub-02"]))
    assert checked(other, alone, {"sub-02": [moved]}).problems == ()


def _train(store, name):
    with VoxelStore(store) as opened:
        trials = opened[name].trials
        return set(trials.loc[trials["split"] == "train", "stimulus"])


def test_a_run_selected_on_test_is_flagged_wherever_in_the_chain(store, tmp_path):
    stop = [EarlyStopping(monitor="val_loss")]
    recorded = lineage(ResponseData(str(store), rows="test"), stop, "masked")
    assert recorded["selected_on"] == "test"
    assert recorded["transductive"] is True
    write_lineage(tmp_path / "run" / "model", **recorded)
    later = lineage(PairData(str(store)), ancestors=[tmp_path / "run"])
    found = checked(store, later)
    assert found.selected_on == "test"
    assert line(found, True).startswith("DO NOT REPORT: stage masked was selected on test")


def test_selection_by_a_callback_on_validation_is_recorded(store):
    data = PairData(str(store))
    assert selected_on(data, []) == "nothing"
    assert selected_on(data, [EarlyStopping(monitor="val_loss")]) == "val"


def test_what_is_not_known_is_said(store):
    found = check_leakage({}, None, {"sub-01": ["test-001"]})
    assert found.selected_on is None
    assert line(found).startswith("WITH RESERVATIONS: the model records no splits")
    assert "its splits are not known" in line(found)
    assert "(transductive)" in line(checked(store, lineage(PairData(str(store)))), True)
    assert "holds no subject sub-09" in line(
        checked(store, lineage(PairData(str(store))), {"sub-09": ["test-001"]})
    )


def test_lineage_is_read_from_the_pictures_when_the_model_is_gone(store, tmp_path):
    write_provenance(tmp_path, {}, lineage={"selected_on": "val"})
    assert find_lineage(tmp_path, "gone")["selected_on"] == "val"
    write_lineage(tmp_path / "model", selected_on="test")
    assert find_lineage(tmp_path / "empty", str(tmp_path / "model"))["selected_on"] == "test"


def test_digests_are_those_of_the_trials(store):
    """Against a slow twin that walks through the rows."""
    import hashlib

    record = PairData(str(store), val_fraction=0.25).splits()["sub-01"]
    with VoxelStore(store) as opened:
        trials = opened["sub-01"].trials
    names = sorted({t.stimulus for t in trials.itertuples() if t.split == "test" and t.stimulus})
    assert record["test"] == {
        "stimuli": len(names),
        "sha256": hashlib.sha256("\x1f".join(names).encode()).hexdigest(),
    }
    assert record["train"]["stimuli"] + record["val"]["stimuli"] == record["not_test"]["stimuli"]
    assert np.isclose(record["val"]["stimuli"] / record["not_test"]["stimuli"], 0.25, atol=0.05)
    assert json.loads(json.dumps(record)) == record
    assert yaml.safe_load(yaml.safe_dump(record)) == record


def test_evaluation_leads_with_a_selection_on_test(store, tmp_path, capsys):
    """Planted: perfect pictures of a model whose epoch was chosen by test scores."""
    folder = write_decoded(tmp_path / "out", store, lambda truth: truth)
    stop = [EarlyStopping(monitor="val_loss")]
    flagged = lineage(ResponseData(str(store), rows="test"), stop, "masked")
    write_lineage(tmp_path / "run" / "model", **flagged)
    chosen = lineage(PairData(str(store)), ancestors=[tmp_path / "run"])
    write_json(folder / "manifest.json", {"lineage": chosen})
    words = ["evaluate", str(folder), "--bootstrap", "100", "--permutations", "100"]
    assert main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("DO NOT REPORT: stage masked was selected on test")
    content = json.loads((folder / "metrics.json").read_text())
    assert content["selected_on"] == "test"
    assert content["transductive"] is True
    assert "DO NOT REPORT" in (folder / "report.html").read_text()
