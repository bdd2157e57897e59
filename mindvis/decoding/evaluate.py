"""The `mindvis evaluate` command: decoded pictures to scores, intervals, controls and a report."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from mindvis.console import say
from mindvis.data.collection import from_arrays, from_folder, from_store
from mindvis.data.reader import VoxelStore
from mindvis.decoding.dictionary import write_dictionary
from mindvis.decoding.foreign import read_foreign
from mindvis.decoding.leakage import check_leakage, find_lineage
from mindvis.decoding.predictions import Predictions, read_predictions
from mindvis.decoding.results import compose, gallery, write_samples
from mindvis.decoding.scoring import Options, score_subject
from mindvis.errors import ConfigError, StoreError
from mindvis.files import write_json, write_text
from mindvis.metrics.features import Judge
from mindvis.metrics.functional import n_way_table
from mindvis.metrics.nearest import thumbnails
from mindvis.metrics.protocols import metrics_of
from mindvis.metrics.report import Page, render_report
from mindvis.metrics.suite import Requested, Suite
from mindvis.metrics.summary import Settings
from mindvis.metrics.table import text_table


def evaluate(
    directory: str | None = None,
    images: str | None = None,
    truth: str | None = None,
    names: str | None = None,
    output: str | None = None,
    judge: str | None = None,
    store: str | None = None,
    runs: list[str] | None = None,
    n_way: int = 50,
    top_k: int = 1,
    bootstrap: int = 10_000,
    permutations: int = 10_000,
    ridge: bool = True,
    generator: str | None = None,
    protocols: list[Requested] | None = None,
    weights: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score decoded pictures; write metrics.json, per_sample.csv and report.html beside them.

    Every score is the mean over draws; intervals are bootstrapped over stimuli; controls are
    computed by default. Without a judge, n-way accuracy is null and the rest is computed.

    Args:
        directory: Output folder of `mindvis decode`.
        images: Folder of pictures that another system decoded, instead of `directory`.
        truth: Folder of the pictures that were seen, with `images`.
        names: CSV file that says which belong together, by the columns sample and truth; also
            subject, draw, label, category, seen. Without it, files of the same name do.
        output: Folder of the three files; by default that of the decoded pictures.
        judge: Folder of a `transformers` image classifier, or of the run that trained it; its name
            in the Hugging Face cache; or vit-h-14, which is MinD-Vis' judge (by torchvision).
        store: The VoxelStore of the ridge baseline; by default the one that was decoded.
        runs: Run folders whose training curves the report shows.
        n_way: Candidates of an n-way question, the right one included.
        top_k: Answers that the judge may give to it.
        bootstrap: Resamples of a 95 % interval.
        permutations: Permutations of a p-value.
        ridge: Whether to fit the ridge baseline.
        generator: Pictures that the generator was trained on (a folder, an .npz file or a store):
            results are given for test pictures among them, and for the others.
        protocols: Of other systems, in addition; their networks are those of `mindvis prefetch`,
            and scores whose weights are missing are null.
        weights: Folder of such weights, to look in before the caches.
        batch_size: Pictures that the judge sees at once.
        seed: Of the bootstrap, the permutations and the report's random rows.
        device: Where the judge runs, and the ridge baseline of himalaya.

    Returns:
        What metrics.json holds.

    Raises:
        MindVisError: The folder is incomplete, the judge unreadable, or n_way too large for it.
    """
    if min(bootstrap, permutations) < 100:
        raise ConfigError(
            f"bootstrap is {bootstrap} and permutations {permutations}", "100 or more of each"
        )
    predictions = _read(directory, images, truth, names)
    loaded = Judge.load(judge, device) if judge is not None else None
    if loaded is not None:
        n_way_table(len(loaded.labels), n_way, top_k)  # refuses an impossible question at once
    suite = Suite.load(protocols or [], weights, device)
    for absent in suite.reasons.values():
        say(f"not computed: {absent}")
    opened, reason = _open_store(store, predictions)
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
        ridge=ridge,
        device=device,
        generator=_generator_thumbnails(generator),
        suite=suite,
    )
    with opened or nullcontext():
        results = [score_subject(subject, options) for subject in predictions.subjects]
        lineage = find_lineage(predictions.directory, options.model)
        shown = {subject.subject: subject.stimuli for subject in predictions.subjects}
        with _decoded_store(predictions, opened) as decoded:
            leakage = check_leakage(lineage, decoded, shown, options.split, options.model)
    settings = Settings(bootstrap, permutations, seed)
    digest = None if loaded is None else loaded.digest
    fewest = min(len(subject.stimuli) for subject in predictions.subjects)
    metrics = (*metrics_of(n_way, top_k, digest), *suite.metrics(fewest))
    content = compose(predictions.config, results, options, settings, metrics, leakage)
    content["sets"] = suite.sets([(result.decoded, list(result.truths)) for result in results])
    folder = Path(output) if output is not None else predictions.directory
    write_samples(folder / "per_sample.csv", results, metrics)
    write_dictionary(folder / "per_sample.json", metrics)
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


def _read(
    directory: str | None, images: str | None, truth: str | None, names: str | None
) -> Predictions:
    """Pictures of `mindvis decode`, or of another system.

    Raises:
        ConfigError: Both are given, or neither.
    """
    if directory is not None and images is None and truth is None and names is None:
        return read_predictions(directory)
    if directory is None and images is not None and truth is not None:
        return read_foreign(images, truth, names)
    words = {"DIRECTORY": directory, "--images": images, "--truth": truth, "--names": names}
    given = [word for word, value in words.items() if value is not None]
    raise ConfigError(
        f"{' and '.join(given) or 'nothing'} is given",
        "the folder of `mindvis decode`, or --images DIR --truth DIR (and --names CSV)",
    )


def _generator_thumbnails(source: str | None) -> NDArray[np.float32] | None:
    """Thumbnails of the pictures that a generator was trained on, a block at a time."""
    if source is None:
        return None
    if Path(source).is_dir():
        collection = from_folder(source, None)
    else:
        read = from_arrays if Path(source).suffix == ".npz" else from_store
        collection = read(source, None)
    rows = np.arange(len(collection.names))
    starts = trange(0, len(rows), 512, desc="generator's pictures", delay=2, leave=False)
    return np.concatenate([thumbnails(collection.read(rows[i : i + 512])) for i in starts])


def _text(value: object) -> str | None:
    """A text option, None where it is absent."""
    return value if isinstance(value, str) and value else None


def _open_store(store: str | None, predictions: Predictions) -> tuple[VoxelStore | None, str]:
    """The store that was decoded, or why there is none; a store that the user named must open."""
    if store is not None:
        return VoxelStore(store), ""
    recorded = _text(predictions.config.get("store"))
    if recorded is None:
        return None, "the decoded store is not recorded; name it with --store"
    try:
        return VoxelStore(recorded), ""
    except StoreError as error:
        return None, str(error)


@contextmanager
def _decoded_store(
    predictions: Predictions, other: VoxelStore | None
) -> Iterator[VoxelStore | None]:
    """The store that was decoded, whose splits count; the baseline's where that one is gone."""
    recorded = _text(predictions.config.get("store"))
    try:
        found = VoxelStore(recorded) if recorded is not None else None
    except StoreError:
        found = None
    with found or nullcontext():
        yield found or other
