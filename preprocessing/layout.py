"""Where a BIDS data set keeps its scans, sidecars, events, confounds and masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

from mindvis.errors import SourceError, one_of
from mindvis.records import read_json, read_table

#: entities that say how an image was processed, not which scan it is
_PROCESSING = frozenset({"space", "res", "den", "desc", "label", "hemi", "cohort"})
#: entities that tell files of one acquisition apart, not acquisitions
_SAME_ACQUISITION = frozenset({"echo", "part", "rec"})
#: entities whose values are numbers in BIDS: 01 is 1
_INDICES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})
Entities = frozenset[tuple[str, str]]
#: for --space and --resolution: the image whose name has no such entity
NONE = "none"


@dataclass(frozen=True)
class Scan:
    """One run of one subject.

    Args:
        bold: The 4-D image.
        subject: BIDS name, such as "sub-01".
        entities: All entities of the file's name, such as {"task": "rest", "run": "1"}.
        kind: Whether pictures were shown or the subject rested.
        session: Number of the session, 1 where the data set has none.
        run: Number of the run within the session, among those of its kind.
        acquired: When it was acquired, as *_scans.tsv says; empty if it does not.
    """

    bold: Path
    subject: str
    entities: Mapping[str, str] = field(hash=False)
    kind: Literal["task", "rest"] = "task"
    session: int = 1
    run: int = 1
    acquired: str = ""

    @property
    def run_label(self) -> int:
        """The number in the name, which starts again for each task; without one, the run's."""
        label = self.entities.get("run", "")
        return int(label) if label.isdecimal() else self.run

    @property
    def task(self) -> str:
        """The task's label, empty where the name has none."""
        return self.entities.get("task", "")

    @property
    def identity(self) -> frozenset[tuple[str, str]]:
        """The entities that tell this scan from others, without those of its processing."""
        kept = ((k, v) for k, v in self.entities.items() if k not in _PROCESSING)
        return frozenset((key, comparable(key, value)) for key, value in kept)


def parse_entities(path: Path) -> dict[str, str]:
    """Entities of a BIDS file name: `sub-01_task-rest_bold.nii.gz` has sub and task."""
    parts = normalize("NFC", path.name).split(".")[0].split("_")
    return dict(part.split("-", 1) for part in parts if "-" in part)


def comparable(key: str, value: str) -> str:
    """The value of an entity as it is compared: run-01 is run-1, everything else is text."""
    number = key in _INDICES and value.isascii() and value.isdecimal()
    return str(int(value)) if number else value


def _acquisition(entities: Mapping[str, str]) -> Entities:
    """The entities that tell acquisitions apart: not those of processing, echoes or parts."""
    left_out = _PROCESSING | _SAME_ACQUISITION
    return frozenset((k, comparable(k, v)) for k, v in entities.items() if k not in left_out)


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths whose name does not begin with a dot: a Mac leaves a `._NAME` beside each file."""
    return [path for path in paths if not path.name.startswith(".")]


def subject_names(wanted: str | Sequence[str] | None) -> list[str] | None:
    """Subject names with the prefix "sub-", from a list or a text separated by commas."""
    if wanted is None:
        return None
    names = wanted.replace(",", " ").split() if isinstance(wanted, str) else wanted
    names = [normalize("NFC", str(name)) for name in names]
    return [name if name.startswith("sub-") else f"sub-{name}" for name in names]


def entity_pairs(wanted: str | Sequence[str] | None) -> list[str]:
    """Entities such as "echo-2", from a list or a text separated by commas.

    Raises:
        SourceError: If one has no value.
    """
    if wanted is None:
        return []
    pairs = wanted.replace(",", " ").split() if isinstance(wanted, str) else list(wanted)
    for pair in pairs:
        key, _, value = pair.partition("-")
        if not key or not value:
            raise SourceError(f"--entities has {pair!r}", "entities such as echo-2 or rec-none")
    return pairs


def find_subjects(folder: Path, wanted: str | Sequence[str] | None) -> list[str]:
    """The subjects of a BIDS folder, or those of them that are wanted, in order of name.

    Raises:
        SourceError: If the folder or one of the wanted subjects is missing.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder", "a BIDS data set", "check --source")
    present = sorted(normalize("NFC", p.name) for p in folder.glob("sub-*") if p.is_dir())
    names = subject_names(wanted)
    for name in names or ():
        if name not in present:
            raise SourceError(f"{folder} has no subject {name!r}", one_of("it", name, present))
    return sorted(set(names)) if names else present


