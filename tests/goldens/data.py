"""Padding, standardisation, windows of rest, pairs of responses, and two data sets in small."""

import numpy as np

from mindvis.data.moments import Moments
from mindvis.data.transforms import (
    Preprocessing,
    draw_pairs,
    fit_transform,
    group_means,
    pad,
    padded_length,
)
from preprocessing.signal import window_means
from tests.goldens.registry import Rules
from tests.tolerances import EXACT, SINGLE

DATA = Rules("data")
TR, SECONDS = 0.75, 8.0  # MinD-Vis takes HCP's volumes, .72 s apart, for .75 s: windows of ten
REGIONS = ("V1", "V2", "V3", "V4")


@DATA.equals(r"pad16_out_\d+", tolerance=EXACT)
def legacy_padding(golden, name):
    values = golden[name.replace("out", "in")]
    return pad(values, padded_length(values.shape[-1], 16, "legacy"), "legacy")


for count in (1, 5, 15, 16, 17, 31, 32, 37, 48):
    DATA.feeds(f"pad16_in_{count}", f"pad16_out_{count}")


@DATA.equals(r"padlen_out_\d+", tolerance=EXACT)
def wrapping_to_a_length(golden, name):
    return pad(golden["padlen_in"], int(name.rsplit("_", 1)[1]), "wrap")


DATA.feeds("padlen_in", "padlen_out_10")


# -- rest runs ------------------------------------------------------------------------------------


def standardised(rows, padding="legacy", patch_size=16):
    """By one mean and deviation of the rows themselves."""
    options = {"standardise": "global", "padding": padding, "patch_size": patch_size}
    return fit_transform(Moments([rows]), np.arange(rows.shape[1]), **options)(rows)


def windows(series):
    return window_means(series, TR, SECONDS, "share").astype(np.float32)


@DATA.equals("ts_out")
def windows_of_rest(golden, _):
    return standardised(windows(golden["ts_in"]))


@DATA.equals("normalize_out")
def one_mean_and_deviation(golden, _):
    return standardised(golden["ts_in"], padding="zero", patch_size=1)


DATA.feeds("ts_in", "ts_out")


@DATA.equals("hcp_data")
def rest_of_two_subjects(golden, _):
    """Regions side by side, windows, padding, standardisation, one subject after the other."""
    series = [
        np.concatenate([golden[f"hcp_s{number}_{region}"] for region in REGIONS], axis=1)
        for number in golden["hcp_order"]
    ]
    return np.concatenate([standardised(windows(one)) for one in series])[:, None]


DATA.feeds("hcp_order|hcp_s[12]_V[1-4]", "hcp_data")


# -- pairs of responses ---------------------------------------------------------------------------


@DATA.shows("aug_out_times2.5")
def means_of_pairs(golden, name):
    rows, pairs = golden["ts_out"], golden["aug_pairs"]
    assert draw_pairs(len(rows), 2.5, np.random.default_rng(0)).shape == pairs.shape
    added = group_means(rows[pairs.ravel()], np.full(len(pairs), 2))
    np.testing.assert_allclose(
        np.concatenate([rows, added]), golden.expected(name), atol=8 * SINGLE
    )


DATA.feeds("aug_pairs", "aug_out_times2.5")


@DATA.equals("interp_0.3")
def unequal_pair(golden, _):
    """A mean of seven times the first row and three times the second."""
    rows = golden["ts_out"]
    return group_means(rows[[0] * 7 + [1] * 3], [10]).astype(np.float64)[0]


# -- responses of two subjects --------------------------------------------------------------------


def prepared(golden):
    """ROI by mask, legacy padding, one mean and deviation after padding, wrapped to the longest."""
    subjects = {}
    for number in (1, 2):
        train, mask = golden[f"kam_s{number}_arr_0"], golden[f"kam_s{number}_VC"]
        options = {"standardise": "global", "padding": "legacy", "length": 64, "raw_test": True}
        subjects[f"sub-{number}"] = fit_transform(Moments([train]), np.flatnonzero(mask), **options)
    return Preprocessing(16, 64, subjects)


@DATA.equals("kam_(train|test)_fmri")
def responses_of_two_subjects(golden, name):
    """Test responses stay as they are stored: there they are standardised by 0 and 1."""
    split = name.split("_")[1]
    array = {"train": "arr_0", "test": "arr_2"}[split]
    preprocessing = prepared(golden)
    parts = [
        preprocessing.of(f"sub-{number}", split)(golden[f"kam_s{number}_{array}"])
        for number in (1, 2)
    ]
    return np.concatenate(parts)


@DATA.shows("kam_num_voxels")
def voxels_of_the_longest(golden, name):
    counts = [int(golden[f"kam_s{number}_VC"].sum()) for number in (1, 2)]
    assert max(padded_length(count, 16, "legacy") for count in counts) == golden[name]


DATA.feeds("kam_s[12]_(arr_0|VC)", "kam_train_fmri")
DATA.feeds("kam_s[12]_arr_2", "kam_test_fmri")
DATA.leaves_out(
    "kam_s[12]_arr_1",
    "single test trials: no other array is made from them",
)
DATA.leaves_out(
    "kam_s[12]_arr_3|kam_(train|test)_(class|naive)",
    "labels by way of two tables of text that the golden files do not hold; a store has them by id",
)
