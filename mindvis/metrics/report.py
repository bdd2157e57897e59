"""One self-contained page of results: pictures, intervals, controls, curves, configuration.

The page asks nothing of a network: pictures are data URIs, style and script are inlined and pinned
by their hashes in a Content-Security-Policy. Every text of the data passes Jinja2's escaping.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from tqdm import tqdm

from mindvis.metrics.charts import (
    Bar,
    Strip,
    class_bars,
    forest,
    plain_yaml,
    rank_bars,
    result_cells,
    strip,
)
from mindvis.metrics.curves import training_panel
from mindvis.metrics.protocols import PIXEL_CORRELATION
from mindvis.metrics.table import interval, is_share, number, p_value, size, stratum, whole
from mindvis.metrics.thumbnails import choose_step, data_uri
from mindvis.metrics.verdict import LABELS, verdict
from mindvis.seeding import numpy_generator

Step = tuple[int | None, int | None]
BESIDE = ("pixel_correlation", "ssim", "mse")  # scores of a card beside the leading one
PER_SECTION = 6  # cards among the best, the median, the worst and the random
SAMPLED = 24  # pictures that tell how large all of them will be


@dataclass(frozen=True)
class Gallery:
    """What the page shows of one subject.

    Args:
        subject: Its id.
        stimuli: Ids of the stimuli.
        labels: Class of each.
        categories: Coarser group of each.
        seen: bool (stimuli,), whether brain responses to the class were trained on; None if
            unknown.
        truths: uint8 (stimuli, height, width, 3).
        decoded: uint8 (stimuli, draws, height, width, 3).
        scores: For each metric (stimuli,), mean over draws.
        named: The judge's name for each picture (stimuli, draws); None without a judge.
        hits: bool (stimuli, draws), whether that is its name for the true picture.
        ranks: int64 (stimuli, draws), rank of the right class, 0 the first.
    """

    subject: str
    stimuli: Sequence[str]
    labels: Sequence[str]
    categories: Sequence[str]
    seen: NDArray[np.bool_] | None
    truths: NDArray[np.uint8]
    decoded: NDArray[np.uint8]
    scores: Mapping[str, NDArray[np.float64]]
    named: NDArray[np.str_] | None = None
    hits: NDArray[np.bool_] | None = None
    ranks: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Page:
    """Everything the page is made of.

    Args:
        content: What metrics.json holds.
        galleries: Pictures of each subject.
        config: Options of the decoding run.
        runs: Run folders whose training curves are drawn.
        seed: Of the random section.
    """

    content: Mapping[str, Any]
    galleries: Sequence[Gallery]
    config: Mapping[str, Any]
    runs: Sequence[Path] = ()
    seed: int = 0


@dataclass(frozen=True)
class Picture:
    """One decoded picture of a card."""

    uri: str
    name: str
    hit: bool | None


@dataclass(frozen=True)
class Card:
    """One stimulus of one subject: the truth beside its draws.

    `first` is the place of its truth among all pictures of the gallery; its draws follow.
    """

    subject: str
    stimulus: str
    label: str
    category: str
    seen: str
    truth: str
    pictures: tuple[Picture, ...]
    scores: dict[str, float | None]
    first: int


def render_report(page: Page) -> str:
    """The page as HTML text.

    Args:
        page: Results and pictures.
    """
    content = page.content
    cards = make_cards(page.galleries)
    order = _headline(content)
    hero = content["metrics"][order]
    kind, sentence = verdict(content)
    ordered = _best_first(cards, order, hero["better"] == "lower")
    small = bool(page.galleries) and max(page.galleries[0].truths.shape[1:3]) <= 40
    return fill_template(
        "report.html",
        content=content,
        headline=order,
        hero=hero,
        verdict=(kind, sentence),
        verdict_label=LABELS[kind],
        cards=ordered,
        beside=[name for name in BESIDE if content["metrics"].get(name, {}).get("n")],
        blank=_blank(order),
        entries=_json([_entry(card, order) for card in ordered]),
        images=_json([uri for c in cards for uri in (c.truth, *(p.uri for p in c.pictures))]),
        sections=_sections(cards, order, page.seed),
        sample=_random_cards(cards, page.seed, 8),
        sortable={name: m["title"] for name, m in content["metrics"].items() if m["n"]},
        lower=[name for name, m in content["metrics"].items() if m["better"] == "lower"],
        classes=sorted({card.label for card in cards} | {card.category for card in cards}),
        protocols=_protocols(content),
        skewed=_skewed(content),
        ceiling=content.get("ceilings", {}).get("first-stage", {}),
        forest=forest({"decoder": content["metrics"], **content["controls"]}),
        checks=_checks(content),
        compared=_failed_first(content),
        groups=_groups(content),
        every=[stratum(name) for name in whole(content)],
        group_metrics=[name for name, m in content["metrics"].items() if m["n"]],
        bars=_class_bars(page.galleries, order, hero),
        ranks=_rank_bars(page.galleries, content),
        strips=_strips(page.galleries, content),
        noise=content.get("noise_ceiling", {}),
        panels=[training_panel(run) for run in page.runs],
        config=plain_yaml(page.config),
        settings=plain_yaml(
            {"n_way": content["n_way"], "top_k": content["top_k"], **content["statistics"]}
        ),
        pixelated=small,
    )


def fill_template(name: str, **values: Any) -> str:
    """A page of the templates folder, with style and script inlined and pinned by their hashes."""
    style, script = _template("report.css"), _template("report.js")
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"number": number, "interval": interval, "p_value": p_value}
    return environment.get_template(name).render(
        style=Markup(style),  # a file of this package, as is the script
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        **values,
    )


def _template(name: str) -> str:
    """A file of the templates folder, which is installed with the package."""
    folder = resources.files("mindvis.metrics") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """The source expression that allows exactly this inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _headline(content: Mapping[str, Any]) -> str:
    """The metric that leads the page: the headline, or correlation where that is null."""
    name = str(content["headline"])
    return name if content["metrics"][name]["value"] is not None else PIXEL_CORRELATION


