"""Which files a BIDS data set should have, for `--check`: run by run, both ways, and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mindvis.errors import MindVisError
from preprocessing.confounds import ENDINGS as CONFOUNDS
from preprocessing.confounds import STRATEGIES, find_confounds
from preprocessing.events import EventOptions, shown_files
from preprocessing.facts import ExpectedFile
from preprocessing.glmsingle import TYPES
from preprocessing.layout import Scan, applies, inherited, parse_entities, visible
from preprocessing.pictures import find_picture, picture_roots
from preprocessing.roi import filled_in, find_masks
from preprocessing.series import ENDINGS, Form, right_hemisphere

#: entities of an image that its tables do not have
_OF_IMAGES = frozenset({"space", "res", "den", "desc", "hemi", "part"})


@dataclass(frozen=True)
class BidsSource:
    """Where the files of a BIDS data set are, and which of them are wanted.

    Args:
        root: The BIDS folder.
        images: Folder of the images, the same or one of derivatives.
        form: Of the images.
        tasks: Tasks to prepare; None for all.
        mask: Brain mask, as in `prepare_bids`.
        voxels: Whether a mask is needed.
        atlas: Regions of surfaces, relative to root.
        glmsingle: Folder of betas, relative to root.
        confounds: As in `prepare_bids`.
        events: Which column names the pictures.
        stimuli: Folder of the pictures, relative to root.
    """

    root: Path
    images: Path
    form: Form
    tasks: Sequence[str] | None
    mask: str | None
    voxels: Literal["mask", "rois"]
    atlas: str | None
    glmsingle: str | None
    confounds: str | Sequence[str]
    events: EventOptions
    stimuli: str

    @property
    def folders(self) -> list[Path]:
        """The data sets that may hold tables of a run, the images' own first."""
        return list(dict.fromkeys([self.images, self.root]))


def expected_files(source: BidsSource, scans: Mapping[str, Sequence[Scan]]) -> list[ExpectedFile]:
    """All files of some subjects, what belongs to a run one after another.

    Args:
        source: Where to look.
        scans: The runs by subject, as far as there are images of them.
    """
    files = []
    if source.atlas:
        files.append(ExpectedFile(source.root / source.atlas, "the atlas"))
    for name, runs in scans.items():
        if not runs:
            pattern = source.images / name / "**" / f"*{ENDINGS[source.form]}"
            files.append(
                ExpectedFile(pattern, f"images of {name} that fit the options", here=False)
            )
        for scan in runs:
            files += _run_files(source, scan)
        files += _masks(source, name, runs)
        files += _events_without_images(source, name, runs)
    unique: dict[Path, ExpectedFile] = {}
    for file in [*files, *_pictures(source, scans)]:
        unique.setdefault(file.path, file)
    return list(unique.values())


def _stem(scan: Scan) -> str:
    """A run's name without what says how its image was processed: sub-01_task-look_run-1."""
    names = [part for part in scan.bold.name.split("_") if "-" in part]
    return "_".join(part for part in names if part.split("-", 1)[0] not in _OF_IMAGES)


def _run_files(source: BidsSource, scan: Scan) -> Iterator[ExpectedFile]:
    yield ExpectedFile(scan.bold, f"image of {_stem(scan)}")
    if source.form == "gifti":
        yield ExpectedFile(right_hemisphere(scan.bold), f"right hemisphere of {_stem(scan)}")
    inside = scan.bold.relative_to(source.images).parent
    if scan.kind == "task":
        beside = source.root / inside / f"{_stem(scan)}_events.tsv"
        found = inherited(scan, source.folders, "_events.tsv")
        yield ExpectedFile(found[0] if found else beside, f"events of {scan.bold.name}")
    if source.confounds != "none":
        table = find_confounds(scan, source.folders)
        path = table or scan.bold.with_name(f"{_stem(scan)}{CONFOUNDS[0]}")
        needed = source.confounds != "motion"
        yield ExpectedFile(path, f"confounds of {scan.bold.name}", needed)
        if source.confounds in STRATEGIES:
            yield ExpectedFile(path.with_suffix(".json"), f"what {path.name} holds")
    if source.glmsingle:
        folder = source.root / filled_in(source.glmsingle, scan)
        betas = [folder / f"{name}.hdf5" for name in TYPES if (folder / f"{name}.hdf5").is_file()]
        yield ExpectedFile(betas[0] if betas else folder / f"{TYPES[0]}.hdf5", "betas of GLMsingle")


def _masks(source: BidsSource, name: str, runs: Sequence[Scan]) -> Iterator[ExpectedFile]:
    """A brain mask, where volumes are masked."""
    if source.form != "volume":
        return
    if source.mask is not None:
        for scan in runs:
            yield ExpectedFile(source.root / filled_in(source.mask, scan), f"mask of {name}")
    elif runs:
        folders = list(dict.fromkeys([source.images, source.root / "derivatives"]))
        found = find_masks(source.root, None, runs, folders)
        default = source.images / "**" / name / "**" / "*_desc-brain_mask.nii*"
        for path in found or [default]:
            yield ExpectedFile(path, f"brain mask of {name}", source.voxels == "mask")


def _events_without_images(
    source: BidsSource, name: str, runs: Sequence[Scan]
) -> Iterator[ExpectedFile]:
    """Images of runs that have a table of events alone; what was shown in them is not prepared."""
    tables = visible(sorted((source.root / name).rglob("*_events.tsv")))
    for table in tables:
        task = parse_entities(table).get("task")
        wanted = source.tasks is None or task in source.tasks
        if wanted and not any(applies(table, scan) for scan in runs):
            stem = table.name.removesuffix("_events.tsv")
            inside = table.relative_to(source.root).parent
            pattern = source.images / inside / f"{stem}*{ENDINGS[source.form]}"
            yield ExpectedFile(pattern, f"image of {table.name}", required=False, here=False)


def _pictures(source: BidsSource, scans: Mapping[str, Sequence[Scan]]) -> Iterator[ExpectedFile]:
    """The pictures that the event tables name."""
    roots = picture_roots(source.root, source.stimuli)
    runs = [scan for runs in scans.values() for scan in runs if scan.kind == "task"]
    tables = [inherited(scan, source.folders, "_events.tsv")[:1] for scan in runs]
    for table in dict.fromkeys(path for found in tables for path in found):
        try:
            names = shown_files(table, source.events)
        except MindVisError:
            continue  # which is said when the tables are read
        for name in names:
            path = find_picture(name, roots)
            here = path is not None
            yield ExpectedFile(path or roots[0] / name, f"a picture of {table.name}", here=here)
