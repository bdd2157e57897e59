"""Our reading of dense series against nibabel's, which parses everything."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import Cifti2Image, SeriesAxis

from preprocessing.cifti import open_series, places
from tests.preprocessing.hcp_files import models, series


def write(path, dtype, slope=None):
    image = Cifti2Image(series(3, 21), header=(SeriesAxis(0, 0.5, 21, "SECOND"), models()))
    image.nifti_header.set_intent("ConnDenseSeries")
    image.set_data_dtype(dtype)
    if slope is not None:
        image.nifti_header.set_slope_inter(*slope)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i2", "<i4"])
def test_columns_are_those_of_nibabel(tmp_path, rng, dtype):
    path = write(tmp_path / "x.dtseries.nii", np.dtype(dtype))
    reference, found = nib.load(path), open_series(path)
    columns = rng.permutation(len(models()))[:13]
    np.testing.assert_allclose(found.read(columns), reference.get_fdata()[:, columns], rtol=1e-6)
    assert found.axis == reference.header.get_axis(1)
    assert (found.frames, found.tr) == (21, 0.5)


def test_the_header_of_equal_grayordinates_is_parsed_once(tmp_path):
    first, second = (write(tmp_path / f"{n}.dtseries.nii", np.float32) for n in "ab")
    assert open_series(first).axis is open_series(second).axis


def test_places_of_a_mixture_of_vertices_and_voxels(tmp_path):
    axis = open_series(write(tmp_path / "x.dtseries.nii", np.float32)).axis
    columns = np.array([len(axis) - 1, 0, len(axis) - 3, 25])
    ijk, affine, shape, surface = places(axis, columns)
    for row, column in enumerate(columns.tolist()):
        kind, place, name = axis[column]
        assert surface.structure[row] == name
        if kind == "CIFTI_MODEL_TYPE_SURFACE":
            assert (surface.vertex[row], ijk[row].tolist()) == (place, [-1] * 3)
        else:
            assert (surface.vertex[row], ijk[row].tolist()) == (-1, list(place))
    np.testing.assert_array_equal(affine, axis.affine)
    assert shape == tuple(axis.volume_shape)
