"""The `mindvis evaluate` command: decoded pictures to scores, intervals, controls and a report."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mindvis.console import say
from mindvis.data.reader import VoxelStore
from mindvis.decoding.predictions import Predictions, read_predictions
from mindvis.decoding.results import compose, gallery, write_samples
from mindvis.decoding.scoring import Options, score_subject
from mindvis.errors import ConfigError, StoreError
from mindvis.files import write_json, write_text
from mindvis.metrics.features import Judge
from mindvis.metrics.functional import n_way_table
from mindvis.metrics.protocols import metrics_of
from mindvis.metrics.report import Page, render_report
from mindvis.metrics.summary import Settings
from mindvis.metrics.table import text_table


def evaluate(
    directory: str,
    judge: str | None = None,
    store: str | None = None,
    runs: list[str] | None = None,
    n_way: int = 50,
    top_k: int = 1,
    bootstrap: int = 10_000,
    permutations: int = 10_000,
    ridge: bool = True,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score decoded pictures; write metrics.json, per_sample.csv and report.html beside them.

    Every score is the mean over draws; intervals are bootstrapped over stimuli; controls are
    computed by default. Without a judge, n-way accuracy is null and the rest is computed.

    Args:
        directory: Output folder of `mindvis decode`.
        judge: Folder of a `transformers` image classifier, or of the run that trained it.
        store: The VoxelStore of the ridge baseline; by default the one that was decoded.
        runs: Run folders whose training curves the report shows.
        n_way: Candidates of an n-way question, the right one included.
        top_k: Answers that the judge may give to it.
        bootstrap: Resamples of a 95 % interval.
        permutations: Permutations of a p-value.
        ridge: Whether to fit the ridge baseline.
        batch_size: Pictures that the judge sees at once.
        seed: Of the bootstrap, the permutations and the report's random rows.
        device: Where the judge runs.

    Returns:
        What metrics.json holds.

    Raises:
        MindVisError: The folder is incomplete, the judge unreadable, or n_way too large for it.
    """
    if min(bootstrap, permutations) < 100:
        raise ConfigError(
            f"bootstrap is {bootstrap} and permutations {permutations}", "100 or more of each"
        )
    predictions = read_predictions(directory)
    loaded = Judge.load(judge, device) if judge is not None else None
    if loaded is not None:
        n_way_table(len(loaded.labels), n_way, top_k)  # refuses an impossible question at once
    opened, reason = _open_store(store, predictions, ridge)
    options = Options(
        judge=loaded,
        store=opened,
        store_reason=reason,
        model=_text(predictions.config.get("model")),
        split=_text(predictions.config.get("split")) or "test",
        single=predictions.config.get("repeats") == "single",
        n_way=n_way,
        top_k=top_k,
        batch_size=batch_size,
    )
    with opened or nullcontext():
        results = [score_subject(subject, options) for subject in predictions.subjects]
    settings = Settings(bootstrap, permutations, seed)
    metrics = metrics_of(n_way, top_k)
    content = compose(predictions.config, results, options, settings, metrics)
    folder = predictions.directory
    write_samples(folder / "per_sample.csv", results, metrics)
    write_json(folder / "metrics.json", content)
    page = Page(
        content=content,
        galleries=[gallery(result) for result in results],
        config=predictions.config,
        runs=tuple(Path(run) for run in runs or ()),
        seed=seed,
    )
    write_text(folder / "report.html", render_report(page))
    say(text_table(content))
    say(f"report: {folder / 'report.html'}")
    return content


def _text(value: object) -> str | None:
    """A text option, None where it is absent."""
    return value if isinstance(value, str) and value else None


def _open_store(
    store: str | None, predictions: Predictions, ridge: bool
) -> tuple[VoxelStore | None, str]:
    """The store of the baseline, or why there is none; a store that the user named must open."""
    if not ridge:
        return None, "the ridge baseline was switched off"
    if store is not None:
        return VoxelStore(store), ""
    recorded = _text(predictions.config.get("store"))
    if recorded is None:
        return None, "the decoded store is not recorded; name it with --store"
    try:
        return VoxelStore(recorded), ""
    except StoreError as error:
        return None, str(error)
