"""Whether a model met the stimuli it is scored on: its recorded splits beside those of the store.

Digests tell whether two splits are the same, not how they differ; names of stimuli stay in the
store. A stage that kept away the same test stimuli is clean, whatever else it was trained on; one
that kept away others is not. What cannot be checked is said, and never counts as clean.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindvis.data.places import difference, unknown
from mindvis.data.splits import fingerprint
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.data.transforms import Preprocessing
from mindvis.decoding.listing import task_trials
from mindvis.errors import MindVisError
from mindvis.provenance import UNKNOWN_LINEAGE, read_lineage, read_manifest

Lineage = Mapping[str, Any]
BASELINES = (
    "the model may have learned them, while ridge, nearest-train-brain and nearest-train-picture "
    "leave them out of their training and mean-brain keeps them"
)
SPLITS = {"test": "test stimuli", "not_test": "stimuli outside its test split"}


@dataclass(frozen=True)
class Leakage:
    """What is known of leaks.

    Args:
        selected_on: "nothing", "val" or "test", of the model or of one it started from; None where
            it is not recorded.
        problems: One sentence for each leak or disagreement.
        reservations: One sentence for each check that could not be made, and for training stimuli
            that the store does not hold.
    """

    selected_on: str | None
    problems: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The entry of metrics.json."""
        return {"problems": list(self.problems), "reservations": list(self.reservations)}


def find_lineage(decoded: Path, model: str | None) -> dict[str, Any]:
    """The lineage kept with decoded pictures, or that of the model where it is still there."""
    kept = read_manifest(decoded).get("lineage")
    if kept is not None:
        return {**UNKNOWN_LINEAGE, **kept}
    return read_lineage(model) if model is not None else dict(UNKNOWN_LINEAGE)


def check_leakage(
    lineage: Lineage,
    store: VoxelStore | None,
    decoded: Mapping[str, Sequence[str]],
    split: str = "test",
    model: str | None = None,
) -> Leakage:
    """Compare what a model recorded with the store and with what was decoded.

    Args:
        lineage: Of the model, as `read_lineage` gives it.
        store: Where the responses came from; None where it is gone.
        decoded: The stimuli that were decoded, by subject.
        split: Trials that were decoded.
        model: Folder of the model, whose voxels are compared with the store's if it is there.
    """
    stages = list(chain(lineage))
    problems = [
        f"stage {stage['task']} was selected on test: its epoch was chosen by test scores"
        for stage in stages
        if stage["selected_on"] == "test"
    ]
    reservations = []
    recorded = [stage for stage in stages if stage["splits"]]
    if not recorded:
        reservations.append("the model records no splits, so they cannot be compared")
    if store is None:
        reservations.append("the store that was decoded is not there, so its splits are not known")
        return Leakage(selected_on(stages), tuple(problems), tuple(reservations))
    for subject, stimuli in decoded.items():
        if subject not in store.subjects:
            reservations.append(f"{store.path} holds no subject {subject}")
            continue
        trained = {subject, *(name for stage in recorded for name in stage["splits"])}
        for name in sorted(trained & set(store.subjects)):
            problems += trained_stimuli(store[name], subject, stimuli)
        reservations += left_out(store[subject], stimuli, split)
        known, unsure = compared_voxels(model, store[subject])
        problems += known
        reservations += unsure
        for stage in recorded:
            problems += disagreements(stage, store[subject], "test")
            reservations += disagreements(stage, store[subject], "not_test")
    return Leakage(selected_on(stages), tuple(problems), tuple(reservations))


def chain(lineage: Lineage) -> Iterator[Lineage]:
    """A lineage, then those of everything it started from, the nearest first."""
    yield {**UNKNOWN_LINEAGE, **lineage}
    for ancestor in lineage.get("ancestors", []):
        yield from chain(ancestor)


def selected_on(stages: Iterable[Lineage]) -> str | None:
    """The worst that any stage was selected on; None where the model itself does not say."""
    found = [stage["selected_on"] for stage in stages]
    worst = next((split for split in ("test", "val") if split in found), None)
    return worst or found[0]


def trained_stimuli(trained: StoredSubject, subject: str, decoded: Sequence[str]) -> list[str]:
    """Sentences where stimuli decoded of a subject are outside the test split of one trained on.

    A picture that one subject saw in training is known to a model of several subjects.
    """
    trials = task_trials(trained)
    known = set(trials.loc[trials["split"] != "test", "stimulus"])
    both = sorted(known & set(decoded))
    test = set(trials.loc[trials["split"] == "test", "stimulus"])
    shared, outside = [n for n in both if n in test], [n for n in both if n not in test]
    of, where = len(set(decoded)), f"{trained.name} in {trained.store.path}"
    found = []
    if outside:
        found.append(
            f"{len(outside)} of {of} stimuli decoded of {subject} {_are(outside)} outside the test "
            f"split of {where}, {outside[0]!r} the first; {BASELINES}"
        )
    if shared:
        found.append(
            f"{len(shared)} of {of} stimuli decoded of {subject} {_are(shared)} in the test split "
            f"and in training too, of {where}, {shared[0]!r} the first; {BASELINES}"
        )
    return found


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def left_out(stored: StoredSubject, decoded: Sequence[str], split: str) -> list[str]:
    """A sentence where only some stimuli of the split were scored."""
    trials = task_trials(stored)
    every = set(trials.loc[trials["split"] == split, "stimulus"])
    missing = sorted(every - set(decoded))
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(every)} {split} stimuli of {stored.name} in {stored.store.path} "
        f"were not scored, {missing[0]!r} the first"
    ]


def compared_voxels(model: str | None, stored: StoredSubject) -> tuple[list[str], list[str]]:
    """A problem where the model's voxels are others, a reservation where that is not known.

    Args:
        model: Folder of the model; nothing is said where it is gone, as `decode` compared them.
        stored: The subject that was decoded.
    """
    if model is None or not Path(model).exists():
        return [], []
    try:
        places = Preprocessing.load(model)[stored.name].places
    except MindVisError:
        return [], []
    found, unsure = difference(places, stored), unknown(places, stored)
    where = f"the voxels of {stored.name} in {stored.store.path} are not those of the model"
    return [f"{where}: {found}"] * bool(found), [unsure] * bool(unsure)


def disagreements(stage: Lineage, subject: StoredSubject, split: str) -> list[str]:
    """A sentence where a stage recorded a split otherwise than the store has it.

    Args:
        stage: Its lineage.
        subject: Of the store.
        split: A key of `SPLITS`.
    """
    recorded = stage["splits"].get(subject.name)
    if recorded is None:
        return []
    trials = subject.trials
    chosen = (trials["split"] == "test") == (split == "test")
    own, other = fingerprint(trials["stimulus"][chosen]), recorded[split]
    if other == own:
        return []
    return [
        f"stage {stage['task']} recorded {other['stimuli']} {SPLITS[split]} of {subject.name} "
        f"(sha256 {other['sha256'][:12]}), {subject.store.path} has {own['stimuli']} "
        f"({own['sha256'][:12]}): the splits disagree"
    ]
