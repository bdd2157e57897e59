"""Pictures that another system decoded: the same scores as ours, and sentences for bad input."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindvis.cli import main
from mindvis.decoding.evaluate import evaluate
from mindvis.decoding.foreign import read_foreign
from mindvis.errors import ConfigError, DataError
from mindvis.records import RecordError

SETTINGS = {"bootstrap": 200, "permutations": 199}
STIMULI, DRAWS, SUBJECTS = 6, 2, ("one", "two")


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def folders(tmp_path, rng):
    """Noisy copies of six truths of 9 x 8 pixels, two draws of two subjects, and their table."""
    rows = []
    for i in range(STIMULI):
        truth = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
        save(tmp_path / "truth" / f"seen {i}.png", truth)
        for subject in SUBJECTS:
            for draw in range(DRAWS):
                noisy = np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
                name = f"{subject}/rec_{5 - i}_{draw}.png"  # their order is not that of the truths
                save(tmp_path / "images" / name, noisy)
                row = {"sample": name, "truth": f"seen {i}.png", "subject": subject, "draw": draw}
                rows.append({**row, "label": f"class {i % 2}", "seen": i > 1})
    pd.DataFrame(rows).to_csv(tmp_path / "names.csv", index=False)
    return tmp_path


def read(folders, **changes):
    paths = {
        "images": folders / "images",
        "truth": folders / "truth",
        "names": folders / "names.csv",
    }
    return read_foreign(**{**paths, **changes})


def rewrite(folders, change):
    table = pd.read_csv(folders / "names.csv", dtype=str)
    change(table).to_csv(folders / "names.csv", index=False)


def test_rows_become_subjects_stimuli_and_draws(folders):
    found = read(folders)
    assert [s.subject for s in found.subjects] == ["one", "two"]
    first = found.subjects[0]
    assert first.stimuli == tuple(f"seen {i}" for i in range(STIMULI))
    assert first.draws == (0, 1)
    assert first.files[1][1] == folders / "images" / "one" / "rec_4_1.png"
    assert first.truths[1] == folders / "truth" / "seen 1.png"
    assert first.labels[:2] == ("class 0", "class 1")
    assert first.seen.tolist() == [False, False, True, True, True, True]


def test_the_command_scores_them(folders, capsys):
    words = ["--images", folders / "images", "--truth", folders / "truth"]
    words += ["--names", folders / "names.csv", "--output", folders / "out"]
    words += ["--bootstrap", "200", "--permutations", "199"]
    assert main(["evaluate", *map(str, words)]) == 0
    content = json.loads((folders / "out" / "metrics.json").read_text())
    assert content["metrics"]["pixel_correlation"]["value"] > 0.9
    assert content["metrics"]["two_way_mse"]["value"] == 1.0
    assert content["transductive"] is None
    assert len(pd.read_csv(folders / "out" / "per_sample.csv")) == STIMULI * DRAWS * 2
    assert (folders / "out" / "report.html").is_file()
    printed = capsys.readouterr().out
    assert "WITH RESERVATIONS: whether test responses were used is not known" in printed


def test_a_pairing_that_is_wrong_scores_at_chance(folders):
    """The names decide, not the order of the files."""
    rewrite(folders, lambda t: t.assign(truth=np.roll(t["truth"], 2 * DRAWS)))
    found = evaluate(
        images=str(folders / "images"),
        truth=str(folders / "truth"),
        names=str(folders / "names.csv"),
        **SETTINGS,
    )
    assert found["metrics"]["pixel_correlation"]["value"] < 0.3


def test_without_a_table_equal_names_belong_together(folders):
    flat = folders / "flat"
    for i in range(STIMULI):
        save(flat / f"seen {i}.jpg", np.full((9, 8, 3), 10 * i, dtype=np.uint8))
    (only,) = read(folders, images=flat, names=None).subjects
    assert only.subject == "subject"
    assert only.files[2] == (flat / "seen 2.jpg",)
    save(flat / "extra.png", np.zeros((9, 8, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"1 of 7 pictures in .*flat have no true picture.*extra"):
        read(folders, images=flat, names=None)


def test_draws_are_counted_where_there_is_no_column(folders):
    rewrite(folders, lambda t: t.drop(columns=["draw", "label", "seen"]))
    first = read(folders).subjects[0]
    assert first.draws == (0, 1)
    assert first.labels == ("",) * STIMULI
    assert first.seen is None


def test_endings_may_be_left_out_where_that_is_clear(folders):
    rewrite(folders, lambda t: t.assign(truth=t["truth"].str.removesuffix(".png")))
    assert read(folders).subjects[0].truths[0] == folders / "truth" / "seen 0.png"
    shutil.copy(folders / "truth" / "seen 0.png", folders / "truth" / "seen 0.bmp")
    with pytest.raises(DataError, match=r"truth 'seen 0' of .*names.csv may be any of 2 files"):
        read(folders)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.rename(columns={"truth": "truths"}), "no column 'truth' but sample, truths"),
        (lambda t: t.iloc[:0], "has no rows"),
        (
            lambda t: t.assign(sample=["gone.png", *t["sample"][1:]]),
            r"1 of 24 names in column sample of .* are no picture, 'gone.png' the first; expected",
        ),
        (lambda t: t.assign(draw=["x", *t["draw"][1:]]), "draw of row 1 in .* is 'x'"),
        (
            lambda t: t.iloc[1:],
            r"'seen 0' of subject one in .* has draws \[1\]; expected draws \[0",
        ),
        (lambda t: t.assign(draw="0"), "two pictures of draw 0 of 'seen 0', subject one"),
    ],
)
def test_bad_tables_are_sentences(folders, change, sentence):
    rewrite(folders, change)
    with pytest.raises(DataError, match=sentence):
        read(folders)


def test_bad_folders_are_sentences(folders):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; expected a folder of true"):
        read(folders, truth=folders / "nowhere")
    (folders / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no pictures"):
        read(folders, images=folders / "empty")
    with pytest.raises(DataError, match=r"there is no .*none.csv"):
        read(folders, names=folders / "none.csv")
    (folders / "names.csv").write_bytes(b"\xff\xfe\x00\x00")
    with pytest.raises(RecordError, match="holds NUL characters"):
        read(folders)


def test_decoded_and_foreign_exclude_each_other(folders, capsys):
    with pytest.raises(ConfigError, match="nothing is given; expected the folder of"):
        evaluate()
    with pytest.raises(ConfigError, match="DIRECTORY and --truth is given"):
        evaluate("decoded", truth="truth")
    assert main(["evaluate", "a", "b"]) == 2
    assert "no place for the word 'b'" in capsys.readouterr().err