@dataclass(frozen=True)
class Wanted:
    """Which images of a subject are wanted; None takes what there is.

    Args:
        space: Images of this `space-` entity alone; "none" means those without one.
        resolution: Images of this `res-` (or `den-`) entity alone; "none" likewise.
        tasks: These tasks alone.
        entities: Images of these entities alone, such as "echo-2", or "rec-none" for those without.
    """

    space: str | None = None
    resolution: str | None = None
    tasks: Sequence[str] | None = None
    entities: Sequence[str] = ()

    def fits(self, scan: Scan) -> bool:
        """Whether a scan is wanted."""
        found = scan.entities
        sizes = {found.get("res"), found.get("den")} - {None} or {NONE}
        pairs = [entity.partition("-")[::2] for entity in self.entities]
        return (
            self.space in {None, found.get("space", NONE)}
            and (self.resolution is None or self.resolution in sizes)
            and (self.tasks is None or scan.task in self.tasks)
            and all(
                comparable(key, found.get(key, NONE)) == comparable(key, value)
                for key, value in pairs
            )
        )

    def __str__(self) -> str:
        """The choice in words, empty if everything is wanted."""
        parts = {
            "space": self.space,
            "resolution": self.resolution,
            "tasks": ", ".join(self.tasks or ()),
            "entities": ", ".join(self.entities),
        }
        return "".join(f" of {name} {value}" for name, value in parts.items() if value)


def find_scans(
    folder: Path,
    subject: str,
    wanted: Wanted | None = None,
    *,
    rest_tasks: Sequence[str] = ("rest",),
    ending: str = "_bold.nii*",
    source: Path | None = None,
) -> list[Scan]:
    """All BOLD runs of a subject, in order of session, task and run; none where there is none.

    Args:
        folder: A raw BIDS folder or one of derivatives.
        subject: BIDS name, such as "sub-01".
        wanted: Which images.
        rest_tasks: Tasks in which nothing was shown.
        ending: End of the images' names; of surfaces, the left hemisphere stands for both.
        source: The raw BIDS folder, whose *_scans.tsv count where `folder` has none.

    Raises:
        SourceError: If there are several images for one run.
    """
    files = _bold_files(folder / subject, ending)
    scans = [Scan(bold=path, subject=subject, entities=parse_entities(path)) for path in files]
    scans = [scan for scan in scans if (wanted or Wanted()).fits(scan)]
    scans = _preprocessed(scans)
    _refuse_twins(scans)
    scans = [replace(s, kind="rest") if s.task in rest_tasks else s for s in scans]
    places = [place / subject for place in (source or folder, folder)]
    times = {key: at for place in places for key, at in acquisition_times(place).items()}
    scans = [replace(s, acquired=times.get(_acquisition(s.entities), "")) for s in scans]
    return _numbered(sorted(scans, key=_order))


def no_scans(folder: Path, wanted: Wanted, ending: str) -> SourceError:
    """What to say of the folder of a subject in which `find_scans` finds nothing."""
    return SourceError(
        f"{folder} holds no BOLD image{wanted}",
        f"files named *{ending.replace('.nii*', '.nii.gz')}",
        "check --source, --derivatives, --form, --space, --resolution, --entities and --tasks",
    )


def acquisition_times(folder: Path) -> dict[Entities, str]:
    """When each run was acquired, by its entities, from the *_scans.tsv of a subject.

    The tables name raw images; what was made of them has the same entities.

    Raises:
        MindVisError: If such a table cannot be read.
    """
    times: dict[Entities, str] = {}
    for path in visible(sorted([*folder.glob("*_scans.tsv"), *folder.glob("ses-*/*_scans.tsv")])):
        table = read_table(path, ["filename"])
        if "acq_time" in table:
            known = table[~table["acq_time"].isin({"", "n/a"})]
            images = known[known["filename"].str.contains("_bold.")]
            keys = images["filename"].map(lambda name: _acquisition(parse_entities(Path(name))))
            times |= dict(zip(keys, images["acq_time"], strict=True))
    return times


def _bold_files(folder: Path, ending: str) -> list[Path]:
    """Images of the suffix `bold`, magnitudes alone, the left hemisphere for both."""
    names = visible(folder.rglob(f"*{ending}"))
    names = [p for p in names if p.name.endswith((".nii", ".nii.gz", ".gii"))]
    names = [p for p in names if parse_entities(p).get("hemi", "L") == "L"]
    return sorted(p for p in names if parse_entities(p).get("part", "mag") == "mag")


def _preprocessed(scans: list[Scan]) -> list[Scan]:
    """The preprocessed images alone where there are any.

    Raises:
        SourceError: If a run has none, and other runs have.
    """
    chosen = [scan for scan in scans if scan.entities.get("desc") == "preproc"]
    runs = {scan.identity for scan in chosen}
    lost = [scan for scan in scans if scan.identity not in runs]
    if chosen and lost:
        raise SourceError(
            f"{lost[0].bold} has no image desc-preproc beside it, as other runs have",
            "one kind of image for all runs",
            "choose with --entities, such as desc-preproc",
        )
    return chosen or scans


_OPTIONS = {"space": "--space", "res": "--resolution", "den": "--resolution"}


