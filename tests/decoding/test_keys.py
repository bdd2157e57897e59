"""Names are keys: none vanishes, none stands for two things, and equal names are equal pictures."""

import csv
import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mindvis.decoding.compare import compare
from mindvis.decoding.evaluate import evaluate
from mindvis.decoding.foreign import read_foreign
from mindvis.decoding.keys import check_distinct
from mindvis.errors import DataError

SETTINGS = {"bootstrap": 100, "permutations": 100}
HOSTILE = ["NA", "N/A", "null", "None", "nan", "NaN", "", "1.0", "1", "01", "=1+1", "-inf", "True",
           "é", "<NA>", "a,b", 'say "x"', "#N/A", "n a", "@x"]  # fmt: skip


def save(folder, names, pictures, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.{ending}")


def noisy(pictures, rng, amount):
    return np.clip(pictures + rng.normal(0, amount, pictures.shape), 0, 255).astype(np.uint8)


@given(
    names=st.lists(st.sampled_from(HOSTILE), min_size=4, max_size=9, unique_by=str.casefold),
    subject=st.sampled_from([name for name in HOSTILE if name]),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_name_vanishes_from_a_comparison(tmp_path_factory, names, subject, seed):
    root, rng = tmp_path_factory.mktemp("names"), np.random.default_rng(seed)
    truths = rng.integers(0, 256, (len(names), 8, 8, 3), dtype=np.uint8)
    files = [f"s{i}" for i in range(len(names))]
    stems = [
        f"x{name}".replace("/", "_") if name in ("", "N/A", "#N/A") else name for name in names
    ]
    save(root / "truth", stems, truths)
    for run, amount in (("a", 20), ("b", 80)):
        save(root / run, files, noisy(truths, rng, amount))
        with (root / "names.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample", "truth", "subject", "label"])
            writer.writerows([f, s, subject, "NA"] for f, s in zip(files, stems, strict=True))
        evaluate(
            images=str(root / run),
            truth=str(root / "truth"),
            names=str(root / "names.csv"),
            output=str(root / f"out-{run}"),
            **SETTINGS,
        )
    found = compare([str(root / "out-a"), str(root / "out-b")], **SETTINGS)
    read = [
        np.stack([np.asarray(Image.open(root / run / f"{f}.png")) for f in files]) for run in "ab"
    ]
    means = [np.square(r / 255.0 - truths / 255.0).mean((1, 2, 3)) for r in read]
    entry = found["differences"]["out-b"]["mse"]
    assert entry["n"] == len(names)
    assert entry["value"] == pytest.approx((means[1] - means[0]).mean(), abs=1e-6)


@pytest.fixture
def two_runs(tmp_path, rng):
    """Two evaluated runs of one set of truths, and what made them."""
    truths = rng.integers(0, 256, (5, 9, 8, 3), dtype=np.uint8)
    names = [f"s{i}" for i in range(5)]
    save(tmp_path / "truth", names, truths)
    for run in ("a", "b"):
        save(tmp_path / run, names, noisy(truths, rng, 40))
        evaluated(tmp_path, run)
    return tmp_path, names, truths


def evaluated(root, run, truth="truth"):
    folders = {"images": str(root / run), "truth": str(root / truth)}
    evaluate(**folders, output=str(root / f"out-{run}"), **SETTINGS)


def test_equal_names_of_other_pictures_are_refused(two_runs):
    root, names, truths = two_runs
    save(root / "others", names, truths[[0, 1, 3, 2, 4]])
    evaluated(root, "b", "others")
    sentence = (
        r"2 of 5 stimuli of subject are other pictures in out-a than in out-b, 's2' the first"
    )
    with pytest.raises(DataError, match=sentence):
        compare([str(root / "out-a"), str(root / "out-b")], **SETTINGS)


def test_other_sizes_of_pictures_are_refused(two_runs, rng):
    root, names, _ = two_runs
    save(root / "b", names, rng.integers(0, 256, (5, 18, 16, 3), dtype=np.uint8))
    evaluated(root, "b")
    with pytest.raises(DataError, match=r"are 8 x 9 pixels in out-a and 16 x 18 in out-b"):
        compare([str(root / "out-a"), str(root / "out-b")], **SETTINGS)


def test_results_that_record_no_truths_are_compared_with_a_sentence(two_runs, capsys):
    root, _, _ = two_runs
    content = json.loads((root / "out-b" / "metrics.json").read_text())
    del content["truths"]
    (root / "out-b" / "metrics.json").write_text(json.dumps(content))
    compare([str(root / "out-a"), str(root / "out-b")], **SETTINGS)
    assert "out-b does not record the true pictures" in capsys.readouterr().out


def test_a_heading_holds_only_what_it_says(two_runs, rng):
    root, names, truths = two_runs
    save(root / "b", names, noisy(truths, rng, 200))
    evaluated(root, "b")
    for run in ("a", "b"):  # the page shows pictures of `decode` only
        rows = [f"subject,{n},,,,0,{n}.png" for n in names]
        header = "subject,stimulus,label,category,seen,draw,file"
        (root / f"out-{run}" / "index.csv").write_text("\n".join([header, *rows]))
        save(root / f"out-{run}" / "truth", names, truths)
        save(root / f"out-{run}", names, truths)
    folders = [str(root / "out-a"), str(root / "out-b")]
    compare(folders, output=str(root / "c"), **SETTINGS)
    headings = re.findall("<h3>(.*)</h3>", (root / "c" / "comparison.html").read_text())
    assert headings == ["out-b", "Lost by out-b", "At random"]


@pytest.mark.parametrize("kind", ["true", "decoded"])
def test_names_that_differ_by_their_ending_alone_are_refused(tmp_path, rng, kind):
    picture = rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    for folder in ("true", "decoded"):
        save(tmp_path / folder, ["a"], picture)
    save(tmp_path / kind, ["a"], picture, "jpg")
    sentence = rf"the {kind} pictures 'a.jpg' and 'a.png' have the same name up to ending"
    with pytest.raises(DataError, match=sentence):
        read_foreign(tmp_path / "decoded", tmp_path / "true")


def test_a_table_that_names_truths_of_two_endings_is_refused(tmp_path, rng):
    pictures = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    save(tmp_path / "decoded", ["x", "y"], pictures)
    for ending in ("png", "jpg"):
        save(tmp_path / "true", ["a"], pictures[:1], ending)
    (tmp_path / "n.csv").write_text("sample,truth\nx,a.png\ny,a.jpg\n")
    with pytest.raises(
        DataError, match=r"the true pictures 'a.png' and 'a.jpg' have the same name"
    ):
        read_foreign(tmp_path / "decoded", tmp_path / "true", tmp_path / "n.csv")


def test_composed_and_decomposed_names_are_one(tmp_path, rng):
    picture = rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    save(tmp_path / "decoded", [unicodedata.normalize("NFD", "é")], picture)
    save(tmp_path / "true", [unicodedata.normalize("NFC", "é")], picture)
    assert read_foreign(tmp_path / "decoded", tmp_path / "true").subjects[0].stimuli == ("é",)


def test_names_that_differ_by_case_are_refused():
    with pytest.raises(DataError, match=r"'A' and 'a' among the stimuli differ only by case"):
        check_distinct(["A", "b", "a"], "stimuli")


def table(tmp_path, rng, *rows):
    pictures = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    for folder in ("decoded", "true"):
        save(tmp_path / folder, ["a", "b"], pictures)
    (tmp_path / "n.csv").write_text("\n".join(rows))
    return read_foreign(tmp_path / "decoded", tmp_path / "true", tmp_path / "n.csv")


@pytest.mark.parametrize(
    ("yes", "no"), [("yes", "no"), ("T", "F"), ("1.0", "0.0"), ("TRUE", "False")]
)
def test_spellings_of_truth_are_read(tmp_path, rng, yes, no):
    read = table(tmp_path, rng, "sample,truth,seen", f"a,a,{yes}", f"b,b,{no}")
    assert read.subjects[0].seen.tolist() == [True, False]


@pytest.mark.parametrize(("cell", "found"), [("maybe", "'maybe'"), ("", "blank"), ("2", "'2'")])
def test_a_cell_that_is_not_true_or_false_is_refused(tmp_path, rng, cell, found):
    sentence = rf"column seen of .*n.csv is {found} for stimulus 'b', which is not true or false"
    with pytest.raises(DataError, match=sentence):
        table(tmp_path, rng, "sample,truth,seen", "a,a,yes", f"b,b,{cell}")


def test_blank_cells_throughout_say_nothing(tmp_path, rng):
    read = table(tmp_path, rng, "sample,truth,seen,subject", "a,a,,", "b,b,n/a,")
    assert read.subjects[0].seen is None
    assert read.subjects[0].subject == "subject"


def test_rows_of_one_stimulus_that_disagree_are_refused(tmp_path, rng):
    with pytest.raises(DataError, match=r"label of 'a', subject subject, in .* is 'cat' and 'dog'"):
        table(tmp_path, rng, "sample,truth,label", "a,a,cat", "b,a,dog")


def test_a_blank_subject_among_others_is_refused(tmp_path, rng):
    with pytest.raises(DataError, match=r"subject of row 2 in .* is blank"):
        table(tmp_path, rng, "sample,truth,subject", "a,a,x", "b,b,")
