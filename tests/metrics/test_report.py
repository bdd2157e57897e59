"""The report: nothing of the data is markup, nothing is fetched, sorting and filtering work."""

import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from mindvis.metrics.charts import forest, training_panel
from mindvis.metrics.protocols import PROTOCOLS, metrics_of
from mindvis.metrics.report import Gallery, Page, render_report
from mindvis.metrics.summary import CONTROLS, Settings, SubjectScores, strata, summarise
from mindvis.metrics.table import text_table
from mindvis.metrics.thumbnails import choose_step, data_uri

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "a & b's <b>bold</b>",
]
SETTINGS = Settings(bootstrap=200, permutations=99)
STIMULI = 14


def make_page(rng, labels=None, judge=True, transductive=False, runs=(), subjects=2):
    """A page of random pictures whose scores are their numbers."""
    labels = labels or [f"class {i % 5}" for i in range(STIMULI)]
    metrics = metrics_of(10, 1)
    names = [m.name for m in metrics if judge or not m.judged]
    seen = np.arange(STIMULI) % 3 > 0
    ids = tuple(f"stimulus-{i}" for i in range(STIMULI))
    results, galleries = [], []
    for number in range(subjects):
        order = rng.permutation(STIMULI) / STIMULI
        draws = {name: np.repeat(order[:, None], 2, axis=1) for name in names}
        pairs = {name: rng.uniform(size=(STIMULI, STIMULI)) for name in names}
        control = {"mean-brain": dict.fromkeys(names, order / 2)}
        name = f"sub-{number + 1:02d}"
        results.append(SubjectScores(name, ids, seen, draws, pairs, control))
        galleries.append(
            Gallery(
                subject=name,
                stimuli=ids,
                labels=labels,
                categories=[label[-3:] for label in labels],
                seen=seen,
                truths=rng.integers(0, 256, (STIMULI, 8, 9, 3), dtype=np.uint8),
                decoded=rng.integers(0, 256, (STIMULI, 2, 8, 9, 3), dtype=np.uint8),
                scores=dict.fromkeys(names, order),
                named=np.array([[label] * 2 for label in labels]) if judge else None,
                hits=rng.random((STIMULI, 2)) > 0.5 if judge else None,
            )
        )
    accuracy = {"value": 0.75, "n": STIMULI, "unit": "stimulus"}
    entry = {"name": labels[0], "classes": 12, "weights_sha256": "0" * 64}
    missing = "" if judge else "no judge was given"
    content = {
        "transductive": transductive,
        "selected_on": "nothing",
        "leakage": {"problems": [], "reservations": []},
        "headline": "n_way",
        "n_way": 10,
        "top_k": 1,
        "stimuli": STIMULI,
        "draws": 2,
        **summarise(results, metrics, SETTINGS, missing=missing),
        "strata": strata(results, metrics, SETTINGS, missing),
        "subjects": {
            r.subject: {
                **summarise([r], metrics, SETTINGS, missing=missing),
                "strata": strata([r], metrics, SETTINGS, missing),
            }
            for r in results
        },
        "judge": {**entry, "accuracy_on_truth": accuracy} if judge else None,
        "protocols": PROTOCOLS,
        "control_definitions": CONTROLS,
        "controls_missing": {"ridge of sub-01": f"no store {labels[1]}"},
        "statistics": {"interval": "95 %", "p": "one-sided", "seed": 0},
        "software": {"torch": "2"},
    }
    return Page(content, galleries, {"model": labels[2], "seed": 0}, runs)


