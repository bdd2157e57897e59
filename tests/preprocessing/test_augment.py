"""Simulated trials of a planted linear code: its noise, what is inferred, and test trials alone."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.errors import ConfigError, SourceError
from preprocessing.augment import prepare_augment
from preprocessing.encoding import EncodingModel, PictureBasis, grey


@pytest.fixture
def pictures(rng):
    """uint8 (50, 5, 6, 3) of three patterns in random strengths."""
    patterns, strengths = rng.normal(size=(3, 30)), rng.normal(size=(50, 3)) * [3, 2, 1]
    flat = 128 + 12 * strengths @ patterns
    return np.repeat(flat.clip(0, 255).reshape(50, 5, 6, 1), 3, axis=-1).astype(np.uint8)


@pytest.fixture
def model(rng):
    """A model of 7 of 11 voxels, 4 of which say nothing; 3 components, 40 trials."""
    components = rng.normal(size=(40, 3))
    weights = rng.normal(size=(3, 11)) * (np.arange(11) < 7)
    mixed = rng.normal(size=(11, 11))
    responses = 5 + 2 * (components @ weights + 0.2 * rng.normal(size=(40, 11)) @ mixed)
    return EncodingModel.fit(components, responses.astype(np.float32), 7, alpha=0.01, shrinkage=0.3)


def test_components_are_principal_ones_between_raw_and_whitened(pictures):
    basis = PictureBasis.fit(pictures, 3)
    centred = grey(pictures) - grey(pictures).mean(0)
    values = np.linalg.svd(centred, compute_uv=False)[:3] / np.sqrt(49)
    np.testing.assert_allclose(basis.deviation, values, rtol=1e-9)
    np.testing.assert_allclose(basis(pictures).var(0, ddof=1), values, rtol=1e-9)


def test_blurred_pictures_vary_less_and_keep_their_mean(pictures):
    flat = np.full((2, 5, 6, 3), 51, dtype=np.uint8)
    np.testing.assert_allclose(grey(flat, 1.5), 0.2)
    sharp, blurred = PictureBasis.fit(pictures, 3), PictureBasis.fit(pictures, 3, blur=1.0)
    assert (blurred.deviation < sharp.deviation).all()
    assert blurred(pictures).var(0, ddof=1) == pytest.approx(blurred.deviation)


def test_voxels_that_are_predicted_are_kept(model):
    assert model.voxels.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_residuals_are_of_trials_left_out(rng):
    """The closed form against a regression that is fitted without the trial."""
    components, responses = rng.normal(size=(9, 2)), rng.normal(size=(9, 4)).astype(np.float32)
    components -= components.mean(0)
    model = EncodingModel.fit(components, responses, 4, alpha=0.5)
    target = model.standardised(responses)
    penalty = 0.5 * (components**2).sum() / 9
    for left in (0, 5):
        kept = np.arange(9) != left
        gram = components[kept].T @ components[kept] + penalty * np.eye(2)
        weights = np.linalg.solve(gram, components[kept].T @ target[kept])
        expected = target[left] - components[left] @ weights
        np.testing.assert_allclose(model.residuals[left], expected, rtol=1e-6)


def covariance(model):
    """The noise's covariance, written out."""
    shared = model.residuals.T @ model.residuals / len(model.residuals)
    return model.noise * (
        (1 - model.shrinkage) * shared + model.shrinkage * np.diag(np.diag(shared))
    )


def test_simulated_noise_has_the_covariance_of_the_residuals(model, rng):
    components = np.zeros((40_000, 3)) + model.centre
    found = np.cov(model.simulate(components, rng), rowvar=False)
    expected = covariance(model)
    assert np.abs(found - expected).max() < 0.05 * np.diag(expected).max()


def test_likelihood_is_that_of_the_normal_distribution(model, rng):
    components, responses = rng.normal(size=(5, 3)), rng.normal(size=(2, 7))
    found = model.log_likelihood(responses, components)
    means = (components - model.centre) @ model.weights
    normal = [multivariate_normal(mean, covariance(model)).logpdf(responses) for mean in means]
    difference = found - np.transpose(normal)
    np.testing.assert_allclose(difference - difference[:, :1], 0, atol=1e-8)


def test_inferred_components_are_the_posterior_mean(model, rng):
    """Against conditioning the joint Gaussian of components and responses."""
    prior, responses = np.array([2.0, 1.0, 0.5]), rng.normal(size=(4, 7))
    joint = model.weights.T * prior  # covariance of responses and components
    total = joint @ model.weights + covariance(model)
    expected = np.linalg.solve(total, responses.T).T @ joint + model.centre
    np.testing.assert_allclose(model.infer(responses, prior), expected, rtol=1e-8)