def make_cards(galleries: Sequence[Gallery]) -> list[Card]:
    """All cards, pictures encoded at one size that lets the page stay small."""
    if not galleries:
        return []
    count = sum(len(g.truths) * (1 + g.decoded.shape[1]) for g in galleries)
    first = galleries[0]
    sample = [*first.truths[: SAMPLED // 2], *first.decoded[: SAMPLED // 2, 0]]
    step = choose_step(sample, count)
    entries = [(gallery, i) for gallery in galleries for i in range(len(gallery.stimuli))]
    cards: list[Card] = []
    for gallery, i in tqdm(entries, "report", delay=2, leave=False):
        place = cards[-1].first + 1 + len(cards[-1].pictures) if cards else 0
        cards.append(_card(gallery, i, step, place))
    return cards


def _card(gallery: Gallery, i: int, step: Step, first: int) -> Card:
    """The card of one stimulus."""
    seen = "" if gallery.seen is None else ("seen" if gallery.seen[i] else "unseen")
    pictures = tuple(
        Picture(
            data_uri(picture, step),
            "" if gallery.named is None else str(gallery.named[i, j]),
            None if gallery.hits is None else bool(gallery.hits[i, j]),
        )
        for j, picture in enumerate(gallery.decoded[i])
    )
    scores = {name: float(values[i]) for name, values in gallery.scores.items()}
    return Card(
        subject=gallery.subject,
        stimulus=gallery.stimuli[i],
        label=gallery.labels[i],
        category=gallery.categories[i],
        seen=seen,
        truth=data_uri(gallery.truths[i], step),
        pictures=pictures,
        scores={name: value if np.isfinite(value) else None for name, value in scores.items()},
        first=first,
    )


def _entry(card: Card, order: str) -> dict[str, Any]:
    """What the page's script lays a card of the gallery out from; `first` counts `images`.

    Neither cards nor pictures of the gallery are markup: a thousand stimuli open as fast as ten,
    and a picture is decoded when it comes into sight.
    """
    return {
        "subject": card.subject,
        "stimulus": card.stimulus,
        "label": card.label,
        "category": card.category,
        "seen": card.seen,
        "first": card.first,
        "draws": [[picture.name, picture.hit] for picture in card.pictures],
        "scores": {k: float(f"{v:.6g}") for k, v in card.scores.items() if v is not None},
        "shown": {name: number(name, card.scores.get(name)) for name in (order, *BESIDE)},
    }


def _blank(order: str) -> Card:
    """The card that the script copies."""
    scores: dict[str, float | None] = dict.fromkeys((order, *BESIDE))
    return Card("", "", "", "", "unseen", "", (Picture("", "", None),), scores, 0)


def _json(content: Any) -> Markup:
    """JSON that cannot end the element it stands in: no text of it is markup."""
    return Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"))


def _best_first(cards: Sequence[Card], order: str, lower: bool) -> list[Card]:
    """Cards as the page shows them first: by the leading metric, those without it at the end."""

    def key(card: Card) -> tuple[bool, float, str, str]:
        score = card.scores.get(order)
        value = 0.0 if score is None else score
        return (score is None, value if lower else -value, card.stimulus, card.subject)

    return sorted(cards, key=key)


def _sections(cards: Sequence[Card], order: str, seed: int) -> list[tuple[str, str, list[Card]]]:
    """Best, median, worst and random cards, with what each section is."""
    if len(cards) < 2 * PER_SECTION:
        return []

    def key(card: Card) -> tuple[float, float]:
        first, second = card.scores.get(order), card.scores.get(PIXEL_CORRELATION)
        return (-1.0 if first is None else first, -1.0 if second is None else second)

    ranked = sorted(cards, key=key, reverse=True)
    middle = (len(ranked) - PER_SECTION) // 2
    return [
        ("Best", "highest scores", ranked[:PER_SECTION]),
        ("Median", "the middle of the ranking", ranked[middle : middle + PER_SECTION]),
        ("Worst", "lowest scores", ranked[-PER_SECTION:]),
        ("Random", "drawn by the seed, not by score", _random_cards(cards, seed, PER_SECTION)),
    ]


def _random_cards(cards: Sequence[Card], seed: int, count: int) -> list[Card]:
    """Some cards, the same for the same seed."""
    chosen = numpy_generator(seed, "report").permutation(len(cards))[:count]
    return [cards[i] for i in chosen]


def _groups(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of seen and unseen classes and of subjects."""
    names = [name for name, m in content["metrics"].items() if m["n"]]
    parts: dict[str, Mapping[str, Any]] = {}
    subjects = content["subjects"] if len(content["subjects"]) > 1 else {}
    for subject, part in {"": content, **subjects}.items():
        if subject:
            parts[subject] = part
        every = whole(part)
        for name in part["strata"]:
            title = f"{subject}, {stratum(name)}" if subject else stratum(name).capitalize()
            parts |= {} if name in every else {title: part["strata"][name]}
    return [
        {
            "title": title,
            "stimuli": size(part),
            "cells": result_cells(part, names),
        }
        for title, part in parts.items()
    ]


def _protocols(content: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """Metrics by protocol: its id, its definition, its rows; scores of whole sets at the end."""
    tables: dict[str, list[tuple[str, Any]]] = {}
    for name, entry in [*content["metrics"].items(), *content.get("sets", {}).items()]:
        tables.setdefault(entry["protocol"], []).append((name, entry))
    return [(name, content["protocols"].get(name, ""), rows) for name, rows in tables.items()]


def _skewed(content: Mapping[str, Any]) -> str:
    """What the mark beside an interval says; nothing where there is none."""
    found = [e["ci95_warning"] for e in content["metrics"].values() if "ci95_warning" in e]
    return f"{found[0]}." if found else ""


def _checks(content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What became of each control, in a word and a sentence."""
    words = {True: ("passed", "✓ yes"), False: ("failed", "✕ no"), None: ("untested", "not tested")}
    return {
        name: {
            "state": words[check["passed"]][0],
            "word": words[check["passed"]][1],
            "sentence": check["sentence"],
        }
        for name, check in content.get("control_checks", {}).items()
    }


def _failed_first(content: Mapping[str, Any]) -> dict[str, Any]:
    """Controls as the columns of their table: what the decoder did not beat is in sight at once."""
    failed = content.get("controls_failed", {})
    return dict(sorted(content["controls"].items(), key=lambda item: item[0] not in failed))


def _class_bars(galleries: Sequence[Gallery], order: str, hero: Mapping[str, Any]) -> list[Bar]:
    """The leading metric by class, where it is a share and there are classes."""
    there = [gallery for gallery in galleries if order in gallery.scores]
    if not there or not is_share(order):
        return []
    labels = [label for gallery in there for label in gallery.labels]
    scores = np.concatenate([gallery.scores[order] for gallery in there])
    return class_bars(labels, scores, order, hero["chance"])


def _rank_bars(galleries: Sequence[Gallery], content: Mapping[str, Any]) -> list[Bar]:
    """The histogram of ranks, where there is a judge."""
    ranks = [gallery.ranks.ravel() for gallery in galleries if gallery.ranks is not None]
    if not ranks or not content["judge"]:
        return []
    return rank_bars(np.concatenate(ranks), content["judge"]["classes"])


def _strips(galleries: Sequence[Gallery], content: Mapping[str, Any]) -> list[Strip]:
    """The consistency of draws, stimulus by stimulus."""
    names = [n for n, m in content["metrics"].items() if m["protocol"].startswith("consistency")]
    found = []
    for name in names:
        values = [gallery.scores[name] for gallery in galleries if name in gallery.scores]
        if values and np.isfinite(np.concatenate(values)).any():
            title = content["metrics"][name]["title"]
            found.append(strip(title, name, np.concatenate(values)))
    return found
