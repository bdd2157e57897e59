"""The ridge baseline learns from training stimuli alone, on the voxels that the model reads."""

import numpy as np
import pytest
import torch

from mindvis.data.store import VoxelStore
from mindvis.data.transforms import Moments, Preprocessing, fit_transform
from mindvis.decoding.baseline import BaselineUnavailableError, train_and_test, voxel_columns
from mindvis.decoding.baseline import ridge_pictures as paint
from mindvis.metrics import functional as M


@pytest.fixture
def opened(store):
    with VoxelStore(store) as found:
        yield found


def ridge_pictures(opened, *choice, **options):
    return paint(opened, train_and_test(opened, *choice, **options))


def ids(opened, prefix):
    return [name for name in opened.stimuli.ids if name.startswith(prefix)]


def test_pictures_come_in_the_order_that_was_asked_for(opened):
    shown = ids(opened, "test")
    there = ridge_pictures(opened, "sub-01", shown).pictures
    back = ridge_pictures(opened, "sub-01", shown[::-1]).pictures
    np.testing.assert_array_equal(there, back[::-1])
    truth = opened.stimuli.images(opened.stimuli.index(shown))
    likeness = M.pixel_correlation_matrix(
        *(M.unit_range(torch.from_numpy(x)) for x in (there, truth))
    )
    assert M.two_way_identification(likeness).mean() > 0.75


def test_decoded_stimuli_are_never_learned_from(opened):
    train = ids(opened, "train")
    half = ridge_pictures(opened, "sub-01", train[::2], split="train")
    assert half.pictures.shape == (20, 16, 16, 3)
    with pytest.raises(BaselineUnavailableError, match="lacks training stimuli of subject sub-01"):
        ridge_pictures(opened, "sub-01", train, split="train")


def test_a_single_trial_says_less_than_the_mean_of_repeats(opened):
    shown = ids(opened, "test")
    truth = M.unit_range(torch.from_numpy(opened.stimuli.images(opened.stimuli.index(shown))))

    def error(single):
        painted = ridge_pictures(opened, "sub-02", shown, single=single).pictures
        return M.mse(M.unit_range(torch.from_numpy(painted)), truth).mean()

    assert error(single=True) > error(single=False)


def test_missing_responses_and_subjects_are_reasons(opened):
    with pytest.raises(BaselineUnavailableError, match="lacks responses to 1 stimuli"):
        ridge_pictures(opened, "sub-01", ["test-000", "elsewhere"])
    with pytest.raises(BaselineUnavailableError, match="no pictures for subject sub-07"):
        ridge_pictures(opened, "sub-07", ["test-000"])


def test_voxels_are_those_of_the_model(opened, tmp_path):
    subject = opened["sub-01"]
    kept = np.flatnonzero(subject.roi_mask("V4"))
    transform = fit_transform(Moments([subject.responses()]), kept[::-1], padding="wrap")
    Preprocessing(16, transform.length, {"sub-01": transform}).save(tmp_path)
    np.testing.assert_array_equal(voxel_columns(subject, tmp_path), kept)
    everything = np.arange(70)
    np.testing.assert_array_equal(voxel_columns(subject, tmp_path / "gone"), everything)
    np.testing.assert_array_equal(voxel_columns(subject, None), everything)
    np.testing.assert_array_equal(voxel_columns(opened["sub-02"], tmp_path), np.arange(93))