@pytest.fixture
def source(tmp_path):
    """The tiny store, its pictures coded linearly, and an .npz of other pictures."""
    make_store(tmp_path / "tiny.h5")
    images = np.random.default_rng(1).integers(0, 256, (23, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "others.npz", images=images, labels=np.repeat(["a", "b"], [11, 12]))
    return tmp_path


def augment(folder, **options):
    options = {"components": 5, "voxels": 9, **options}
    others = str(folder / "others.npz")
    prepare_augment(str(folder / "tiny.h5"), others, str(folder / "more.h5"), **options)
    return VoxelStore(folder / "more.h5")


@pytest.mark.parametrize(("project", "width"), [(False, 9), (True, 5)])
def test_measured_trials_stay_and_simulated_ones_train(source, project, width):
    before = VoxelStore(source / "tiny.h5")["sub-01"].trials
    before = before[before["kind"] == "task"].reset_index(drop=True)
    with augment(source, project=project, draws=2) as store:
        subject = store["sub-01"]
        trials, responses = subject.trials, subject.responses()
        added = trials.iloc[len(before) :]
        pd.testing.assert_frame_equal(trials.iloc[: len(before)], before)
        assert responses.shape == (len(before) + 2 * 23, width)
        assert set(added["split"]) == {"train"}
        assert added["stimulus"].nunique() == 23
        labels = np.array(store.stimuli.labels)[store.stimuli.index(added["stimulus"][:23])]
        assert labels.tolist() == ["a"] * 11 + ["b"] * 12
        draws = responses[len(before) :].reshape(2, 23, width)
        assert np.abs(draws[0] - draws[1]).mean() > 0.01


@pytest.mark.parametrize("project", [False, True])
def test_test_trials_change_nothing_else(source, project):
    """Other responses in test leave all training trials as they were."""
    with augment(source, project=project) as store:
        subject = store["sub-01"]
        train = (subject.trials["split"] == "train").to_numpy()
        first = subject.responses()
    with VoxelStore(source / "tiny.h5") as store:
        own = store["sub-01"]
        responses = own.responses()
        responses[(own.trials["split"] == "test").to_numpy()] += 7
        data = SubjectData(responses, own.trials, own.ijk, own.affine, own.shape)
        write_store(source / "tiny.h5", [("sub-01", data)], None, {})
    with augment(source, project=project) as store:
        second = store["sub-01"].responses()
    np.testing.assert_array_equal(first[train], second[train])
    assert np.abs(first[~train] - second[~train]).max() > 0.1


def test_projected_training_trials_are_inferred_without_themselves(source):
    """A model's own trials would be inferred too well."""
    with augment(source, project=True) as store, VoxelStore(source / "tiny.h5") as tiny:
        trials = store["sub-01"].trials
        measured = trials.index[~trials["stimulus"].str.startswith("simulated")].to_numpy()
        train = measured[(trials["split"] == "train").to_numpy()[measured]]
        images = tiny.stimuli.images(tiny.stimuli.index(trials["stimulus"][train]))
        others = np.load(source / "others.npz")["images"]
        basis = PictureBasis.fit(np.repeat(others[..., None], 3, axis=-1), 5)
        rows = np.flatnonzero((tiny["sub-01"].trials["split"] == "train").to_numpy())
        task = tiny["sub-01"].trials["kind"].to_numpy()[rows] == "task"
        responses = tiny["sub-01"].responses(rows[task])
        model = EncodingModel.fit(basis(images), responses, 9)
        own = model.infer(model.standardised(responses), basis.deviation)
        stored = store["sub-01"].responses(train)
    left, kept = np.arange(0, len(train), 10), np.arange(len(train)) % 10 > 0
    part = EncodingModel.fit(basis(images)[kept], responses[kept], 9)
    expected = part.infer(part.standardised(responses[left]), basis.deviation)
    np.testing.assert_allclose(stored[left], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(stored[left] - own[left]).max() > 1e-3


def test_same_seed_same_bytes(source):
    augment(source, seed=3).close()
    first = (source / "more.h5").read_bytes()
    (source / "more.h5").unlink()
    augment(source, seed=3).close()
    assert (source / "more.h5").read_bytes() == first
    augment(source, seed=4).close()
    assert (source / "more.h5").read_bytes() != first


def test_senseless_options_are_refused(source):
    with pytest.raises(ConfigError, match=r"shrinkage 0\.0.*above 0, at most 1"):
        augment(source, shrinkage=0.0)
    with pytest.raises(ConfigError, match="counts of 1 or more"):
        augment(source, draws=0)


def test_too_few_trials_are_refused(source):
    with VoxelStore(source / "tiny.h5") as store:
        own = store["sub-01"]
        rows = np.r_[np.flatnonzero(own.trials["split"] == "train")[:2], -1]
        data = SubjectData(
            own.responses(rows % own.num_trials),
            own.trials.iloc[rows].reset_index(drop=True),
            own.ijk,
            own.affine,
            own.shape,
        )
        write_store(source / "tiny.h5", [("sub-01", data)], None, {})
    with pytest.raises(SourceError, match=r"sub-01 in .* has 2 training trials.*3 or more"):
        augment(source)
