"""Choosing, ordering, standardising and padding voxels."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mindvis.data.moments import Moments
from mindvis.data.ordering import hilbert_index, order_voxels
from mindvis.data.transforms import (
    Preprocessing,
    VoxelTransform,
    average_repeats,
    draw_pairs,
    fit_transform,
    group_means,
    pad,
    padded_length,
)
from mindvis.errors import DataError

finite = st.floats(-1e3, 1e3, width=32)


@given(st.integers(1, 200), st.integers(1, 33), st.sampled_from(["zero", "wrap", "legacy"]))
def test_padded_length_is_the_next_whole_patch(voxels, patch, padding):
    length = padded_length(voxels, patch, padding)
    assert length % patch == 0
    assert voxels <= length <= voxels + patch
    if padding == "legacy":
        assert length > voxels
    else:
        assert length - voxels < patch


@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=finite),
    st.integers(0, 50),
)
def test_padding_keeps_the_voxels_and_adds_zeros_or_a_repetition(values, extra):
    length = values.shape[1] + extra
    zeros, wrapped = pad(values, length, "zero"), pad(values, length, "wrap")
    for padded in (zeros, wrapped):
        assert padded.shape == (len(values), length)
        np.testing.assert_array_equal(padded[:, : values.shape[1]], values)
    assert not zeros[:, values.shape[1] :].any()
    np.testing.assert_array_equal(wrapped, np.pad(values, ((0, 0), (0, extra)), mode="wrap"))


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1, 1, 7], [2, 3, 4]])
def test_moments_do_not_depend_on_the_blocks(rng, sizes):
    rows = rng.normal(1e4, 3, size=(9, 4))
    moments = Moments(np.split(rows, np.cumsum(sizes)[:-1]))
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-9)


def test_standardised_by_voxel(rng):
    rows = rng.normal([3, -5, 100], [1, 20, 0.1], size=(50, 3)).astype(np.float32)
    transform = fit_transform(Moments([rows]), [2, 0], patch_size=4)
    values = transform(rows)
    assert values.shape == (50, 4)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:, :2].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(values[:, :2].std(axis=0), 1, atol=1e-3)
    expected = (rows[:, [2, 0]] - rows[:, [2, 0]].mean(0)) / rows[:, [2, 0]].std(0)
    np.testing.assert_allclose(values[:, :2], expected, atol=2e-3)
    assert transform.valid.tolist() == [True, True, False, False]


def test_standardised_globally(rng):
    rows = rng.normal(size=(6, 5)).astype(np.float32)
    values = fit_transform(Moments([rows]), range(5), standardise="global", patch_size=5)(rows)
    np.testing.assert_allclose(values, (rows - rows.mean()) / rows.std(), atol=1e-5)


def test_constant_voxels_give_zero_whatever_comes_later(rng):
    rows = rng.normal(size=(8, 3)).astype(np.float32)
    rows[:, 1] = 1234.567
    transform = fit_transform(Moments([rows[:3], rows[3:]]), range(3), patch_size=3)
    later = rng.normal(size=(4, 3)).astype(np.float32) * 100
    assert not transform(rows)[:, 1].any()
    assert not transform(later)[:, 1].any()
    assert transform(later)[:, [0, 2]].all()


def test_test_rows_stay_as_stored_where_only_training_rows_are_standardised(tmp_path, rng):
    rows = rng.normal(5, 3, size=(8, 7)).astype(np.float32)
    options = {"standardise": "global", "padding": "legacy", "patch_size": 4}
    for raw in (False, True):
        fitted = fit_transform(Moments([rows]), [6, 3, 1], **options, raw_test=raw)
        Preprocessing(4, 4, {"sub-01": fitted}).save(tmp_path)
        saved = Preprocessing.load(tmp_path)
        np.testing.assert_array_equal(saved.of("sub-01", "train")(rows), fitted(rows))
        expected = rows[:, [6, 3, 1, 6]] if raw else fitted(rows)
        np.testing.assert_array_equal(saved.of("sub-01", "test")(rows), expected)


def test_saved_before_test_rows_could_be_left_as_stored(tmp_path, rng):
    fitted = fit_transform(Moments([rng.normal(size=(8, 3))]), range(3))
    content = {name: value for name, value in fitted.to_dict().items() if name != "raw_test"}
    assert VoxelTransform.from_dict(content).raw_test is False


def test_means_of_consecutive_rows(rng):
    rows = rng.normal(size=(7, 3)).astype(np.float32)
    expected = [rows[:2].mean(0), rows[2], rows[3:7].mean(0)]
    np.testing.assert_allclose(group_means(rows, [2, 1, 4]), expected, rtol=1e-6)
    assert group_means(rows, [1] * 7) is rows


@given(st.integers(0, 30), st.floats(1, 4), st.integers(0, 99))
def test_pairs_are_of_different_rows(count, times, seed):
    pairs = draw_pairs(count, times, np.random.default_rng(seed))
    assert pairs.shape == (int((times - 1) * count) if count > 1 else 0, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert ((pairs >= 0) & (pairs < max(count, 1))).all()


def test_pairs_reach_every_other_row(rng):
    pairs = draw_pairs(5, 200, rng)
    assert len({tuple(pair) for pair in pairs.tolist()}) == 5 * 4


def test_no_training_rows(rng):
    with pytest.raises(DataError, match="no rows to standardise by"):
        Moments([])


def test_values_that_are_not_finite_are_counted(rng):
    rows = rng.normal(size=(8, 6)).astype(np.float32)
    transform = fit_transform(Moments([rows]), [0, 2, 4], patch_size=2, subject="sub-07")
    rows[3, 4], rows[5, 2], rows[6, 1] = np.nan, np.inf, np.nan
    with pytest.raises(DataError, match=r"2 voxels of subject sub-07 are NaN.*stored voxel 2 the"):
        transform(rows)
    with pytest.raises(DataError, match=r"1 voxels .* stored voxel 4 the first"):
        transform(rows[3])
    assert np.isfinite(transform(rows[6])).all()  # voxel 1 is not read


def test_large_values_are_finite(rng):
    rows = np.ones((8, 4), dtype=np.float32)
    rows[::2] = 1e30
    transform = fit_transform(Moments([rows]), range(4), standardise="none", patch_size=4)
    np.testing.assert_array_equal(transform(rows), rows)


def test_another_number_of_voxels(rng):
    transform = fit_transform(Moments([rng.normal(size=(8, 6))]), [0, 2], subject="sub-07")
    with pytest.raises(DataError, match=r"shape \(3, 5\) for subject sub-07; expected 6 voxels"):
        transform(np.zeros((3, 5)))
    with pytest.raises(DataError, match="sub-07 has 6 voxels, the model reads 4"):
        fit_transform(Moments([np.eye(6)]), range(6), length=4, patch_size=4, subject="sub-07")


@pytest.mark.parametrize("padding", ["zero", "wrap", "legacy"])
def test_saved_and_loaded(tmp_path, rng, padding):
    rows = rng.normal(size=(8, 7)).astype(np.float32)
    rows[:, 3] = 0
    fitted = fit_transform(Moments([rows]), [6, 3, 1], padding=padding, patch_size=4, length=12)
    saved = Preprocessing(4, 12, {"sub-01": fitted}, {"order": "hilbert"}, transductive=True)
    saved.save(tmp_path / "model")
    json.loads((tmp_path / "model" / "preprocessing.json").read_text())
    for place in (tmp_path, tmp_path / "model", tmp_path / "model" / "preprocessing.json"):
        loaded = Preprocessing.load(place)
        np.testing.assert_array_equal(loaded["sub-01"](rows), fitted(rows))
        np.testing.assert_array_equal(loaded["sub-01"].valid, fitted.valid)
        assert (loaded.patch_size, loaded.length, loaded.transductive) == (4, 12, True)
        assert loaded.settings == {"order": "hilbert"}
    with pytest.raises(DataError, match=r"no subject 'sub-02'; expected .* one of sub-01"):
        loaded["sub-02"]


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"holds no preprocessing\.json"):
        Preprocessing.load(tmp_path)
    for content in ("{", "[]", "{}", '{"subjects": {"a": {}}}'):
        (tmp_path / "preprocessing.json").write_text(content)
        with pytest.raises(DataError, match=r"preprocessing\.json is damaged"):
            Preprocessing.load(tmp_path)


def test_repeats_are_averaged(rng):
    rows = rng.normal(size=(5, 3)).astype(np.float32)
    means, names = average_repeats(rows, ["b", "a", "b", "c", "b"])
    assert names == ["b", "a", "c"]
    np.testing.assert_allclose(means[0], rows[[0, 2, 4]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(means[1:], rows[[1, 3]])
    assert means.dtype == np.float32


@pytest.mark.parametrize(("side", "dimensions"), [(2, 3), (4, 3), (8, 3), (16, 2), (1, 3)])
def test_hilbert_curve_steps_to_a_neighbour(side, dimensions):
    cube = np.array(list(itertools.product(range(side), repeat=dimensions)))
    along = hilbert_index(cube)
    assert sorted(along) == list(range(side**dimensions))
    steps = np.abs(np.diff(cube[np.argsort(along)], axis=0)).sum(axis=1)
    assert (steps == 1).all()


def test_hilbert_curve_by_hand():
    """The square of side two: a curve visits its corners around, not across."""
    order = hilbert_index([[0, 0], [0, 1], [1, 0], [1, 1]]).tolist()
    assert order in ([0, 1, 3, 2], [0, 3, 1, 2])


@settings(max_examples=50)
@given(arrays(np.int32, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(-9, 90)))
def test_every_order_is_a_permutation(points):
    for order in ("stored", "hilbert"):
        permutation = order_voxels(points, order)
        assert sorted(permutation) == list(range(len(points)))
    assert order_voxels(points, "stored").tolist() == list(range(len(points)))


def test_vertices_of_a_surface_stay_as_stored_before_the_curve():
    points = np.array([[5, 1, 2], [-1, -1, -1], [0, 0, 0], [-1, -1, -1], [5, 1, 3]])
    found = order_voxels(points, "hilbert").tolist()
    assert found[:2] == [1, 3]
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_hilbert_order_keeps_patches_together(rng):
    """Patches of 16 span a smaller part of the volume than in raster order."""
    points = np.array(list(itertools.product(range(16), repeat=3)))
    points = points[rng.permutation(len(points))[:2048]]
    raster = points[np.lexsort(points.T[::-1])]

    def spread(order):
        return order.reshape(-1, 16, 3).std(axis=1).sum(axis=-1).mean()

    assert spread(raster[order_voxels(raster, "hilbert")]) < 0.7 * spread(raster)


def test_transform_needs_room():
    with pytest.raises(DataError, match="has 3 voxels, the model reads 2"):
        VoxelTransform(np.arange(3), np.zeros(3, "f4"), np.ones(3, "f4"), 2, "zero", 3)
