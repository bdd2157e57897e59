import numpy as np
import pytest
from scipy.ndimage import label

from mindvis.simulation.anatomy import AREA_SIZES, AREAS, GRID, VOXEL_SIZE, Anatomy, smooth_fields
from mindvis.simulation.observer import draw_anatomy
from mindvis.simulation.tuning import field_centres


@pytest.fixture(scope="module", params=[1, 2, 3])
def anatomy(request) -> Anatomy:
    return draw_anatomy(request.param, seed=0)


def test_areas_have_about_their_size_and_lie_in_the_brain(anatomy):
    for area in AREAS:
        assert abs(anatomy.members(area).sum() / AREA_SIZES[area] - 1) < 0.15
    assert 1300 < anatomy.visual.sum() < 1750
    assert anatomy.brain[anatomy.visual].all()
    assert not anatomy.brain.all()


def test_each_area_is_one_patch_in_each_hemisphere(anatomy):
    for area in AREAS:
        for side in (-1, 1):
            members = anatomy.members(area) & (anatomy.hemisphere == side)
            patches, count = label(anatomy.grid(members), np.ones((3, 3, 3)))
            assert np.bincount(patches.ravel())[1:].max() >= 0.9 * members.sum(), (
                area,
                side,
                count,
            )


def test_v1_is_at_the_back_and_hemispheres_are_sides(anatomy):
    position = anatomy.ijk @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3]
    back = position[anatomy.members("V1"), 1].mean()
    assert all(back < position[anatomy.members(a), 1].mean() for a in AREAS if a != "V1")
    assert position[anatomy.hemisphere > 0, 0].mean() > 10
    assert np.allclose(np.linalg.norm(anatomy.affine[:3, :3], axis=0), VOXEL_SIZE)


def test_the_retinotopic_map_is_smooth_and_contralateral(anatomy):
    centres = field_centres(anatomy)
    hemisphere = anatomy.hemisphere[anatomy.visual]
    assert (centres[hemisphere > 0, 0] <= 0.5).all()
    assert (centres[hemisphere < 0, 0] >= 0.5).all()
    v1 = anatomy.area[anatomy.visual] == 0
    ijk = anatomy.ijk[anatomy.visual][v1]
    same = hemisphere[v1][:, None] == hemisphere[v1]
    apart = np.linalg.norm(ijk[:, None] - ijk, axis=-1)
    seen = np.linalg.norm(centres[v1][:, None] - centres[v1], axis=-1)
    assert seen[same & (apart == 1)].mean() < 0.5 * seen[same & (apart > 4)].mean()


def test_subjects_differ_and_the_same_subject_does_not():
    first, second, again = draw_anatomy(1, 0), draw_anatomy(2, 0), draw_anatomy(1, 0)
    assert first.visual.sum() != second.visual.sum()
    assert draw_anatomy(1, 1).visual.sum() != first.visual.sum()
    np.testing.assert_array_equal(first.area, again.area)


def test_values_over_voxels_return_to_their_place(anatomy):
    values = np.arange(1, len(anatomy.ijk) + 1)
    image = anatomy.grid(values)
    assert image.shape == GRID
    assert all(
        image[tuple(place)] == v for place, v in zip(anatomy.ijk[::97], values[::97], strict=True)
    )
    assert np.count_nonzero(image) == len(values)


def test_fields_are_smooth_with_unit_variance():
    fields = smooth_fields(np.random.default_rng(0), 5, 1.5)
    np.testing.assert_allclose(fields.std((1, 2, 3)), 1, rtol=1e-4)
    neighbours = [np.corrcoef(f[1:].ravel(), f[:-1].ravel())[0, 1] for f in fields]
    # a Gaussian kernel of width s correlates neighbours by exp(-1 / (4 s^2))
    np.testing.assert_allclose(neighbours, np.exp(-1 / (4 * 1.5**2)), atol=0.03)
