"""`mindvis simulate`: the simulated experiment as a BIDS data set."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mindvis.errors import ConfigError
from mindvis.files import atomic_path, write_json, write_text
from mindvis.seeding import numpy_generator
from mindvis.simulation import sidecars
from mindvis.simulation.anatomy import AREAS
from mindvis.simulation.bold import framewise_displacement
from mindvis.simulation.design import (
    TR,
    Picture,
    Run,
    make_pictures,
    make_runs,
)
from mindvis.simulation.nifti import write_nifti
from mindvis.simulation.observer import (
    INTENSITY_STEP,
    Observer,
    draw_anatomy,
    make_observer,
    record,
)
from mindvis.simulation.stimuli import CLASS_NAMES, Scene, render, sample_scene, split_class

RECORD = "sourcedata/simulation.json"  # the parameters that made a data set
FORMAT = 1  # raised when the same parameters would give other files
SUBJECT_LIMIT = 99
STIMULI_PER_JOB = 128
SMALLEST_PICTURE = 16  # pixels


@dataclass(frozen=True)
class Parameters:
    """Everything that the content of the data set depends on; see `simulate`."""

    subjects: int
    trials: int
    test_repeats: int
    snr: float
    seed: int
    image_size: int
    pictures: int


def simulate(
    output: str,
    subjects: int = 2,
    trials: int = 960,
    test_repeats: int = 8,
    snr: float = 0.55,
    seed: int = 0,
    image_size: int = 64,
    pictures: int = 4096,
    n_jobs: int = 2,
) -> None:
    """Simulate observers who look at pictures in a scanner, and write a BIDS data set.

    Files that exist are kept, so an interrupted command finishes when it is run again. The same
    parameters give the same files, whatever the number of processes.

    Args:
        output: Folder of the data set; absent, empty, or begun with the same parameters.
        subjects: Number of observers, each with its own anatomy and tuning.
        trials: Number of training pictures, each shown once to every observer.
        test_repeats: Number of times that each of the 64 test pictures is shown.
        snr: Standard deviation of the response to a picture over that of the noise of one
            volume, in the median visual voxel. 0.55 makes about 0.22 of a single trial's variance
            explainable.
        seed: Seed of all randomness.
        image_size: Side of the pictures in pixels.
        pictures: Number of further pictures that nobody is shown, spread evenly over the 64
            classes, to train a generator and a classifier on.
        n_jobs: Number of processes; -1 for as many as there are processors.

    Raises:
        ConfigError: If a parameter cannot work, or the folder holds something else.
    """
    parameters = Parameters(subjects, trials, test_repeats, snr, seed, image_size, pictures)
    _check(parameters, n_jobs)
    root = Path(output)
    _claim(root, parameters)
    _write_texts(root, parameters)
    jobs = list(_jobs(root, parameters))
    done = Parallel(n_jobs, return_as="generator_unordered")(delayed(job)() for job in jobs)
    for _ in tqdm(done, "simulate", len(jobs), unit="part"):
        pass


def _check(parameters: Parameters, n_jobs: int) -> None:
    """Refuse parameters that cannot work, each by name.

    Raises:
        ConfigError: Naming the first such parameter.
    """
    limits: list[tuple[str, float, bool, str]] = [
        (
            "subjects",
            parameters.subjects,
            1 <= parameters.subjects <= SUBJECT_LIMIT,
            f"1 to {SUBJECT_LIMIT}",
        ),
        ("trials", parameters.trials, parameters.trials >= 1, "at least 1"),
        ("test_repeats", parameters.test_repeats, parameters.test_repeats >= 1, "at least 1"),
        ("snr", parameters.snr, 0 <= parameters.snr < np.inf, "a finite number, 0 or more"),
        (
            "image_size",
            parameters.image_size,
            parameters.image_size >= SMALLEST_PICTURE,
            f"at least {SMALLEST_PICTURE} pixels",
        ),
        ("pictures", parameters.pictures, parameters.pictures >= 0, "0 or more"),
        ("n_jobs", n_jobs, n_jobs == -1 or n_jobs >= 1, "-1 or at least 1"),
    ]
    for name, value, possible, expected in limits:
        if not possible:
            raise ConfigError(f"{name} is {value}", expected, f"change --{name}")


def _claim(root: Path, parameters: Parameters) -> None:
    """Leave the parameters in the folder, or find the same ones there.

    Raises:
        ConfigError: If the folder holds something else, or was made with other parameters.
    """
    wanted = {"format": FORMAT, **asdict(parameters)}
    found = _recorded(root)
    if found is None:
        write_json(root / RECORD, wanted)
        return
    differing = sorted(name for name, value in wanted.items() if found.get(name) != value)
    if differing:
        there = ", ".join(f"{name} {found.get(name)}" for name in differing)
        here = ", ".join(f"{name} {wanted[name]}" for name in differing)
        raise ConfigError(
            f"{root} was simulated with {there}", here, "choose another folder or delete this one"
        )


def _recorded(root: Path) -> dict[str, Any] | None:
    """Parameters of the data set in a folder; None where the folder is absent or empty."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file", "a folder", "choose another output")
    if (root / RECORD).is_file():
        content: dict[str, Any] = json.loads((root / RECORD).read_text(encoding="utf-8"))
        return content
    # a process killed at its very start leaves nothing but a partial file
    strange = (p for p in root.rglob("*") if p.is_file() and ".partial" not in p.name)
    first = next(strange, None)
    if first is not None:
        raise ConfigError(
            f"{root} holds {first.relative_to(root)} and no {RECORD}",
            "an empty folder or one begun by this command",
            "choose another output",
        )
    return None


