"""`mindvis prepare hcp`: resting-state runs of the Human Connectome Project, for stage A."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from mindvis.console import say
from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.areas import AreaChoice
from preprocessing.facts import (
    NOT_CONTENT,
    ExpectedFile,
    Facts,
    SubjectFacts,
    chosen_subjects,
    files_are_there,
)
from preprocessing.hcp_runs import Form, WindowOptions, cifti_windows, subject_data, volume_windows
from preprocessing.workers import Backend, Workers
from preprocessing.write import Job, SubjectWork, digest, parts_folder, prepare_store

VERTICES = {"V1": 1618, "V2": 1220, "V3": 684, "V4": 661}  # fsLR 32k, both hemispheres
FACTS = Facts(
    dataset="Human Connectome Project, young adults",
    subjects={"*": SubjectFacts(2, 4, {}, VERTICES)},
    splits="rest alone: no test",
    licence="HCP open access data use terms; may not be passed on",
    citation="Van Essen et al. (2013), NeuroImage 80:62-79; Glasser et al. (2016), Nature 536:171",
    where="https://balsa.wustl.edu (Resting State fMRI FIX-Denoised, Compact)",
    tr=0.72,
)
RUNS = ("rfMRI_REST1_LR", "rfMRI_REST1_RL", "rfMRI_REST2_LR", "rfMRI_REST2_RL")
_FOLDER = "{subject}/MNINonLinear/Results/{run}"
_CLEAN = {"S1200": "hp2000_clean", "YA2025": "hp2000_clean_rclean_tclean"}
Release = Literal["S1200", "YA2025"]


def prepare_hcp(
    source: str,
    atlas: str,
    store: str = "hcp.h5",
    subjects: str | list[str] | None = None,
    form: Form = "cifti",
    release: Release = "S1200",
    pattern: str | None = None,
    runs: list[str] | None = None,
    areas: list[str] | None = None,
    labels: dict[str, list[int]] | None = None,
    window: float = 8.0,
    standardise: bool = True,
    only_new: bool = False,
    n_jobs: int = 1,
    backend: Backend = "processes",
    scheduler: str | None = None,
    check: bool = False,
) -> None:
    """Prepare HCP resting state: windows of averaged frames, in areas of an atlas.

    Voxels are stored area by area. Runs are read a few grayordinates (or volumes) at a time and
    wait in STORE.parts; a command that was killed goes on from there when it is given again.

    Args:
        source: Folder of the subjects' folders, such as 100307.
        atlas: The Glasser parcellation, or another: a .dlabel.nii file for cifti, an image of
            labels on the grid of the runs for volume; absolute, or relative to source.
        store: File to write; subjects that it already holds and are not prepared now stay.
        subjects: Such as 100307,100408; all whose runs are there by default.
        form: Dense time series on the cortex, or volumes.
        release: Names of the files: S1200 or the re-release with *_rclean_tclean.
        pattern: Path of a run below source, with {subject} and {run} filled in, where names differ.
        runs: Names of the runs; the four of rest by default. Those that a subject lacks are left
            out.
        areas: Names of areas; V1 to V4 by default.
        labels: Numbers of each area's labels, such as {"V1": [1, 181]}; by default as the atlas
            names them, and for V1 to V4 those of Glasser.
        window: Length of the windows in seconds; frames of a window are averaged.
        standardise: Bring each voxel of each run to mean 0 and standard deviation 1 first.
        only_new: Leave subjects alone that the store already holds.
        n_jobs: Runs to process at the same time; -1 for one a core.
        backend: Processes of this machine, or the workers of a Dask cluster.
        scheduler: Address of the Dask scheduler, such as tcp://10.0.0.1:8786.
        check: Say which files are missing, and do nothing.

    Raises:
        SourceError: If files are missing or damaged, or the atlas does not fit them.
    """
    options = {k: v for k, v in locals().items() if k not in NOT_CONTENT | {"only_new"}}
    root, workers = Path(source), Workers(n_jobs, backend, scheduler)
    options["source"] = root.resolve().name
    paths = pattern or default_pattern(form, release)
    run_names = list(runs or RUNS)
    names = chosen_subjects(FACTS, subjects) if subjects else find_subjects(root, paths, run_names)
    if only_new and Path(store).exists():
        with VoxelStore(store) as old:
            names = [name for name in names if name not in old.subjects]
        if not names:
            say(f"nothing to prepare: {store} holds all subjects")
            return
    if not files_are_there(expected_files(root, atlas, names, paths, run_names), FACTS, check):
        return
    choice = AreaChoice(root / atlas, tuple(areas or ("V1", "V2", "V3", "V4")), labels or {})
    how = WindowOptions(window, standardise)
    works = [
        subject_work(root, name, run_files(root, name, paths, run_names), form, choice, how, store)
        for name in names
    ]
    facts = replace(FACTS, subjects={"*": declared(form, choice, run_names)})
    prepare_store(Path(store), works, None, facts, options, workers)


def declared(form: Form, choice: AreaChoice, runs: Sequence[str]) -> SubjectFacts:
    """What is known of a subject for these options: numbers of vertices, of areas on the cortex."""
    voxels = {area: count for area, count in VERTICES.items() if area in choice.areas}
    return SubjectFacts(runs=len(runs), voxels=voxels if form == "cifti" else {})


def default_pattern(form: Form, release: Release) -> str:
    """Path of a run below the source, as the Connectome Project names it."""
    clean = _CLEAN[release]
    if form == "cifti":
        return f"{_FOLDER}/{{run}}_Atlas_MSMAll_{clean}.dtseries.nii"
    return f"{_FOLDER}/{{run}}_{clean}.nii.gz"


def run_path(source: Path, subject: str, pattern: str, run: str) -> Path:
    """The file of one run; `*` in the pattern is left in."""
    number = subject.removeprefix("sub-")
    return source / pattern.replace("{subject}", number).replace("{run}", run)


def find_subjects(source: Path, pattern: str, runs: Sequence[str]) -> list[str]:
    """Subjects of whom some run is there.

    Raises:
        SourceError: If there is none.
    """
    before, _, _ = pattern.partition("{subject}")
    folders = sorted(source.glob(f"{before}*"))
    numbers = [path.name[len(Path(f"{before}x").name) - 1 :] for path in folders]
    names = [f"sub-{number}" for number in numbers if number]
    found = [
        name for name in names if any(_files(run_path(source, name, pattern, run)) for run in runs)
    ]
    if not found:
        raise SourceError(
            f"no run {runs[0]} of any subject is in {source}",
            f"files such as {run_path(source, '100307', pattern, runs[0])}",
            "check --source, --form and --release, or give --pattern",
        )
    return found


def expected_files(
    source: Path, atlas: str, subjects: Sequence[str], pattern: str, runs: Sequence[str]
) -> list[ExpectedFile]:
    """The atlas and all runs; a subject may lack some, but not all."""
    files = [ExpectedFile(source / atlas, "the atlas")]
    for name in subjects:
        files.append(ExpectedFile(run_path(source, name, pattern, "*"), f"some run of {name}"))
        files += [
            ExpectedFile(run_path(source, name, pattern, run), f"{run} of {name}", required=False)
            for run in runs
        ]
    return files


def run_files(
    source: Path, subject: str, pattern: str, runs: Sequence[str]
) -> list[tuple[str, Path]]:
    """The runs of a subject that are there, in order.

    Raises:
        SourceError: If several files fit one run.
    """
    found = [(run, _files(run_path(source, subject, pattern, run))) for run in runs]
    for run, paths in found:
        if len(paths) > 1:
            raise SourceError(
                f"{len(paths)} files fit {run} of {subject}, {paths[0].name} and {paths[1].name}",
                "one",
                "give a --pattern that fits one of them",
            )
    return [(run, paths[0]) for run, paths in found if paths]


def _files(path: Path) -> list[Path]:
    if "*" not in str(path):
        return [path] if path.is_file() else []
    fixed = next(parent for parent in path.parents if "*" not in str(parent))
    return sorted(fixed.glob(str(path.relative_to(fixed))))


def subject_work(
    source: Path,
    name: str,
    files: Sequence[tuple[str, Path]],
    form: Form,
    choice: AreaChoice,
    how: WindowOptions,
    store: str,
) -> SubjectWork:
    """A job for each run, and the record of all."""
    first = files[0][1]
    function = cifti_windows if form == "cifti" else volume_windows
    jobs = []
    for run, path in files:
        key = digest(path, first, choice.atlas, choice.areas, choice.labels, how)
        part = parts_folder(Path(store)) / f"{name}_{run}-{key[:16]}.npy"
        jobs.append(Job(part, function, (path, first, choice, how)))
    record = partial(subject_data, [run for run, _ in files], first, jobs, form, choice, how)
    return SubjectWork(name, record, jobs, [choice.atlas, *(path for _, path in files)])
