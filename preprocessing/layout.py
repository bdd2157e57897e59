"""Where a BIDS data set keeps its scans, sidecars, events, confounds and masks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mindvis.errors import SourceError, one_of

#: entities that say how an image was processed, not which scan it is
_PROCESSING = frozenset({"space", "res", "den", "desc", "label", "hemi"})


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
    """

    bold: Path
    subject: str
    entities: Mapping[str, str] = field(hash=False)
    kind: Literal["task", "rest"] = "task"
    session: int = 1
    run: int = 1

    @property
    def task(self) -> str:
        """The task's label, empty where the name has none."""
        return self.entities.get("task", "")

    @property
    def identity(self) -> frozenset[tuple[str, str]]:
        """The entities that tell this scan from others, without those of its processing."""
        return frozenset((k, v) for k, v in self.entities.items() if k not in _PROCESSING)


def parse_entities(path: Path) -> dict[str, str]:
    """Entities of a BIDS file name: `sub-01_task-rest_bold.nii.gz` has sub and task."""
    parts = path.name.split(".")[0].split("_")
    return dict(part.split("-", 1) for part in parts if "-" in part)


def subject_names(wanted: str | Sequence[str] | None) -> list[str] | None:
    """Subject names with the prefix "sub-", from a list or a text separated by commas."""
    if wanted is None:
        return None
    names = wanted.replace(",", " ").split() if isinstance(wanted, str) else wanted
    return [name if name.startswith("sub-") else f"sub-{name}" for name in names]


def find_subjects(folder: Path, wanted: str | Sequence[str] | None) -> list[str]:
    """The subjects of a BIDS folder, or those of them that are wanted, in order of name.

    Raises:
        SourceError: If the folder or one of the wanted subjects is missing.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder", "a BIDS data set", "check --source")
    present = sorted(path.name for path in folder.glob("sub-*") if path.is_dir())
    names = subject_names(wanted)
    for name in names or ():
        if name not in present:
            raise SourceError(f"{folder} has no subject {name!r}", one_of("it", name, present))
    return sorted(set(names)) if names else present


def find_scans(
    folder: Path,
    subject: str,
    *,
    space: str | None = None,
    resolution: str | None = None,
    tasks: Sequence[str] | None = None,
    rest_tasks: Sequence[str] = ("rest",),
    ending: str = "_bold.nii*",
) -> list[Scan]:
    """All BOLD runs of a subject, in order of session, task and run; none where there is none.

    Args:
        folder: A raw BIDS folder or one of derivatives.
        subject: BIDS name, such as "sub-01".
        space: Keep images of this `space-` entity alone.
        resolution: Keep images of this `res-` (or `den-`) entity alone.
        tasks: Keep these tasks alone.
        rest_tasks: Tasks in which nothing was shown.
        ending: End of the images' names; of surfaces, the left hemisphere stands for both.

    Raises:
        SourceError: If there are several images for one run.
    """
    files = _bold_files(folder / subject, ending)
    scans = [Scan(bold=path, subject=subject, entities=parse_entities(path)) for path in files]
    scans = [s for s in scans if space is None or s.entities.get("space") == space]
    scans = [s for s in scans if resolution is None or resolution in _resolutions(s)]
    scans = [s for s in scans if tasks is None or s.task in tasks]
    _refuse_twins(scans)
    scans = [replace(s, kind="rest") if s.task in rest_tasks else s for s in scans]
    return _numbered(sorted(scans, key=_order))


def no_scans(
    folder: Path,
    space: str | None,
    resolution: str | None,
    tasks: Sequence[str] | None,
    ending: str,
) -> SourceError:
    """What to say of the folder of a subject in which `find_scans` finds nothing."""
    chosen = f" of space {space}" if space else ""
    chosen += f" of resolution {resolution}" if resolution else ""
    chosen += f" of tasks {', '.join(tasks)}" if tasks else ""
    return SourceError(
        f"{folder} holds no BOLD image{chosen}",
        f"files named *{ending.replace('.nii*', '.nii.gz')}",
        "check --source, --derivatives, --form, --space, --resolution and --tasks",
    )


def _resolutions(scan: Scan) -> set[str | None]:
    return {scan.entities.get("res"), scan.entities.get("den")}


def _bold_files(folder: Path, ending: str) -> list[Path]:
    """Images of the suffix `bold`: preprocessed ones alone where there are any."""
    names = [p for p in folder.rglob(f"*{ending}") if p.name.endswith((".nii", ".nii.gz", ".gii"))]
    names = [p for p in names if parse_entities(p).get("hemi", "L") == "L"]
    names = [p for p in names if parse_entities(p).get("part", "mag") == "mag"]
    preprocessed = [p for p in names if parse_entities(p).get("desc") == "preproc"]
    return sorted(preprocessed or names)


def _refuse_twins(scans: Iterable[Scan]) -> None:
    seen: dict[frozenset[tuple[str, str]], Scan] = {}
    for scan in scans:
        twin = seen.setdefault(scan.identity, scan)
        if twin is not scan:
            spaces = sorted({s.entities.get("space", "none") for s in (twin, scan)})
            sizes = sorted({str(r) for s in (twin, scan) for r in _resolutions(s) if r})
            more = f" or --resolution ({', '.join(sizes)} found)" if sizes else ""
            raise SourceError(
                f"one run has two images, {twin.bold.name} and {scan.bold.name}",
                "one image a run",
                f"choose with --space ({', '.join(spaces)} found){more}",
            )


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
    files = [p for level in reversed(levels) for p in sorted(level.glob(f"*{suffix}"))]
    files += [folder / suffix.lstrip("_")] if (folder / suffix.lstrip("_")).is_file() else []
    return sorted((p for p in files if applies(p, scan)), key=lambda p: -len(parse_entities(p)))


def applies(path: Path, scan: Scan) -> bool:
    """Whether the entities of a file are the scan's; its space need only not contradict."""
    for key, value in parse_entities(path).items():
        known = scan.entities.get(key)
        contradicts = known is not None if key in {"space", "res"} else key not in _PROCESSING
        if contradicts and known != value:
            return False
    return True


def sidecar(scan: Scan, folders: Sequence[Path]) -> dict[str, Any]:
    """The JSON sidecars of a run merged, the most specific winning."""
    merged: dict[str, Any] = {}
    for path in reversed(inherited(scan, folders, "_bold.json")):
        merged |= read_json(path)
    return merged


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        SourceError: If the file is not valid JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise SourceError(
            f"{path} is not valid JSON ({error})", remedy="correct the file"
        ) from None
    if not isinstance(content, dict):
        raise SourceError(f"{path} holds a {type(content).__name__}", "a JSON object")
    return content
