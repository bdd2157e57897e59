"""Declared facts, expected files, and where the work runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mindvis.data.schema import SubjectData
from mindvis.errors import ConfigError, SourceError
from preprocessing.facts import (
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    differences,
    files_are_there,
)
from preprocessing.workers import Workers

FACTS = Facts(
    dataset="Planted",
    subjects={"sub-01": SubjectFacts(2, 3, {"train": 4, "test": 2, "rest": 1}, {"V1": 2, "all": 5})}
    | {"sub-02": SubjectFacts()},
    splits="by hand",
    licence="none",
    citation="nobody",
    where="nowhere",
    tr=1.5,
)


def subject(**change):
    trials = pd.DataFrame(
        {
            "session": [1, 1, 1, 1, 2, 2, 2],
            "run": [1, 1, 2, 2, 1, 1, 1],
            "split": ["train", "train", "train", "test", "test", "train", ""],
            "kind": ["task"] * 6 + ["rest"],
        }
    )
    whole = {
        "responses": np.zeros((7, 5), np.float32),
        "trials": trials,
        "ijk": np.zeros((5, 3), np.int32),
        "affine": np.eye(4),
        "shape": (1, 1, 1),
        "rois": {"V1": np.arange(5) < 2},
        "tr": 1.5,
    }
    return SubjectData(**{**whole, **change})


def test_what_is_as_declared_differs_in_nothing():
    assert differences(FACTS, "sub-01", subject()) == []
    assert differences(FACTS, "sub-02", subject(responses=np.zeros((7, 9)))) == []


def test_every_difference_is_a_sentence():
    trials = subject().trials.iloc[:5]
    found = subject(
        trials=trials, tr=2.0, rois={"V1": np.arange(9) < 4}, responses=np.zeros((5, 9))
    )
    assert differences(FACTS, "sub-01", found) == [
        "sub-01: 3 train trials, declared are 4",
        "sub-01: 0 rest trials, declared are 1",
        "sub-01: 4 voxels in V1, declared are 2",
        "sub-01: 9 voxels, declared are 5",
        "sub-01: 2.0 s repetition time, declared are 1.5",
    ]
    assert differences(FACTS, "sub-07", found) == [
        "sub-07: not declared; Planted has sub-01, sub-02"
    ]


def test_subjects_are_chosen_with_or_without_their_prefix():
    assert chosen_subjects(FACTS, None) == ["sub-01", "sub-02"]
    assert chosen_subjects(FACTS, "02,sub-01") == ["sub-01", "sub-02"]
    with pytest.raises(SourceError, match=r"Planted has no subject 'sub-1'.*did you mean 'sub-01'"):
        chosen_subjects(FACTS, ["1"])


def expected(root: Path) -> list[ExpectedFile]:
    return [
        ExpectedFile(root / "a.h5", "responses of sub-01"),
        ExpectedFile(root / "ses-*" / "b_*.txt", "lists of sub-01"),
        ExpectedFile(root / "c.csv", "labels", required=False),
    ]


def test_check_says_what_is_missing_file_by_file(tmp_path, capsys):
    with pytest.raises(
        SourceError, match=r"2 of 2 required .* Planted are missing, .*a\.h5 \(resp"
    ):
        files_are_there(expected(tmp_path), FACTS, check=True)
    assert capsys.readouterr().out.splitlines() == [
        f"missing: {tmp_path}/a.h5 (responses of sub-01)",
        f"missing: {tmp_path}/ses-*/b_*.txt (lists of sub-01)",
        f"missing, optional: {tmp_path}/c.csv (labels)",
        "0 of 3 files of Planted are there",
    ]
    (tmp_path / "ses-1").mkdir()
    for name in ("a.h5", "ses-1/b_1.txt"):
        (tmp_path / name).touch()
    assert files_are_there(expected(tmp_path), FACTS, check=False)
    assert not files_are_there(expected(tmp_path), FACTS, check=True)
    assert capsys.readouterr().out.splitlines()[1:] == ["2 of 3 files of Planted are there"]


@pytest.mark.parametrize(
    "options", [{"backend": "dask"}, {"scheduler": "tcp://localhost:1"}], ids=str
)
def test_dask_needs_its_address(options):
    with pytest.raises(ConfigError, match=r"pass --backend dask --scheduler tcp://HOST:PORT"):
        Workers(**options)
