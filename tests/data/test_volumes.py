"""`write-volume`: every value comes back at its place, read with nibabel alone."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mindvis.cli import main
from mindvis.data.store import Grayordinates, VoxelStore, write_store
from mindvis.data.volumes import to_image, write_volume
from mindvis.errors import ConfigError, DataError
from tests.data.test_grayordinates import LEFT, PLACES, STEM, subject  # noqa: F401


def test_quality_and_roi_as_nifti(store, tmp_path):
    with VoxelStore(store) as opened:
        tiny = opened["sub-02"]
        quality, roi, ijk, affine = tiny.quality["snr"], tiny.rois["V1"], tiny.ijk, tiny.affine
    words = ["write-volume", str(store), "--subject", "sub-02"]
    assert main([*words, "--values", "snr", "--output", str(tmp_path / "a.nii.gz")]) == 0
    assert main([*words, "--values", "V1", "--output", str(tmp_path / "b.nii")]) == 0
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.affine, affine)
    expected = np.zeros(image.shape)
    for place, value in zip(ijk.tolist(), quality.tolist(), strict=True):
        expected[tuple(place)] = value
    np.testing.assert_array_equal(image.get_fdata(), expected)
    assert nib.load(tmp_path / "b.nii").get_fdata().sum() == roi.sum()


def test_several_maps_of_a_file(store, tmp_path):
    maps = np.arange(3 * 70, dtype=np.int64).reshape(3, 70)
    np.save(tmp_path / "maps.npy", maps)
    out = tmp_path / "maps.nii"
    write_volume(str(store), str(tmp_path / "maps.npy"), str(out), "sub-01", fill=-1)
    with VoxelStore(store) as opened:
        i, j, k = opened["sub-01"].ijk.T
    data = nib.load(out).get_fdata()
    np.testing.assert_array_equal(data[i, j, k].T, maps)
    assert (data == -1).sum() == data.size - maps.size


def test_grayordinates_as_cifti(subject, tmp_path):  # noqa: F811
    write_store(tmp_path / "s.h5", [("a", subject)], None, {})
    out = tmp_path / "snr.dscalar.nii"
    write_volume(str(tmp_path / "s.h5"), "snr", str(out))
    image = nib.load(out)
    names, axis = image.header.get_axis(0), image.header.get_axis(1)
    assert names.name.tolist() == ["snr"]
    assert axis.nvertices == {LEFT: 9}
    values = dict(zip([tuple(map(str, row)) for row in axis], image.get_fdata()[0], strict=True))
    surface, model = "CIFTI_MODEL_TYPE_SURFACE", "CIFTI_MODEL_TYPE_VOXELS"
    assert values == {
        (surface, "2", LEFT): 1,
        (surface, "4", LEFT): 0,
        (surface, "8", LEFT): 3,
        (model, str(np.array([0, 1, 2])), STEM): 2,
        (model, str(np.array([1, 0, 3])), STEM): 4,
    }
    np.testing.assert_array_equal(axis.affine, np.diag([2.0, 3, 4, 1]))


def test_a_surface_alone_needs_no_volume(subject, tmp_path):  # noqa: F811
    kept = [0, 1, 3]
    alone = replace(
        subject,
        responses=subject.responses[:, kept],
        ijk=subject.ijk[kept],
        rois={},
        quality={},
        grayordinates=Grayordinates([LEFT] * 3, PLACES.vertex[kept], {LEFT: 9}),
    )
    write_store(tmp_path / "s.h5", [("a", alone)], None, {})
    with VoxelStore(tmp_path / "s.h5") as opened:
        image = to_image(opened["a"], np.array([[5.0, 6.0, 7.0]], np.float32))
    nib.save(image, tmp_path / "x.dscalar.nii")
    found = nib.load(tmp_path / "x.dscalar.nii")
    assert found.header.get_axis(1).vertex.tolist() == [2, 4, 8]
    assert found.get_fdata().tolist() == [[6, 5, 7]]


@pytest.mark.parametrize(
    ("values", "output", "error", "match"),
    [
        ("snrr", "a.nii", DataError, r"no values 'snrr'; .*did you mean 'snr'.*or give a .npy"),
        ("long.npy", "a.nii", DataError, r"\(71,\); expected \(70,\) or \(maps, 70\)"),
        ("object.npy", "a.nii", DataError, r"object.npy cannot be read \(Object arrays"),
        (
            "snr",
            "a.png",
            ConfigError,
            r"a.png is the name of another kind .*ends with .nii or .nii.gz",
        ),
        ("snr", "a.dscalar.nii", ConfigError, r"a.dscalar.nii is the name of another kind"),
    ],
)
def test_what_does_not_fit_is_refused(store, tmp_path, monkeypatch, values, output, error, match):
    monkeypatch.chdir(tmp_path)
    np.save("long.npy", np.zeros(71))
    np.save("object.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(error, match=match):
        write_volume(str(store), values, output, "sub-01")
    assert not (tmp_path / output).exists()


def test_subject_must_be_named_where_there_are_several(store, tmp_path):
    with pytest.raises(
        ConfigError, match=r"holds 2 subjects; expected --subject to be one of sub-01"
    ):
        write_volume(str(store), "snr", str(tmp_path / "a.nii"))
