"""Every form of NIfTI gives the planted values, or a sentence that says what it is."""

import gzip
import logging

import nibabel as nib
import numpy as np
import pytest

from mindvis.errors import SourceError
from preprocessing.nifti import open_image
from preprocessing.reader import grid_of, read_mask, read_voxels

SHAPE = (3, 4, 2, 5)
PLANTED = np.arange(np.prod(SHAPE), dtype=np.float64).reshape(SHAPE)
EVERY = np.ones(SHAPE[:3], dtype=bool)


def series(path):
    return read_voxels(path, EVERY).T.reshape(SHAPE)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u2", "i4", "i8", "f4", "f8", ">f4"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_versions_and_types(tmp_path, kind, dtype, name):
    image = kind(PLANTED.astype(dtype), np.eye(4), dtype=np.dtype(dtype))
    nib.save(image, tmp_path / name)
    np.testing.assert_array_equal(series(tmp_path / name), PLANTED)
    assert grid_of(tmp_path / name).shape == SHAPE[:3]


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("name", ["a.img", "a.hdr"])
def test_pairs(tmp_path, kind, name):
    nib.save(kind(PLANTED, np.eye(4)), tmp_path / "a.img")
    np.testing.assert_array_equal(series(tmp_path / name), PLANTED)
    assert read_mask_of(tmp_path, kind).sum() == 3


def read_mask_of(folder, kind):
    mask = np.zeros(SHAPE[:3], np.uint8)
    mask[1, :3, 1] = 1
    nib.save(kind(mask, np.eye(4)), folder / "m.img")
    return read_mask(folder / "m.img", grid_of(folder / "a.img"))


def test_scaling(tmp_path):
    image = nib.Nifti1Image(PLANTED.astype(np.int16), np.eye(4))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(1, 0)
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    for slope, intercept, truth in [
        (0.25, -3.0, PLANTED * 0.25 - 3),
        (0.0, 7.0, PLANTED),  # the standard: a slope of 0 means none
        (np.nan, np.nan, PLANTED),
    ]:
        content[112:120] = np.array([slope, intercept], "<f4").tobytes()
        (tmp_path / "b.nii").write_bytes(content)
        np.testing.assert_array_equal(series(tmp_path / "b.nii"), truth)
    content[112:120] = np.array([2, np.nan], "<f4").tobytes()
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(SourceError, match=r"b.nii is truncated or damaged .*intercept"):
        series(tmp_path / "b.nii")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_names_that_say_the_wrong_packing(tmp_path, kind):
    nib.save(kind(PLANTED, np.eye(4)), tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    for name in ("plain.nii.gz", "packed.nii"):
        np.testing.assert_array_equal(series(tmp_path / name), PLANTED)
        assert grid_of(tmp_path / name).shape == SHAPE[:3]


def test_what_is_no_number_a_voxel(tmp_path):
    nib.save(nib.Nifti1Image(PLANTED.astype(np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(SourceError, match=r"a.nii has complex values .*; write its magnitude"):
        series(tmp_path / "a.nii")
    colours = np.zeros(SHAPE[:3], [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(SourceError, match=r"c.nii has coloured values"):
        grid_of(tmp_path / "c.nii")


def test_damage_is_one_sentence_without_lines_of_a_library(tmp_path, capfd):
    nib.save(nib.Nifti1Image(PLANTED, np.eye(4)), tmp_path / "a.nii.gz")
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    content[70:72] = b"\xff\x7f"
    (tmp_path / "b.nii").write_bytes(content)
    with pytest.raises(SourceError, match=r"b.nii is truncated or damaged \(data code 32767"):
        open_image(tmp_path / "b.nii")
    (tmp_path / "c.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"c.nii.gz is truncated or damaged"):
        series(tmp_path / "c.nii.gz")
    assert capfd.readouterr().err == ""
    assert not logging.getLogger("nibabel.global").disabled