def _write_texts(root: Path, parameters: Parameters) -> None:
    """Descriptions and tables of the whole data set."""
    describe = sidecars.dataset_description
    write_json(root / "dataset_description.json", describe("Simulated picture viewing", "raw"))
    write_text(root / "README", sidecars.README)
    write_json(root / "participants.json", sidecars.PARTICIPANTS)
    write_json(root / "task-pictures_events.json", sidecars.EVENTS)
    write_json(root / "stimuli/stimuli.json", sidecars.STIMULUS_COLUMNS)
    write_text(root / "stimuli/stimuli.tsv", sidecars.stimulus_table(_pictures(parameters)))
    for name, text in sidecars.DERIVATIVES.items():
        folder = root / "derivatives" / name
        content = {**describe(text, "derivative"), "SourceDatasets": [{"URL": "../../"}]}
        write_json(folder / "dataset_description.json", content)
        write_text(folder / "README", text + "\n")
    motion = root / "derivatives/motion"
    write_json(motion / "desc-confounds_timeseries.json", sidecars.MOTION_COLUMNS)
    # named as fMRIPrep names them; the standard has no name for confounds yet
    write_text(motion / ".bidsignore", "*desc-confounds_timeseries.*\n")
    _write_masks(root, parameters)


def _write_masks(root: Path, parameters: Parameters) -> None:
    """Masks of every subject, and the table of participants that counts their voxels."""
    rows = []
    for subject in range(1, parameters.subjects + 1):
        name = f"sub-{subject:02d}"
        anatomy = draw_anatomy(subject, parameters.seed)
        masks = {f"label-{area}": anatomy.members(area) for area in AREAS}
        masks |= {"label-VC": anatomy.visual, "desc-brain": anatomy.brain}
        for entity, mask in masks.items():
            path = root / "derivatives/rois" / name / "anat" / f"{name}_{entity}_mask.nii.gz"
            write_nifti(path, anatomy.grid(mask.astype(np.uint8)).T, anatomy.affine)
            write_json(_sibling(path, ".json"), sidecars.mask_sidecar(entity))
        rows.append((name, str(int(anatomy.visual.sum()))))
    write_text(root / "participants.tsv", sidecars.table(sidecars.PARTICIPANTS, rows))


def _jobs(root: Path, parameters: Parameters) -> Iterator[Callable[[], None]]:
    """Independent pieces of work, those of one subject after another."""
    shown = _pictures(parameters)
    for subject in range(1, parameters.subjects + 1):
        for run in make_runs(subject, shown, parameters.test_repeats, parameters.seed):
            yield partial(_write_run, root, parameters, run)
    for start in range(0, len(shown), STIMULI_PER_JOB):
        yield partial(_write_stimuli, root, parameters, start)
    for index in range(len(CLASS_NAMES)):
        yield partial(_write_class, root, parameters, index)


@lru_cache(maxsize=1)
def _pictures(parameters: Parameters) -> list[Picture]:
    return make_pictures(parameters.trials, parameters.seed)


@lru_cache(maxsize=1)
def _observer(parameters: Parameters, subject: int) -> Observer:
    """The subject whose runs this process is writing, kept from one run to the next."""
    return make_observer(subject, _pictures(parameters), parameters.snr, parameters.seed)


def _write_run(root: Path, parameters: Parameters, run: Run) -> None:
    """A run's image, sidecar, events and confounds; the image last, so that it marks the end."""
    image = root / run.folder / f"{run.name}_bold.nii.gz"
    if image.exists():
        return
    # one thread: sums in another order could round one stored integer differently
    with threadpool_limits(1):
        observer = _observer(parameters, run.subject)
        recording = record(observer, run)
    write_json(_sibling(image, ".json"), sidecars.bold_sidecar(run))
    if run.pictures:
        events = sidecars.events_table(run, _pictures(parameters))
        write_text(image.with_name(f"{run.name}_events.tsv"), events)
    confounds = root / "derivatives/motion" / run.folder
    confounds /= f"{run.name}_desc-confounds_timeseries.tsv"
    displacement = framewise_displacement(recording.motion).tolist()
    write_text(confounds, sidecars.motion_table(recording.motion.tolist(), displacement))
    affine = observer.anatomy.affine
    write_nifti(image, recording.volumes, affine, repetition_time=TR, step=INTENSITY_STEP)


def _sibling(path: Path, suffix: str) -> Path:
    """The file of the same name with another ending."""
    return path.with_name(path.name.split(".")[0] + suffix)


def _write_stimuli(root: Path, parameters: Parameters, start: int) -> None:
    """Some of the pictures that are shown."""
    for picture in _pictures(parameters)[start : start + STIMULI_PER_JOB]:
        _write_picture(root / "stimuli" / picture.file, picture.scene, parameters.image_size)


def _write_class(root: Path, parameters: Parameters, index: int) -> None:
    """The pictures of one class that nobody is shown."""
    name = CLASS_NAMES[index]
    extra = index < parameters.pictures % len(CLASS_NAMES)
    folder = root / "sourcedata/pictures" / name.replace(" ", "_")
    for number in range(1, parameters.pictures // len(CLASS_NAMES) + extra + 1):
        rng = numpy_generator(parameters.seed, "unseen picture", name, number)
        scene = sample_scene(*split_class(name), rng)
        _write_picture(folder / f"{number:04d}.png", scene, parameters.image_size)


def _write_picture(path: Path, scene: Scene, size: int) -> None:
    """Render a picture to a PNG file unless it is there."""
    if path.exists():
        return
    with atomic_path(path) as unfinished:
        Image.fromarray(render(scene, size)).save(unfinished, format="PNG")
