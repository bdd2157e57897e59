"""The experiment: which picture is shown when, in which session and run."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mindvis.errors import ConfigError
from mindvis.seeding import numpy_generator
from mindvis.simulation.stimuli import (
    CLASS_NAMES,
    COLOURS,
    SHAPES,
    Scene,
    sample_scene,
    split_class,
    unseen_classes,
)

TR = 2.0  # s
SPACING = 6.0  # s from one onset to the next
DURATION = 3.0  # s that a picture is shown
LEAD, TAIL = 6.0, 12.0  # s of blank screen before the first and after the last spacing
SESSIONS = 2
TRAIN_TRIALS_PER_RUN = 80
REST_DURATION = 480.0  # s

Task = Literal["pictures", "rest"]


@dataclass(frozen=True)
class Picture:
    """A picture of the experiment; `file` is relative to the data set's folder `stimuli`."""

    file: str
    scene: Scene
    label: str
    category: str
    split: Literal["train", "test"]


@dataclass(frozen=True)
class Run:
    """One run of one subject.

    Attributes:
        subject: Number of the subject, from 1.
        session: Number of the session, from 1.
        task: What the subject does.
        number: Number of the run among those of its task and session, from 1.
        pictures: Index of each trial's picture, in order; empty at rest.
        volumes: Number of volumes.
    """

    subject: int
    session: int
    task: Task
    number: int
    pictures: tuple[int, ...]
    volumes: int

    @property
    def name(self) -> str:
        """The BIDS entities that tell this run from others."""
        subject, session = f"sub-{self.subject:02d}", f"ses-{self.session:02d}"
        return f"{subject}_{session}_task-{self.task}_run-{self.number}"

    @property
    def folder(self) -> str:
        """The folder of its files within the data set."""
        return f"sub-{self.subject:02d}/ses-{self.session:02d}/func"

    @property
    def onsets(self) -> list[float]:
        """Onset of each trial in seconds."""
        return [LEAD + SPACING * trial for trial in range(len(self.pictures))]


def make_pictures(trials: int, seed: int) -> list[Picture]:
    """The pictures that every subject sees: `trials` for training, then one a class for testing.

    Training pictures come from the 48 seen classes in turn; test pictures from all 64.
    """
    seen = [name for name in CLASS_NAMES if name not in unseen_classes()]
    order = numpy_generator(seed, "training classes").permutation(len(seen))
    shown = [seen[order[trial % len(seen)]] for trial in range(trials)]
    counts: dict[str, int] = {}
    pictures = []
    for name in shown:
        counts[name] = counts.get(name, 0) + 1
        pictures.append(make_picture(name, "train", counts[name], seed))
    return pictures + [make_picture(name, "test", 1, seed) for name in CLASS_NAMES]


def make_picture(name: str, split: Literal["train", "test"], number: int, seed: int) -> Picture:
    """Draw one picture of a class, the same whatever else is drawn."""
    shape, colour = split_class(name)
    scene = sample_scene(shape, colour, numpy_generator(seed, "picture", split, name, number))
    file = f"{split}/{split}_{name.replace(' ', '_')}_{number:03d}.png"
    return Picture(file=file, scene=scene, label=name, category=shape, split=split)


def reference_scenes(seed: int, repeats: int = 4) -> list[Scene]:
    """Scenes of all classes, shown to nobody, that set the mean and scale of responses."""
    rng = numpy_generator(seed, "reference scenes")
    return [
        sample_scene(shape, colour, rng)
        for _ in range(repeats)
        for shape in SHAPES
        for colour in COLOURS
    ]


def make_runs(subject: int, pictures: list[Picture], test_repeats: int, seed: int) -> list[Run]:
    """All runs of a subject: training, test and rest, spread evenly over the sessions.

    Every training picture is shown once. A test run shows each test picture once.

    Raises:
        ConfigError: If there is nothing to show.
    """
    train = [i for i, picture in enumerate(pictures) if picture.split == "train"]
    test = [i for i, picture in enumerate(pictures) if picture.split == "test"]
    if not train or test_repeats < 1:
        raise ConfigError(
            f"the experiment has {len(train)} training trials and {test_repeats} test repeats",
            "at least one of each",
            "raise --trials or --test_repeats",
        )
    rng = numpy_generator(seed, "order", subject)
    order = rng.permutation(train)
    chunks = np.array_split(order, -(-len(order) // TRAIN_TRIALS_PER_RUN))
    blocks = [*chunks, *(rng.permutation(test) for _ in range(test_repeats))]
    # test runs between training runs, so that both sessions have some of both
    places = np.argsort(
        np.concatenate([np.linspace(0, 1, len(chunks)), np.linspace(0.01, 1.01, test_repeats)]),
        kind="stable",
    )
    runs = []
    for session, members in enumerate(np.array_split(places, SESSIONS), start=1):
        for number, place in enumerate(members, start=1):
            shown = tuple(int(index) for index in blocks[place])
            runs.append(Run(subject, session, "pictures", number, shown, num_volumes(len(shown))))
        runs.append(Run(subject, session, "rest", 1, (), round(REST_DURATION / TR)))
    return runs


def num_volumes(trials: int) -> int:
    """Volumes of a run of so many trials."""
    return round((LEAD + SPACING * trials + TAIL) / TR)
