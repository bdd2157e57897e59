"""The information that the default observer holds, read the way a user would read it."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from mindvis.simulation.anatomy import AREAS
from mindvis.simulation.design import TR, Run, make_pictures, make_runs, reference_scenes
from mindvis.simulation.observer import INTENSITY_STEP, draw_anatomy, make_observer, record
from mindvis.simulation.stimuli import sample_scene, unseen_classes
from mindvis.simulation.tuning import make_tuning, responses

TRIALS, REPEATS, SNR, SEED = 960, 8, 0.55, 0


@pytest.fixture(scope="module")
def pictures():
    return make_pictures(TRIALS, SEED)


@pytest.fixture(scope="module")
def observer(pictures):
    return make_observer(1, pictures, SNR, SEED)


def visual_series(observer, run):
    """Intensities of the visual voxels, high-passed at 128 s and z-scored (time, V)."""
    i, j, k = observer.anatomy.ijk[observer.anatomy.visual].T
    series = record(observer, run).volumes[:, k, j, i] * INTENSITY_STEP
    time = np.arange(len(series))
    count = int(2 * len(series) * TR / 128)
    cosines = np.cos(np.pi * np.outer(2 * time + 1, np.arange(count + 1)) / (2 * len(series)))
    series = series - cosines @ np.linalg.lstsq(cosines, series, rcond=None)[0]
    return series / series.std(0)


@pytest.fixture(scope="module")
def trials(observer, pictures):
    """Mean of the volumes 4 to 8 s after each onset, and the picture of each trial."""
    averages, shown = [], []
    for run in make_runs(1, pictures, REPEATS, SEED):
        if run.task == "pictures":
            series = visual_series(observer, run)
            first = np.round(np.array(run.onsets) / TR).astype(int)
            averages.append(np.mean([series[first + lag] for lag in (2, 3, 4)], 0))
            shown += run.pictures
    return np.concatenate(averages), np.array(shown)


@pytest.fixture(scope="module")
def tested(trials, pictures):
    """Test responses (64, repeats, V) in the order of the test pictures."""
    responses, shown = trials
    return np.stack([responses[shown == index] for index in range(TRIALS, len(pictures))])


def test_explainable_variance_of_a_single_trial_is_honest(tested):
    within = tested.var(1, ddof=1).mean(0)
    between = tested.mean(1).var(0, ddof=1) - within / tested.shape[1]
    assert 0.15 < np.median(between / (between + within)) < 0.3


def test_shape_and_colour_are_decodable_also_in_unseen_combinations(trials, tested, pictures):
    responses, shown = trials
    train = shown < TRIALS
    scale = responses[train].std(0)
    unseen = np.array([p.label in unseen_classes() for p in pictures[TRIALS:]])
    assert unseen.sum() == 16
    for part in ("shape", "colour"):
        truth = np.array([getattr(p.scene, part) for p in pictures])
        model = RidgeClassifier(3000).fit(responses[train] / scale, truth[shown[train]])
        right = model.predict(tested.mean(1) / scale) == truth[TRIALS:]
        assert right.mean() >= 0.9
        assert right[unseen].mean() >= 0.85


def test_position_and_size_are_decodable(trials, tested, pictures):
    responses, shown = trials
    train = shown < TRIALS
    scale = responses[train].std(0)
    truth = np.array([(p.scene.x, p.scene.y, p.scene.size) for p in pictures])
    model = Ridge(3000).fit(responses[train] / scale, truth[shown[train]])
    guess = model.predict(tested.mean(1) / scale)
    correlations = [np.corrcoef(guess[:, i], truth[TRIALS:, i])[0, 1] for i in range(3)]
    assert min(correlations) > 0.6


def test_shuffled_labels_cannot_be_decoded(trials, tested, pictures):
    responses, shown = trials
    train = shown < TRIALS
    truth = np.array([p.scene.shape for p in pictures])
    wrong = np.random.default_rng(0).permutation(truth[shown[train]])
    model = RidgeClassifier(3000).fit(responses[train], wrong)
    assert (model.predict(tested.mean(1)) == truth[TRIALS:]).mean() < 0.35


def test_rest_correlations_follow_the_tuning(observer):
    """Voxels that answer alike to pictures also rise and fall together at rest."""
    rest = Run(1, 1, "rest", 1, (), 240)
    at_rest = np.corrcoef(visual_series(observer, rest).T)
    to_pictures = np.corrcoef(observer.responses.T)
    ijk = observer.anatomy.ijk[observer.anatomy.visual]
    pairs = np.random.default_rng(0).integers(0, len(ijk), (20_000, 2))
    # neighbours share noise: leave them out
    distant = np.linalg.norm(ijk[pairs[:, 0]] - ijk[pairs[:, 1]], axis=1) > 6
    i, j = pairs[distant].T
    assert np.corrcoef(at_rest[i, j], to_pictures[i, j])[0, 1] > 0.4


def test_neighbours_answer_alike(observer):
    anatomy = observer.anatomy
    ijk = anatomy.ijk[anatomy.visual]
    correlation = np.corrcoef(observer.responses.T)
    distance = np.linalg.norm(ijk[:, None] - ijk, axis=-1)
    same = anatomy.area[anatomy.visual]
    same = same[:, None] == same
    assert correlation[same & (distance == 1)].mean() > 0.5
    assert abs(correlation[distance > 8].mean()) < 0.15


def test_responses_have_the_snr_that_was_asked_for(observer):
    assert np.median(observer.responses.std(0)) == pytest.approx(SNR, rel=0.1)


def test_the_left_of_the_picture_drives_the_right_hemisphere():
    anatomy = draw_anatomy(2, SEED)
    tuning = make_tuning(anatomy, np.random.default_rng(0))
    scene = sample_scene("circle", "white", np.random.default_rng(1))
    plain = replace(
        scene, ends=((0.3, 0.3, 0.3), (0.3, 0.3, 0.3)), texture="plain", size=0.3, y=0.5
    )
    shown = [replace(plain, x=0.2), replace(plain, x=0.8)]
    left, right = responses(tuning, shown, reference_scenes(SEED))
    early = anatomy.area[anatomy.visual] == AREAS.index("V1")
    right_side = anatomy.hemisphere[anatomy.visual] > 0
    difference = left - right
    assert difference[early & right_side].mean() > 0.3
    assert difference[early & ~right_side].mean() < -0.3


def test_a_recording_is_a_pure_function_and_runs_differ(observer, pictures):
    short = Run(1, 1, "pictures", 1, (3, 5), 15)
    first, again = record(observer, short), record(observer, short)
    np.testing.assert_array_equal(first.volumes, again.volumes)
    assert not np.array_equal(first.volumes, record(observer, replace(short, number=2)).volumes)
    assert first.volumes.dtype == np.int16
    assert first.volumes.shape == (15, *observer.anatomy.shape[::-1])
    brain = observer.anatomy.grid(observer.anatomy.brain).T
    mean = first.volumes.mean(0) * INTENSITY_STEP
    assert mean[brain].mean() > 3 * mean[~brain].mean()


def test_another_seed_is_another_subject(observer, pictures):
    short = Run(1, 1, "rest", 1, (), 3)
    other = replace(observer, seed=1)
    assert not np.array_equal(record(observer, short).volumes, record(other, short).volumes)
