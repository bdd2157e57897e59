"""The report: nothing of the data is markup, nothing is fetched, sorting and filtering work."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from mindvis.metrics import report
from mindvis.metrics.charts import class_bars, forest, rank_bars, strip
from mindvis.metrics.curves import training_panel
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
SLACK = 2  # a loaded machine may be this much slower
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


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
                ranks=rng.integers(0, 12, (STIMULI, 2)) if judge else None,
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


def listed(html, name="entries"):
    """A list of the page's script: cards of the gallery, or their pictures."""
    return json.loads(html[html.index(f'id="{name}">') :].split(">", 1)[1].split("</script>")[0])


def test_no_text_of_the_data_becomes_markup(rng, tmp_path):
    labels = [HOSTILE[i % 4] for i in range(STIMULI)]
    run = tmp_path / "<i>run"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch,<u>loss\n0,1.0\n1,0.5\n")
    (run / "config.yaml").write_text("name: </pre><script>")
    html = render_report(make_page(rng, labels, runs=[run]))
    page = Elements(html)
    kinds = [script.get("type") for script in page.all("script")]
    assert kinds == ["application/json", "application/json", None]
    tags = {tag for tag, _ in page.found}
    assert tags.isdisjoint({"b", "i", "u", "iframe", "object", "base", "link"})
    assert not [a for _, attributes in page.found for a in attributes if a.startswith("on")]
    shown = "".join(page.text)
    assert all(text in shown for text in HOSTILE)
    assert {card["label"] for card in listed(html)} == set(HOSTILE)


def test_a_failed_control_is_the_first_column(rng):
    page = make_page(rng)
    group = page.content["controls"]["mean-brain"]
    page.content["controls"] = {"shuffled-brain": group, "mean-brain": group, "ridge": group}

    def columns():
        table = render_report(page).split('aria-label="Table of controls"')[1].split("</thead>")[0]
        return re.findall(r'<th scope="col">([^<]+)</th>', table)[2:]

    assert columns() == ["Shuffled brain", "Mean brain", "Ridge"]
    page.content["controls_failed"] = {"ridge": "not better than ridge by SSIM"}
    assert columns() == ["Ridge", "Shuffled brain", "Mean brain"]


def test_no_row_of_strata_repeats_the_results(rng):
    page = make_page(rng, subjects=1)
    assert set(page.content["strata"]) == {"seen", "unseen"}

    def rows():
        return re.findall(r"<th[^>]*>([^<]* classes|All stimuli)</th>", render_report(page))

    assert rows() == ["Seen classes", "Unseen classes"]
    page.content["strata"] = {"seen": {"metrics": page.content["metrics"]}}
    assert rows() == []
    assert "All stimuli: seen classes." in render_report(page)


def test_an_interval_that_may_be_too_narrow_is_marked(rng):
    page = make_page(rng)
    assert " *</span>" not in render_report(page)
    page.content["metrics"]["n_way"]["ci95_warning"] = "9 stimuli are too few"
    shown = render_report(page)
    assert shown.count(" *</span>") == 1
    assert "* 9 stimuli are too few." in shown


def test_the_page_fetches_nothing(rng):
    html = render_report(make_page(rng))
    page = Elements(html)
    shown = [image["src"] for image in page.all("img") if "src" in image]
    shown += listed(html, "images")
    assert len(shown) == 24 * 3 + 2 * 8 + 2 * STIMULI * 3  # examples, sample, gallery
    assert all(source.startswith("data:image/") for source in shown)
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:image/[^\"]+", "", html))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", html)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [1 for _, attributes in page.found if "style" in attributes]


def test_the_page_holds_truths_draws_table_controls_and_configuration(rng):
    made = make_page(rng)
    html = render_report(made)
    page = Elements(html)
    cards = listed(html)
    assert len(cards) == 2 * STIMULI
    assert len(page.all("article")) == 4 * 6 + 1  # best, median, worst, random; one to copy
    pictures = listed(html, "images")
    gallery = made.galleries[1]
    card = next(c for c in cards if (c["subject"], c["stimulus"]) == ("sub-02", "stimulus-2"))
    assert card["scores"]["mse"] == pytest.approx(gallery.scores["mse"][2], rel=1e-5)
    assert pictures[card["first"]] == data_uri(gallery.truths[2], (None, None))
    assert pictures[card["first"] + 2] == data_uri(gallery.decoded[2, 1], (None, None))
    assert card["draws"][1] == [gallery.named[2, 1], bool(gallery.hits[2, 1])]
    shown = " ".join("".join(page.text).split())
    for text in ("Best", "Median", "Worst", "Random", "Shuffled brain", "Mean brain", "seed: 0"):
        assert text in shown
    assert "No control ridge of sub-01:" in shown
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
    assert "No n-way accuracy:" in html
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
            "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom "
            "--virtual-time-budget=5000"  # the page lays out the cards that are not in sight, too
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
    """Cards that the gallery shows, in order: subject, stimulus and label, and their markup."""
    gallery = document[document.index('id="gallery"') : document.index('id="blank"')]
    parts = re.split(r"<article", gallery)[1:]
    shown = [part for part in parts if " hidden" not in part.split(">")[0]]
    pattern = r"<h3>([^<]*)</h3>\s*<p>([^<]*) · ([^<]*?) <"
    return [(*map(unescape, re.search(pattern, part).groups()), part) for part in shown]


