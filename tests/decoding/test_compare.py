"""`compare`: paired by stimulus, corrected over metrics, and only where numbers are comparable."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from mindvis.cli import main
from mindvis.decoding.compare import compare, read_runs, short_names
from mindvis.decoding.evaluate import evaluate
from mindvis.errors import ConfigError, DataError

SETTINGS = {"bootstrap": 200, "permutations": 199}
STIMULI = 10


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def decoded(folder, truths, noise, rng, subjects=("sub-01", "sub-02")):
    """An evaluated folder as `decode` leaves it: two draws of noisy truths of two subjects."""
    rows = []
    for i, truth in enumerate(truths):
        save(folder / "truth" / f"s{i}.png", truth)
        for subject in subjects:
            for draw in range(2):
                noisy = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255)
                file = f"images/{subject}/s{i}_draw{draw}.png"
                save(folder / file, noisy.astype(np.uint8))
                row = {"subject": subject, "stimulus": f"s{i}", "label": "<b>", "category": ""}
                rows.append({**row, "seen": "", "draw": draw, "file": file})
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    (folder / "config.yaml").write_text("transductive: false\n")
    evaluate(str(folder), **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A noisy run, a better one and one like the first."""
    rng = np.random.default_rng(5)
    root = tmp_path_factory.mktemp("runs")
    truths = rng.integers(0, 256, (STIMULI, 9, 8, 3), dtype=np.uint8)
    for name, noise in (("noisy", 90), ("better", 30), ("like", 90)):
        decoded(root / name, truths, noise, rng)
    return root


@pytest.fixture
def copy(runs, tmp_path):
    return shutil.copytree(runs / "better", tmp_path / "copy")


def alter(folder, change):
    content = json.loads((folder / "metrics.json").read_text())
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))


def test_differences_are_paired_by_stimulus_and_corrected(runs):
    content = compare([str(runs / n) for n in ("noisy", "better", "like")], **SETTINGS)
    better, like = content["differences"]["better"], content["differences"]["like"]
    assert better["pixel_correlation"]["ci95"][0] > 0
    assert better["mse"]["value"] < 0
    assert better["ssim"]["n"] == STIMULI  # both subjects and draws count once
    assert min(entry["p_holm"] for entry in like.values()) > 0.05
    tests = [e for entries in content["differences"].values() for e in entries.values()]
    assert content["statistics"]["correction"] == f"Holm, over {len(tests)} tests"
    # two slow twins: the table of single pictures, and SciPy's exact test of ten stimuli
    tables = [pd.read_csv(runs / name / "per_sample.csv") for name in ("noisy", "better")]
    one, other = (t.groupby("stimulus")["ssim"].mean().sort_index().to_numpy() for t in tables)
    assert better["ssim"]["value"] == pytest.approx((other - one).mean())
    expected = stats.permutation_test(
        (other, one), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert better["ssim"]["p"] == pytest.approx(expected)
    raw = sorted((e["p"], e["p_holm"]) for e in tests)
    assert raw[0][1] == pytest.approx(min(1, raw[0][0] * len(tests)))


def test_the_command_writes_a_table_and_a_page(runs, tmp_path, capsys):
    folders = [str(runs / name) for name in ("noisy", "better")]
    assert main(["compare", *folders, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "difference" in printed
    assert "Pixel correlation" in printed
    assert "corrected by Holm" in printed
    assert "better: WITH RESERVATIONS: " in printed
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["reference"] == "noisy"
    html = (tmp_path / "out" / "comparison.html").read_text()
    seen = Page(html)
    assert seen.tags.count("img") == 3 * (8 + 8)  # gained and at random: truth and both runs
    assert all(source.startswith("data:image/") for source in seen.sources)
    assert "default-src 'none'" in html
    assert "b" not in seen.tags


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [dict(attrs)["src"]] if tag == "img" else []


def test_runs_without_their_pictures_are_compared(runs, copy, tmp_path):
    (copy / "index.csv").unlink()
    compare([str(runs / "noisy"), str(copy)], str(tmp_path / "out"), **SETTINGS)
    assert "<img" not in (tmp_path / "out" / "comparison.html").read_text()


def test_other_stimuli_are_refused(runs, copy):
    table = pd.read_csv(copy / "per_sample.csv")
    table[table["stimulus"] != "s3"].to_csv(copy / "per_sample.csv", index=False)
    message = r"noisy has 20 stimuli of its subjects and copy 18; sub-01/s3 is in one of them alone"
    with pytest.raises(DataError, match=message):
        compare([str(runs / "noisy"), str(copy)], **SETTINGS)


def test_other_protocols_are_refused(runs, copy):
    alter(copy, lambda c: c["metrics"]["ssim"].update(protocol="ssim-gaussian"))
    message = "ssim of noisy and copy differ in protocol: 'ssim-skimage' and 'ssim-gaussian'"
    with pytest.raises(DataError, match=message):
        compare([str(runs / "noisy"), str(copy)], **SETTINGS)
    alter(copy, lambda c: c.update(version=9))
    with pytest.raises(
        DataError, match=r"of noisy are of version \d+ and those of copy of version"
    ):
        compare([str(runs / "noisy"), str(copy)], **SETTINGS)


def test_what_was_not_evaluated_is_refused(runs, copy, capsys):
    with pytest.raises(ConfigError, match="the runs are a; expected two or more, each once"):
        compare(["a"])
    with pytest.raises(ConfigError, match="each once"):
        compare([str(copy), str(copy / ".")])
    (copy / "per_sample.csv").unlink()
    words = ["compare", str(runs / "noisy"), str(copy)]
    assert main(words) == 2
    assert "has no per_sample.csv; expected an evaluated run; run `mindvis evaluate" in (
        capsys.readouterr().err
    )
    (copy / "per_sample.csv").write_text("subject,stimulus\n")
    alter(copy, lambda c: c.update(format="other"))
    with pytest.raises(DataError, match="is of another format; expected format 'mindvis-metrics'"):
        read_runs([str(runs / "noisy"), str(copy)])
    (copy / "metrics.json").write_text("[")
    with pytest.raises(DataError, match="cannot be read"):
        read_runs([str(runs / "noisy"), str(copy)])


def test_names_are_the_shortest_that_differ(tmp_path):
    paths = [tmp_path / "a" / "decoded", tmp_path / "b" / "decoded"]
    assert short_names(paths) == ["a/decoded", "b/decoded"]
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
