import numpy as np
import pandas as pd

from preprocessing.quality import anova_quality, repeated_rows, response_quality


def test_variances_of_a_balanced_design_match_slow_sums(rng):
    values = rng.normal(size=(4, 3, 5))  # pictures, repeats, voxels
    values += 2.0 * rng.normal(size=(4, 1, 5))
    within = np.mean([values[p, :, :].var(axis=0, ddof=1) for p in range(4)], axis=0)
    between = 3 * values.mean(axis=1).var(axis=0, ddof=1)
    signal = np.maximum(between - within, 0) / 3
    found = anova_quality(values.reshape(12, 5), np.repeat(np.arange(4), 3))
    np.testing.assert_allclose(found["snr"], np.sqrt(signal / within), rtol=1e-5)
    np.testing.assert_allclose(found["noise_ceiling"], signal / (signal + within / 3), rtol=1e-5)


def test_planted_signal_to_noise_ratio_is_recovered_from_unequal_repeats(rng):
    counts = rng.integers(2, 8, 900)
    codes = np.repeat(np.arange(900), counts)
    planted = np.array([0.0, 0.5, 1.0, 3.0])
    values = rng.normal(size=(len(codes), 4)) + (rng.normal(size=(900, 4)) * planted)[codes]
    found = anova_quality(values, codes)["snr"]
    np.testing.assert_allclose(found, planted, atol=0.13)


def test_only_repeated_test_pictures_count():
    trials = pd.DataFrame(
        {
            "stimulus": ["a", "b", "a", "c", "b", "", ""],
            "split": ["test", "test", "test", "test", "train", "", "test"],
        }
    )
    assert repeated_rows(trials).tolist() == [0, 2]
    assert response_quality(np.ones((7, 3), np.float32), trials) == {}


def test_constant_voxels_have_no_signal(rng):
    found = anova_quality(np.ones((6, 2)), np.repeat(np.arange(3), 2))
    assert found["snr"].tolist() == [0, 0]
    assert found["noise_ceiling"].tolist() == [0, 0]