class Elements(HTMLParser):
    """Tags, their attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_no_text_of_the_data_becomes_markup(rng, tmp_path):
    labels = [HOSTILE[i % 4] for i in range(STIMULI)]
    run = tmp_path / "<i>run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,<u>loss\n0,1.0\n1,0.5\n")
    (run / "config.yaml").write_text("name: </pre><script>")
    page = Elements(render_report(make_page(rng, labels, runs=[run])))
    assert len(page.all("script")) == 1
    tags = {tag for tag, _ in page.found}
    assert tags.isdisjoint({"b", "i", "u", "iframe", "object", "base", "link"})
    assert not [a for _, attributes in page.found for a in attributes if a.startswith("on")]
    shown = "".join(page.text)
    assert all(text in shown for text in HOSTILE)
    assert {card["data-label"] for card in page.all("article") if "data-label" in card} == set(
        HOSTILE
    )


def test_the_page_fetches_nothing(rng):
    html = render_report(make_page(rng))
    page = Elements(html)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:image/[^\"]+", "", html))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", html)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [1 for _, attributes in page.found if "style" in attributes]


def test_the_page_holds_truths_draws_table_controls_and_configuration(rng):
    html = render_report(make_page(rng))
    page = Elements(html)
    cards = [a for a in page.all("article") if "data-stimulus" in a]
    assert len(cards) == 2 * STIMULI
    assert len(page.all("article")) == len(cards) + 4 * 6  # best, median, worst, random
    shown = " ".join("".join(page.text).split())
    for text in ("Best", "Median", "Worst", "Random", "Shuffled brain", "Mean brain", "seed: 0"):
        assert text in shown
    assert "Control missing: ridge of sub-01." in shown
    assert "Transductive." not in shown
    assert "Transductive." in render_report(make_page(rng, transductive=True))


def test_best_and_worst_are_the_ends_of_the_ranking(rng):
    made = make_page(rng, subjects=1)
    html = render_report(made)
    examples = html[html.index('id="examples"') : html.index('id="pictures"')]
    shown = re.findall(r"sub-01 · (stimulus-\d+)", examples)
    order = np.argsort(-made.galleries[0].scores["n_way"])
    names = [made.galleries[0].stimuli[i] for i in order]
    assert shown[:6] == names[:6]
    assert shown[12:18] == names[-6:]


def test_without_a_judge_the_page_leads_with_correlation(rng):
    html = render_report(make_page(rng, judge=False))
    assert "No n-way accuracy." in html
    assert "Pixel correlation" in Elements(html).text


def test_few_stimuli_need_no_sections(rng):
    made = make_page(rng, subjects=1)
    gallery = made.galleries[0]
    small = Gallery(
        "sub-01",
        gallery.stimuli[:2],
        gallery.labels[:2],
        gallery.categories[:2],
        None,
        gallery.truths[:2],
        gallery.decoded[:2],
        {k: v[:2] for k, v in gallery.scores.items()},
    )
    html = render_report(Page(made.content, [small], {}))
    assert 'id="examples"' not in html
    assert 'id="gallery"' in html


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture
def browse(tmp_path):
    """Opens a page in headless Chromium and returns its document after the script has run."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")

    def run(html, fragment=""):
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        options = (
            "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
        )
        done = subprocess.run(
            [
                CHROMIUM,
                *options.split(),
                f"--user-data-dir={tmp_path / 'profile'}",
                f"{path.as_uri()}{fragment}",
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        )
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert complaints == []  # neither an error of the script nor a refusal by the policy
        return done.stdout

    return run


def shown_cards(document):
    """Attributes of the visible cards of the gallery, in order."""
    gallery = document[document.index('id="gallery"') :]
    tags = re.findall(r"<article class=\"card\"([^>]*data-stimulus[^>]*)>", gallery)
    return [
        {k: unescape(v) for k, v in re.findall(r'data-([a-z-]+)="([^"]*)"', tag)}
        for tag in tags
        if " hidden" not in tag
    ]


def test_the_browser_sorts_by_score(rng, browse):
    cards = shown_cards(browse(render_report(make_page(rng)), "#view?sort=ssim&order=worst"))
    scores = [float(card["score-ssim"]) for card in cards]
    assert len(scores) == 2 * STIMULI
    assert scores == sorted(scores)
    assert scores != sorted(scores, reverse=True)


def test_the_browser_filters_by_class_subject_and_score(rng, browse):
    made = make_page(rng, [HOSTILE[i % 4] for i in range(STIMULI)])
    fragment = "#view?class=onerror&subject=sub-02&sort=mse&order=best&min=0.2&max=0.9"
    document = browse(render_report(made), fragment)
    cards = shown_cards(document)
    scores = [float(card["score-mse"]) for card in cards]
    own = made.galleries[1].scores["mse"][1::4]  # stimuli of the class that was asked for
    assert scores == pytest.approx(sorted(s for s in own if 0.2 <= s <= 0.9), abs=1e-5)
    assert {(card["subject"], card["label"]) for card in cards} == {("sub-02", HOSTILE[1])}
    assert f"{len(cards)} of {2 * STIMULI}" in document
    assert "<title>Decoded pictures" in document  # no script of the data ran


def test_forest_places_values_in_order(rng):
    made = forest(make_page(rng).content)
    assert {row.title for row in made.rows} == {
        m.title for m in metrics_of(10, 1) if m.better == "higher"
    }
    for row in made.rows:
        assert row.marks[0].kind == "decoder"
        for mark in row.marks:
            assert 0 <= mark.low <= mark.x <= mark.high <= 100


def test_training_panel_reads_train_and_validation_losses(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,lr,train/loss,val/loss\n0,5,0.1,2.0,\n0,5,,,1.5\n1,10,0.1,0.05,\n1,10,,,0.5\n"
    )
    panel = training_panel(tmp_path)
    assert [(c.name, c.kind, c.last) for c in panel.curves] == [
        ("train/loss", "training", "0.05"),
        ("val/loss", "validation", "0.5"),
    ]
    assert panel.top == "2, log scale"  # a factor of forty
    assert panel.curves[0].points == "0.0,4.0 320.0,146.0"


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "cannot be read"), ("epoch,lr\n0,0.1\n", "holds no loss")]
)
def test_training_panel_says_why_it_is_empty(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    assert reason in training_panel(tmp_path).reason


def test_thumbnails_keep_small_pictures_and_shrink_many(rng):
    picture = rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert choose_step([picture], 10) == (None, None)
    assert data_uri(picture, (None, None)).startswith("data:image/png;base64,")
    large = rng.integers(0, 256, (200, 256, 3), dtype=np.uint8)
    assert choose_step([large], 100) == (160, 85)
    side, quality = choose_step([large], 6000)
    assert (side, quality) != (160, 85)
    assert len(data_uri(large, (side, quality))) * 6000 < 20_000_000


def test_text_table_shows_values_controls_and_remarks(rng):
    text = text_table(make_page(rng, transductive=True).content)
    lines = text.splitlines()
    assert lines[0].startswith("WITH RESERVATIONS: the encoder was tuned")
    assert lines[2].split() == [
        "value",
        "95",
        "%",
        "interval",
        "chance",
        "p",
        "shuffled-brain",
        "mean-brain",
    ]
    assert any(line.startswith("10-way top-1 ") and "10.0 %" in line for line in lines)
    assert any(line.startswith("unseen classes") for line in lines)
    assert any(line.startswith("transductive:") for line in lines)
    assert "n-way accuracy is null: no judge" in text_table(make_page(rng, judge=False).content)