def test_the_browser_sorts_by_score_and_lays_cards_out(rng, browse):
    made = make_page(rng)
    cards = shown_cards(browse(render_report(made), "#view?sort=ssim&order=worst"))
    own = {gallery.subject: gallery.scores["ssim"] for gallery in made.galleries}
    scores = [own[subject][int(stimulus.split("-")[1])] for _, subject, stimulus, _ in cards]
    assert len(scores) == 2 * STIMULI
    assert scores == sorted(scores)
    assert scores != sorted(scores, reverse=True)
    _, subject, stimulus, markup = cards[0]
    gallery, place = made.galleries[subject == "sub-02"], int(stimulus.split("-")[1])
    truth, *drawn = re.findall(r"<img[^>]*>", markup)
    assert data_uri(gallery.truths[place], (None, None)) in truth
    for tag, picture, name in zip(drawn, gallery.decoded[place], gallery.named[place], strict=True):
        assert data_uri(picture, (None, None)) in tag
        assert f"the judge says {name}" in unescape(tag)
    hits = [kind == "hit" for kind in re.findall(r'class="tile (hit|miss)"', markup)]
    assert hits == gallery.hits[place].tolist()
    assert ("unseen class" in markup) == (not gallery.seen[place])
    assert f">{gallery.scores['ssim'][place]:.3f}<" in markup


def test_the_browser_filters_by_class_subject_and_score(rng, browse):
    made = make_page(rng, [HOSTILE[i % 4] for i in range(STIMULI)])
    fragment = "#view?class=onerror&subject=sub-02&sort=mse&order=best&min=0.2&max=0.9"
    document = browse(render_report(made), fragment)
    cards = shown_cards(document)
    every = made.galleries[1].scores["mse"]
    scores = [every[int(stimulus.split("-")[1])] for _, _, stimulus, _ in cards]
    own = every[1::4]  # stimuli of the class that was asked for
    assert scores == sorted(s for s in own if 0.2 <= s <= 0.9)
    assert {card[:2] for card in cards} == {(HOSTILE[1], "sub-02")}
    assert f"{len(cards)} of {2 * STIMULI}" in document
    assert "<title>Decoded pictures" in document  # no script of the data ran


def test_forest_places_values_in_order(rng):
    content = make_page(rng).content
    made = forest({"decoder": content["metrics"], **content["controls"]})
    assert {row.title for row in made.rows} == {
        m.title for m in metrics_of(10, 1) if m.better == "higher"
    }
    for row in made.rows:
        assert row.marks[0].label == "decoder"
        assert [mark.style for mark in row.marks] == [0, 1, 2]
        for mark in row.marks:
            assert 0 <= mark.low <= mark.x <= mark.high <= 100


def test_bars_of_classes_are_their_means_best_first():
    scores = np.array([0.5, 1.0, 0.0, np.nan, 0.25])
    bars = class_bars(["a", "b", "a", "b", ""], scores, "n_way", 0.02)
    assert [(bar.label, bar.text, bar.length) for bar in bars] == [
        ("b", "100.0 %, n 1", 100.0),
        ("a", "25.0 %, n 2", 25.0),
    ]
    assert bars[0].chance == 2.0


def test_bars_of_ranks_cover_all_and_expect_their_width(rng):
    ranks = rng.integers(0, 60, (30, 4))
    bars = rank_bars(ranks, 60)
    assert [bar.label for bar in bars] == ["1", "2 to 5", "6 to 10", "11 to 50", "51 to 60"]
    assert sum(bar.length for bar in bars) == pytest.approx(100, abs=0.05)
    assert sum(bar.chance for bar in bars) == pytest.approx(100, abs=0.05)
    assert bars[1].length == pytest.approx(100 * np.isin(ranks, [1, 2, 3, 4]).mean(), abs=0.01)
    assert rank_bars(np.array([0, 0]), 1)[0].length == 100


def test_strip_places_zero_and_the_mean_among_the_values():
    made = strip("Consistency", "ssim", np.array([-0.1, 0.3, np.nan, 0.1]))
    assert made.places == (2.0, 50.0, 98.0)
    assert made.zero == 26.0
    assert made.mean == 50.0
    assert made.text == "mean 0.100, above zero 2 of 3"