def _refuse_twins(scans: Iterable[Scan]) -> None:
    """Refuse several images of one acquisition, naming the entity in which they differ."""
    seen: dict[Entities, Scan] = {}
    for scan in scans:
        twin = seen.setdefault(_acquisition(scan.entities), scan)
        if twin is not scan:
            raise SourceError(
                f"one run has two images, {twin.bold.name} and {scan.bold.name}",
                "one image a run",
                f"choose with {_choices(twin, scan)}",
            )


def _choices(one: Scan, other: Scan) -> str:
    """The options that choose between two images, each with the values found."""
    keys = [
        key
        for key in dict.fromkeys([*one.entities, *other.entities])
        if one.entities.get(key) != other.entities.get(key)
    ]
    values = {key: [s.entities.get(key, NONE) for s in (one, other)] for key in keys}
    texts = []
    for key, found in values.items():
        names = sorted(set(found))
        if key in _OPTIONS:
            texts.append(f"{_OPTIONS[key]} ({', '.join(names)} found)")
        else:
            texts.append(f"--entities ({' or '.join(f'{key}-{name}' for name in names)})")
    return " or ".join(texts) or "--source: the two files have the same entities"


def _order(scan: Scan) -> tuple[object, ...]:
    keys = ("ses", "task", "acq", "ce", "rec", "dir", "run", "echo")
    return tuple(natural_key(scan.entities.get(key, "")) for key in keys)


def natural_key(label: str) -> tuple[int, int, str]:
    """Sorting key that puts numbers in order of size, before words."""
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)


def _numbered(scans: list[Scan]) -> list[Scan]:
    """Give sessions and runs numbers: labels where these are unique numbers, else positions."""
    labels = sorted({scan.entities.get("ses", "1") for scan in scans}, key=natural_key)
    numeric = all(label.isdecimal() for label in labels)
    sessions = {label: int(label) if numeric else n for n, label in enumerate(labels, start=1)}
    numbered = []
    for label, kind in product(labels, ("task", "rest")):
        members = [s for s in scans if s.entities.get("ses", "1") == label and s.kind == kind]
        for scan, run in zip(members, _run_numbers(members), strict=True):
            numbered.append(replace(scan, session=sessions[label], run=run))
    return numbered


def _run_numbers(scans: Sequence[Scan]) -> list[int]:
    """Run labels as numbers where all differ, else positions within the session."""
    labels = [scan.entities.get("run", "1") for scan in scans]
    if all(label.isdecimal() for label in labels):
        numbers = [int(label) for label in labels]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(scans) + 1))


def inherited(scan: Scan, folders: Sequence[Path], suffix: str) -> list[Path]:
    """Files that apply to a scan by the BIDS inheritance principle, the most specific first.

    Args:
        scan: The run.
        folders: Data sets to look in, in order of preference.
        suffix: End of the file's name, such as "_events.tsv".

    Returns:
        Files whose entities are among the scan's, beside it or in a folder above it.
    """
    found = [path for folder in folders for path in _inherited_in(scan, folder, suffix)]
    return list(dict.fromkeys(found))


def _inherited_in(scan: Scan, folder: Path, suffix: str) -> list[Path]:
    session = [f"ses-{scan.entities['ses']}"] if "ses" in scan.entities else []
    top = folder / scan.subject
    levels = [folder, top, *(top / name for name in session)]
    levels.append(levels[-1] / "func")
    files = [p for level in reversed(levels) for p in visible(sorted(level.glob(f"*{suffix}")))]
    files += [folder / suffix.lstrip("_")] if (folder / suffix.lstrip("_")).is_file() else []
    return sorted((p for p in files if applies(p, scan)), key=lambda p: -len(parse_entities(p)))


def applies(path: Path, scan: Scan) -> bool:
    """Whether the entities of a file are the scan's; its space need only not contradict."""
    for key, value in parse_entities(path).items():
        known = scan.entities.get(key)
        contradicts = known is not None if key in {"space", "res"} else key not in _PROCESSING
        if contradicts and (known is None or comparable(key, known) != comparable(key, value)):
            return False
    return True


def the_one(found: Sequence[Path], scan: Scan, remedy: str) -> Path | None:
    """The most specific of the files that `inherited` found, None if there is none.

    Args:
        found: Files, the most specific first.
        scan: The run that they apply to.
        remedy: What to do about two that are equally specific.

    Raises:
        SourceError: If two are equally specific, neither in a folder above the other's.
    """
    if not found:
        return None
    first, specific = found[0], len(parse_entities(found[0]))
    for rival in found[1:]:
        nested = first.parent != rival.parent and (
            first.is_relative_to(rival.parent) or rival.is_relative_to(first.parent)
        )
        if len(parse_entities(rival)) == specific and not nested:
            raise SourceError(
                f"{first} and {rival} both apply to {scan.bold.name}", "one file", remedy
            )
    return first


def sidecar(scan: Scan, folders: Sequence[Path]) -> dict[str, Any]:
    """The JSON sidecars of a run merged, the most specific winning."""
    merged: dict[str, Any] = {}
    for path in reversed(inherited(scan, folders, "_bold.json")):
        merged |= read_json(path)
    return merged
