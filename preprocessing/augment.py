"""`mindvis prepare augment`: responses of one subject to many more pictures, by a linear model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindvis.console import say
from mindvis.data.collection import from_arrays, from_folder
from mindvis.data.schema import StimulusData, SubjectData
from mindvis.data.store import VoxelStore
from mindvis.data.writer import write_store
from mindvis.errors import ConfigError, SourceError
from mindvis.seeding import numpy_generator
from preprocessing.encoding import EncodingModel, Float, PictureBasis
from preprocessing.write import store_attributes

FOLDS = 10
PREFIX = "simulated"


def prepare_augment(
    source: str,
    pictures: str,
    store: str,
    subject: str = "sub-01",
    components: int = 24,
    blur: float = 0.0,
    voxels: int = 600,
    alpha: float = 1.0,
    shrinkage: float = 0.6,
    noise: float = 4.0,
    draws: int = 1,
    project: bool = False,
    seed: int = 0,
) -> None:
    """Add simulated training trials to a subject whose measured ones are few.

    A ridge regression from principal components of pictures to voxels is fitted on the training
    trials alone; it gives responses to other pictures, with noise drawn from what it leaves
    unexplained. Test trials are passed on as they were measured and nothing is fitted to them.

    Args:
        source: The store of the measured responses.
        pictures: Other pictures: a folder of class folders, or an .npz of `images` and `labels`.
        store: File to write.
        subject: Whose trials.
        components: Principal components of the pictures.
        blur: Standard deviation in pixels of the Gaussian that the regression sees pictures
            through; the size of a receptive field.
        voxels: Voxels to keep, those that the regression predicts best.
        alpha: Ridge penalty, in units of the mean squared norm of the components.
        shrinkage: Share of the noise that is independent between voxels, above 0, at most 1.
        noise: Factor of the noise's variance.
        draws: Simulated trials of each picture.
        project: Store what the regression infers of the components instead of voxels; measured
            training trials are projected by regressions that left them out.
        seed: Of the noise.

    Raises:
        MindVisError: The store has too few pictures or no such subject, or an option is senseless.
    """
    options = {name: value for name, value in locals().items() if name != "store"}
    if min(components, voxels, draws) < 1 or blur < 0 or not 0 < shrinkage <= 1:
        raise ConfigError(
            f"components {components}, voxels {voxels}, draws {draws}, blur {blur}, "
            f"shrinkage {shrinkage}",
            "counts of 1 or more, a blur of 0 or more, a shrinkage above 0, at most 1",
        )
    recipe = Recipe(voxels, alpha, shrinkage, noise)
    with VoxelStore(source) as opened:
        measured = read_measured(opened, subject)
        other = read_pictures(pictures, measured.images.shape[1])
        attrs = opened.attrs
    basis = PictureBasis.fit(other.images, components, blur)
    model = recipe.fit(basis, measured, measured.train)
    simulated = simulate(model, basis(other.images), draws, seed)
    real = model.standardised(measured.responses)
    if project:
        simulated = model.infer(simulated, basis.deviation)
        real = project_measured(recipe, model, basis, measured)
    facts = {name: attrs.get(name, "") for name in ("dataset", "licence", "citation")}
    write_store(
        store,
        [(subject, joined_subject(measured, other, real, simulated))],
        joined_stimuli(measured, other),
        store_attributes(facts, options, [Path(source), *other.inputs]),
    )
    what = f"{real.shape[1]} {'components' if project else 'voxels'}"
    say(f"{subject}: {len(real)} measured and {len(simulated)} simulated trials of {what}")


@dataclass(frozen=True)
class Recipe:
    """Options of the regression; see `EncodingModel.fit`."""

    voxels: int
    alpha: float
    shrinkage: float
    noise: float

    def fit(
        self, basis: PictureBasis, measured: "Measured", rows: NDArray[np.intp]
    ) -> EncodingModel:
        """The regression on some of the measured trials."""
        shown = basis(measured.images[rows])
        return EncodingModel.fit(
            shown, measured.responses[rows], self.voxels, self.alpha, self.shrinkage, self.noise
        )


@dataclass(frozen=True)
class Measured:
    """The task trials of one subject.

    Args:
        responses: (n, voxels).
        trials: Of the store, (n,) rows.
        images: uint8 (n, H, W, 3), the picture of each trial.
        ids, labels, categories: Of the picture of each trial.
    """

    responses: NDArray[np.float32]
    trials: pd.DataFrame
    images: NDArray[np.uint8]
    ids: list[str]
    labels: list[str]
    categories: list[str]

    @property
    def train(self) -> NDArray[np.intp]:
        """Rows of the training trials."""
        return np.flatnonzero(self.trials["split"] == "train")


@dataclass(frozen=True)
class OtherPictures:
    """Pictures that nobody was shown: uint8 (m, H, W, 3), ids, classes, and their files."""

    images: NDArray[np.uint8]
    ids: list[str]
    labels: list[str]
    inputs: list[Path]


def read_measured(store: VoxelStore, subject: str) -> Measured:
    """The task trials of a subject and their pictures.

    Raises:
        SourceError: There are no pictures, or fewer than three training trials.
    """
    if store.stimuli is None:
        raise SourceError(f"{store.path} holds no pictures", "the pictures that were shown")
    stored = store[subject]
    trials = stored.trials[stored.trials["kind"] == "task"]
    count = int((trials["split"] == "train").sum())
    if count < 3:
        raise SourceError(
            f"subject {subject} in {store.path} has {count} training trials",
            "3 or more, to fit a regression",
        )
    rows = store.stimuli.index(trials["stimulus"])
    columns = (store.stimuli.ids, store.stimuli.labels, store.stimuli.categories)
    ids, labels, categories = ([column[row] for row in rows] for column in columns)
    return Measured(
        stored.responses(trials.index.to_numpy()),
        trials.reset_index(drop=True),
        store.stimuli.images(rows),
        ids,
        labels,
        categories,
    )


def read_pictures(path: str, size: int) -> OtherPictures:
    """Pictures of a folder or of an .npz file, at the size of those that were shown."""
    found = (from_arrays if Path(path).suffix == ".npz" else from_folder)(path, size)
    rows = np.arange(len(found.names))
    ids = [f"{PREFIX}-{row:06d}" for row in rows]
    return OtherPictures(found.read(rows), ids, list(found.labels), list(found.inputs))


def simulate(model: EncodingModel, components: Float, draws: int, seed: int) -> Float:
    """Responses to pictures, all pictures once for each draw."""
    generators = (numpy_generator(seed, "augment", draw) for draw in range(draws))
    return np.concatenate([model.simulate(components, rng) for rng in generators])


def project_measured(
    recipe: Recipe, model: EncodingModel, basis: PictureBasis, measured: Measured
) -> Float:
    """Components inferred from measured responses, each training trial's by a model without it.

    A model infers the components of its own training trials too well; what is learnt from those
    would not hold for others.
    """
    inferred = model.infer(model.standardised(measured.responses), basis.deviation)
    for fold in range(FOLDS):
        left = measured.train[fold::FOLDS]
        if not len(left):
            continue
        part = recipe.fit(basis, measured, np.setdiff1d(measured.train, left))
        own = part.standardised(measured.responses[left])
        inferred[left] = part.infer(own, basis.deviation)
    return inferred


def joined_subject(
    measured: Measured, other: OtherPictures, real: Float, simulated: Float
) -> SubjectData:
    """Measured trials, then simulated ones, each of these in a run for each draw."""
    draws = len(simulated) // len(other.ids)
    run = np.repeat(np.arange(draws), len(other.ids)) + 1
    last = int(measured.trials["run"].max())
    added = pd.DataFrame({"stimulus": other.ids * draws, "condition": other.labels * draws})
    added = added.assign(
        split="train", session=1, run=last + run, repeat=run - 1, onset=0.0, kind="task"
    )
    responses = np.concatenate([real, simulated]).astype(np.float32)
    width = responses.shape[1]
    return SubjectData(
        responses=responses,
        trials=pd.concat([measured.trials, added], ignore_index=True),
        ijk=np.stack([np.arange(width), *np.zeros((2, width))], axis=1).astype(np.int32),
        affine=np.eye(4),
        shape=(width, 1, 1),
        units="z",
    )


def joined_stimuli(measured: Measured, other: OtherPictures) -> StimulusData:
    """Pictures that were shown, each once, and the others."""
    first = sorted({name: row for row, name in reversed(list(enumerate(measured.ids)))}.values())
    return StimulusData(
        np.concatenate([measured.images[first], other.images]),
        [measured.ids[row] for row in first] + other.ids,
        [measured.labels[row] for row in first] + other.labels,
        [measured.categories[row] for row in first] + other.labels,
    )