def full_page(rng, **changes):
    """A page with everything that metrics.json may hold."""
    made = make_page(rng, **changes)
    content = dict(made.content)
    entry = {**content["metrics"]["ssim"], "title": "Consistency", "protocol": "consistency"}
    content["metrics"] = {**content["metrics"], "consistency": entry}
    for group in content["controls"].values():
        group["consistency"] = group["ssim"]
    for gallery in made.galleries:
        gallery.scores["consistency"] = rng.normal(0.2, 0.1, STIMULI)
    checks = {"passed": True, "failed": False, "untested": None}
    names = ["shuffled-brain", "mean-brain"]
    content["control_checks"] = {
        name: {"passed": passed, "sentence": f"about {name}"}
        for name, passed in zip(names, [checks["passed"], checks["failed"]], strict=True)
    }
    content["controls_failed"] = {"mean-brain": "not better than <mean brain>"}
    content["sets"] = {
        "fid": {**entry, "title": "FID", "protocol": "fid-2048", "value": None, "reason": "no net"}
    }
    content["ceilings"] = {"first-stage": {"ssim": {**entry, "value": 0.9375}}}
    content["noise_ceiling"] = {
        "sub-01": {"median": 0.25, "best": 0.5, "voxels": 70, "source": "repeats"},
        "sub-02": {"reason": "no test stimulus is repeated"},
    }
    return Page(content, made.galleries, made.config, made.runs)


def test_the_page_leads_with_the_verdict_and_shows_every_part(rng):
    html = render_report(full_page(rng))
    page = Elements(html)
    shown = " ".join("".join(page.text).split())
    assert "✕ DO NOT REPORT not better than <mean brain>." in shown
    for text in (
        "fid-2048",
        "no net",
        "0.938",
        "Noise ceiling",
        "no test stimulus is repeated",
        "Rank of the right class",
        "By class",
        "Consistency of draws",
        "✓ yes",
        "✕ no",
        "Unseen classes",
    ):
        assert text in shown, text
    body = shown[shown.index("mindvis · decoded pictures") :]
    assert body.index("DO NOT REPORT") < body.index("10-way top-1")


def test_regions_that_scroll_can_be_reached_and_named(rng):
    page = Elements(render_report(full_page(rng)))
    regions = [a for _, a in page.found if a.get("role") == "region"]
    assert len(regions) >= 4
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    assert all("alt" in image for image in page.all("img"))
    assert all("aria-label" in a for a in page.all("svg") if a.get("role") == "img")
    targets = {a["id"] for _, a in page.found if "id" in a}
    links = [a["href"] for a in page.all("a") if a.get("href", "").startswith("#")]
    assert links
    assert {link[1:] for link in links} <= targets


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_thousand_stimuli_stay_small_and_open_fast(rng, tmp_path, monkeypatch):
    """1,000 x 5 pictures of 128 pixels: below 20 MB and 2 s to a document that can be used."""
    count, side = 1000, 128
    smooth = np.linspace(0, 255, side, dtype=np.uint8)
    base = np.stack(np.broadcast_arrays(smooth[:, None], smooth[None], np.uint8(90)), -1)
    truths = np.stack([np.roll(base, 7 * i, axis=(0, 1)) for i in range(40)])
    noisy = np.clip(truths + rng.normal(0, 12, truths.shape), 0, 255).astype(np.uint8)
    many = np.tile(noisy, (count // 40, 1, 1, 1))
    made = make_page(rng, subjects=1)
    names = made.galleries[0].scores
    gallery = Gallery(
        "sub-01",
        [f"stimulus-{i}" for i in range(count)],
        [f"class {i % 80}" for i in range(count)],
        ["thing"] * count,
        np.arange(count) % 2 > 0,
        many,
        np.stack([many] * 5, axis=1),
        {name: rng.random(count) for name in names},
    )
    known = {}  # forty pictures, each encoded once

    def encoded(picture, step):
        key = picture.tobytes()
        if key not in known:
            known[key] = data_uri(picture, step)
        return known[key]

    monkeypatch.setattr(report, "data_uri", encoded)
    html = render_report(Page(made.content, [gallery], {}))
    assert len(html.encode()) < 20_000_000
    path = tmp_path / "report.html"
    # the clock of the page itself, which its policy would not let in
    clock = "document.documentElement.dataset.opened = performance.now()"
    timed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    timed = timed.replace("</body>", f"<script>onload = () => {{ {clock} }}</script></body>")
    path.write_text(timed, encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --no-first-run"
    words = [CHROMIUM, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    seconds = []
    for _ in range(3):
        done = subprocess.run([*words, path.as_uri()], capture_output=True, timeout=120, check=True)
        seconds.append(float(re.search(rb'data-opened="([\d.]+)"', done.stdout)[1]) / 1000)
    assert min(seconds) < 2 * SLACK


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
