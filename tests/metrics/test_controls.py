"""The ridge baseline against plain scikit-learn, on planted signal, and on published numbers."""

from importlib.metadata import version

import numpy as np
import pytest
import scipy.io
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

from mindvis.metrics import controls
from mindvis.metrics import functional as M
from mindvis.metrics.controls import ALPHAS, fit_himalaya, fit_sklearn, folds, ridge_baseline


@pytest.fixture
def planted(rng):
    """Responses that are a linear code of 40 pictures plus noise; 90 voxels, one constant."""
    images = np.kron(rng.integers(0, 256, (52, 3, 4, 3)), np.ones((1, 3, 3, 1))).astype(np.uint8)
    flat = images.reshape(52, -1) / 255
    responses = flat @ rng.normal(size=(flat.shape[1], 90)) + 0.5 * rng.normal(size=(52, 90))
    responses[:, 7] = 3.0
    return responses.astype(np.float32), images


@pytest.fixture(params=["scikit-learn", "himalaya"])
def library(request, monkeypatch):
    """Each library in turn fits the baseline."""
    if request.param == "scikit-learn":
        monkeypatch.setattr(controls, "find_spec", lambda name: None)
    return request.param


def chosen_by_scikit_learn(library, x, y):
    """The penalty that plain scikit-learn chooses: leave-one-out, or the folds of himalaya."""
    if library == "scikit-learn":
        return RidgeCV(alphas=ALPHAS).fit(x, y).alpha_
    return (
        RidgeCV(alphas=ALPHAS, cv=folds(len(x)), scoring="neg_mean_squared_error").fit(x, y).alpha_
    )


def test_baseline_is_scikit_learns_ridge_on_all_pixels(planted, library):
    responses, images = planted
    got = ridge_baseline(responses[:40], images[:40], responses[40:])
    scaler = StandardScaler().fit(responses[:40])
    x, y = scaler.transform(responses[:40]), images[:40].reshape(40, -1) / 255
    assert got.alpha == chosen_by_scikit_learn(library, x, y)
    assert got.chosen_by.startswith(f"{library} {version(library)}, ")
    plain = Ridge(got.alpha).fit(x, y).predict(scaler.transform(responses[40:]))
    expected = np.rint(np.clip(plain, 0, 1) * 255).reshape(12, 9, 12, 3)
    assert np.abs(got.pictures.astype(int) - expected).max() <= 1  # a rounding at one half


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
@pytest.mark.parametrize("noise", [0.3, 3.0, 30.0])
def test_himalaya_is_scikit_learn_with_the_same_folds(shape, noise, rng):
    """The penalty, and predictions to rounding: few and many voxels, clean and hopeless targets."""
    train, test = rng.normal(size=shape), rng.normal(size=(7, shape[1]))
    targets = 2 + train @ rng.normal(size=(shape[1], 4)) + noise * rng.normal(size=(shape[0], 4))
    got = fit_himalaya(train.astype(np.float32), targets, test.astype(np.float32), ALPHAS)
    assert got.alpha == chosen_by_scikit_learn("himalaya", train, targets)
    assert got.alpha in ALPHAS
    plain = Ridge(got.alpha).fit(train.astype(np.float32).astype(float), targets)
    expected = plain.predict(test.astype(np.float32).astype(float))
    np.testing.assert_allclose(got.predicted, expected, rtol=1e-7, atol=1e-7)
    own = fit_sklearn(train, targets, test, (got.alpha,))
    np.testing.assert_allclose(got.predicted, own.predicted, rtol=1e-4, atol=1e-4)


def test_himalaya_leaves_its_backend_as_it_was(rng):
    from himalaya.backend import get_backend, set_backend

    before = get_backend()
    try:
        backend = set_backend("numpy")
        fit_himalaya(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), np.ones((1, 3)), (1.0, 10.0))
        assert get_backend() is backend
    finally:
        set_backend(before)


def test_baseline_recovers_planted_pictures(planted):
    responses, images = planted
    got = ridge_baseline(responses[:40], images[:40], responses[40:]).pictures
    score = M.pixel_correlation(*(M.unit_range(torch.from_numpy(x)) for x in (got, images[40:])))
    assert score.mean() > 0.6


def test_baseline_says_when_its_penalty_is_at_the_edge(planted, rng, library):
    _, images = planted
    noise = rng.normal(size=(52, 30))
    assert ridge_baseline(noise[:40], images[:40], noise[40:], alphas=(0.1, 10.0)).at_edge


def test_baseline_of_equal_pictures_paints_that_picture(planted, library):
    responses, images = planted
    same = np.repeat(images[:1], 40, axis=0)
    got = ridge_baseline(responses[:40], same, responses[40:]).pictures
    np.testing.assert_array_equal(got, np.repeat(images[:1], 12, axis=0))


def test_large_pictures_are_predicted_small_and_enlarged(planted):
    responses, images = planted
    large = np.repeat(np.repeat(images[:40], 10, axis=1), 10, axis=2)
    assert ridge_baseline(responses[:40], large, responses[40:]).pictures.shape == (12, 90, 120, 3)


def test_baseline_gives_the_published_numbers_of_digit69(shared, library):
    data = scipy.io.loadmat(shared("data/digit69/digit69_28x28.mat"))

    def pictures(name):
        grey = data[name].reshape(-1, 28, 28).transpose(0, 2, 1)
        return np.repeat(grey[..., None], 3, axis=-1)

    got = ridge_baseline(data["fmriTrn"], pictures("stimTrn"), data["fmriTest"])
    assert got.alpha == pytest.approx(1e3)
    painted, truth = (
        M.unit_range(torch.from_numpy(x)) for x in (got.pictures, pictures("stimTest"))
    )
    assert M.pixel_correlation(painted, truth).mean() == pytest.approx(0.791, abs=5e-4)
    assert M.mse(painted, truth).mean() == pytest.approx(0.0379, abs=5e-5)
    assert M.ssim(painted, truth).mean() == pytest.approx(0.507, abs=5e-4)


def test_many_pictures_of_few_pixels_give_the_same_ridge(rng, library):
    """More pictures than pixels are decomposed along pixels: against ridge on the pixels."""
    train, test = rng.normal(size=(40, 6)), rng.normal(size=(3, 6))
    images = rng.integers(0, 256, (40, 2, 3, 3), dtype=np.uint8)
    found = ridge_baseline(train, images, test).pictures
    scale = StandardScaler().fit(train)
    x, y = scale.transform(train), images.reshape(40, -1) / 255
    model = Ridge(chosen_by_scikit_learn(library, x, y)).fit(x, y)
    expected = 255 * model.predict(scale.transform(test)).clip(0, 1).reshape(3, 2, 3, 3)
    assert np.abs(found - expected).max() <= 0.51
