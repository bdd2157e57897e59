"""What a data set is known to hold, which files it needs, and how what was found differs from it.

A reader is one file: `FACTS`, `expected_files`, a way to one `SubjectWork` a subject, and
`prepare_NAME`, whose signature and docstring are the options and the help:

    def prepare_god(source: str, store: str = "god.h5", ..., check: bool = False) -> None:
        options = {k: v for k, v in locals().items() if k not in NOT_CONTENT}
        names = chosen_subjects(FACTS, subjects)
        if not files_are_there(expected_files(Path(source), names, ...), FACTS, check):
            return
        prepare_store(Path(store), works, stimuli, FACTS, options, Workers(n_jobs))

`prepare_store` (in `preprocessing.write`) runs the jobs, writes subject by subject, and says every
difference from the declared facts. One line in the table of `mindvis/cli.py` makes it a command.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mindvis.console import say
from mindvis.data.schema import SubjectData
from mindvis.errors import SourceError, one_of

#: options that change how or where a store is written, but not what is in it
NOT_CONTENT = frozenset({"store", "n_jobs", "backend", "scheduler", "check"})


@dataclass(frozen=True)
class SubjectFacts:
    """What is declared of one subject; what is left out is not compared.

    Args:
        sessions: Number of sessions.
        runs: Number of runs over all sessions.
        trials: Responses by split, "train", "test" and "rest", or by another kind.
        voxels: Voxels by ROI; "all" for those of the store.
    """

    sessions: int | None = None
    runs: int | None = None
    trials: Mapping[str, int] = field(default_factory=dict)
    voxels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is declared of a data set.

    Args:
        dataset: Its name.
        subjects: By name; "*" stands for any name, none for any with nothing declared.
        splits: Which trials are for the test, in words.
        licence: Under which the files are used.
        citation: The paper.
        where: Where to get the files.
        tr: Repetition time in seconds.
    """

    dataset: str
    subjects: Mapping[str, SubjectFacts]
    splits: str
    licence: str
    citation: str
    where: str
    tr: float | None = None

    def attributes(self) -> dict[str, str]:
        """What a store says of its origin."""
        return {"dataset": self.dataset, "licence": self.licence, "citation": self.citation}


def numbered(subjects: str | Sequence[str] | None) -> list[str] | None:
    """Names of subjects by number: 1, subj01 and sub-1 are "sub-01"."""
    if subjects is None:
        return None
    words = subjects.replace(",", " ").split() if isinstance(subjects, str) else subjects
    plain = [re.sub(r"^(sub-|subj?)", "", str(word)) for word in words]
    return [f"sub-{int(word):02d}" if word.isdecimal() else word for word in plain]


def chosen_subjects(facts: Facts, wanted: str | Sequence[str] | None) -> list[str]:
    """The wanted subjects, with or without "sub-" in front, sorted; all declared ones for None.

    Raises:
        SourceError: If the data set has no such subject.
    """
    if wanted is None:
        return sorted(facts.subjects)
    given = re.findall(r"[\w-]+", wanted) if isinstance(wanted, str) else list(wanted)
    names = [name if name.startswith("sub-") else f"sub-{name}" for name in given]
    for name in names:
        if facts.subjects and not {name, "*"} & set(facts.subjects):
            raise SourceError(
                f"{facts.dataset} has no subject {name!r}", one_of("it", name, facts.subjects)
            )
    return sorted(set(names))


@dataclass(frozen=True)
class ExpectedFile:
    """A file that a reader will look for.

    Args:
        path: Where; a `*` in it stands for any text.
        what: What it is, such as "responses of sub-01".
        required: Whether nothing can be prepared without it.
        here: Whether it is there, where its path alone does not say so.
    """

    path: Path
    what: str
    required: bool = True
    here: bool | None = None

    def found(self) -> bool:
        """Whether it is there."""
        if self.here is not None:
            return self.here
        if "*" not in str(self.path):
            return self.path.exists()
        fixed = next(p for p in self.path.parents if "*" not in str(p))
        return any(True for _ in fixed.glob(str(self.path.relative_to(fixed))))


def files_are_there(expected: Sequence[ExpectedFile], facts: Facts, check: bool) -> bool:
    """Whether work can start: all required files are there, and not only a check was asked for.

    A check says every file that is missing, in the order of `expected`.

    Args:
        expected: All files of the chosen subjects.
        facts: Of the data set, for where to get it.
        check: Look and do nothing else.

    Returns:
        False after a check that found all that is required.

    Raises:
        SourceError: If a required file is missing; the first is named.
    """
    missing = [file for file in expected if not file.found()]
    needed = [file for file in missing if file.required]
    if check:
        for file in missing:
            say(f"{'missing' if file.required else 'missing, optional'}: {file.path} ({file.what})")
        say(f"{len(expected) - len(missing)} of {len(expected)} files of {facts.dataset} are there")
    if needed:
        raise SourceError(
            f"{len(needed)} of {sum(file.required for file in expected)} required files of "
            f"{facts.dataset} are missing, {needed[0].path} ({needed[0].what}) the first",
            "every file that --check lists",
            f"get them from {facts.where}, or choose --subjects that are there",
        )
    return not check


def differences(facts: Facts, name: str, data: SubjectData) -> list[str]:
    """Every way in which a subject differs from what is declared, a sentence each."""
    declared = facts.subjects.get(name) or facts.subjects.get("*")
    if declared is None:
        known = ", ".join(sorted(facts.subjects))
        return [f"{name}: not declared; {facts.dataset} has {known}"] if known else []
    pairs = [
        *_counts(declared, data.trials),
        *(
            (f"voxels in {roi}" if roi != "all" else "voxels", count, _voxels(data, roi))
            for roi, count in declared.voxels.items()
        ),
        ("s repetition time", facts.tr, None if np.isnan(data.tr) else round(data.tr, 6)),
    ]
    return [
        f"{name}: {found} {what}, declared are {expected}"
        for what, expected, found in pairs
        if expected is not None and found is not None and found != expected
    ]


def _counts(
    declared: SubjectFacts, trials: pd.DataFrame
) -> Iterator[tuple[str, float | None, float | None]]:
    runs = trials[["session", "run"]].drop_duplicates()
    yield "sessions", declared.sessions, runs["session"].nunique()
    yield "runs", declared.runs, len(runs)
    group = trials["split"].where(trials["split"] != "", trials["kind"])
    for split, count in declared.trials.items():
        yield f"{split} trials", count, int((group == split).sum())


def _voxels(data: SubjectData, roi: str) -> int:
    if roi == "all":
        return data.responses.shape[1]
    return int(data.rois[roi].sum()) if roi in data.rois else 0


def say_summary(name: str, data: SubjectData) -> None:
    """One line: runs, how many responses of which split or kind, voxels and ROIs."""
    trials = data.trials
    runs = len(trials[["session", "run"]].drop_duplicates())
    group = trials["split"].where(trials["split"] != "", trials["kind"])
    counts = ", ".join(f"{count} {split}" for split, count in sorted(group.value_counts().items()))
    voxels = data.responses.shape[1]
    say(f"{name}: {runs} runs, responses: {counts}, {voxels} voxels, {len(data.rois)} ROIs")


def say_differences(lines: Iterable[str]) -> None:
    """The sentences, each on a line of its own."""
    for line in lines:
        say(f"  differs from what is declared: {line}")
