"""A made-up head: brain, cortical shell and visual areas of one subject on a small grid.

The brain is a bumpy ellipsoid. Visual areas tile its posterior shell as they do in people, roughly:
V1, V2 and V3 are nested bands around the occipital pole, V4 lies below, LOC beside, PPA and FFA in
front of V4, medial and lateral. Every area keeps two coordinates, distance from its posterior
border and elevation, and these carry the retinotopic map.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Array = npt.NDArray[np.floating[Any]]

GRID = (24, 28, 22)
VOXEL_SIZE = 3.0  # mm
AREAS = ("V1", "V2", "V3", "V4", "LOC", "FFA", "PPA")
EARLY = ("V1", "V2", "V3")
AREA_SIZES = {"V1": 320, "V2": 280, "V3": 240, "V4": 220, "LOC": 240, "FFA": 110, "PPA": 110}
SEMI_AXES = (9.6, 12.0, 8.6)  # of the brain, in voxels
CORTEX_DEPTH = 0.68  # inner border of the cortical shell, as a fraction of the brain's radius
SCALP = 1.16  # outer border of the head, likewise
BRAIN_INTENSITY, SCALP_INTENSITY = 900.0, 350.0


@dataclass(frozen=True)
class Anatomy:
    """One subject's head; voxel arrays run over the head's voxels in the order of `ijk`.

    Attributes:
        shape: Grid size.
        affine: Voxel indices to millimetres (4, 4); x right, y anterior, z up.
        ijk: Grid indices of the head's voxels (V, 3).
        brain: Which of them are brain (V,).
        area: Index into `AREAS`, -1 outside the visual areas (V,).
        hemisphere: -1 left, +1 right (V,).
        eccentricity: Distance from the area's posterior border, 0 to 1 by rank (V,).
        meridian: Elevation in radians, -pi/2 ventral to pi/2 dorsal (V,).
        baseline: Mean image intensity (V,).
        gradient: Spatial derivative of the intensity per millimetre (V, 3).
    """

    shape: tuple[int, int, int]
    affine: Array
    ijk: npt.NDArray[np.int32]
    brain: npt.NDArray[np.bool_]
    area: npt.NDArray[np.int8]
    hemisphere: npt.NDArray[np.int8]
    eccentricity: Array
    meridian: Array
    baseline: Array
    gradient: Array

    @property
    def visual(self) -> npt.NDArray[np.bool_]:
        """Voxels of the visual areas (V,)."""
        return self.area >= 0

    def members(self, area: str) -> npt.NDArray[np.bool_]:
        """Voxels of one visual area (V,)."""
        return self.area == AREAS.index(area)

    def grid(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values over the head's voxels (V,) placed on the grid, zero elsewhere."""
        image = np.zeros(self.shape, values.dtype)
        image[tuple(self.ijk.T)] = values
        return image


def smooth_fields(rng: np.random.Generator, count: int, sigma: float) -> Array:
    """Gaussian random fields on the grid with unit variance; sigma in voxels.

    Returns:
        Fields (count, *GRID), float32.
    """
    white = rng.standard_normal((count, *GRID), dtype=np.float32)
    fields = gaussian_filter(white, (0, sigma, sigma, sigma), mode="wrap")
    return fields / fields.std(axis=(1, 2, 3), keepdims=True)


def make_affine() -> Array:
    """Voxel indices to millimetres with the origin in the middle of the grid (4, 4)."""
    affine = np.diag([VOXEL_SIZE] * 3 + [1.0])
    affine[:3, 3] = [-VOXEL_SIZE * (size - 1) / 2 for size in GRID]
    return affine


def make_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one subject's head."""
    direction, radius = _ellipsoid(rng)
    ijk = np.argwhere(radius < SCALP).astype(np.int32)
    where = tuple(ijk.T)
    direction, radius = direction[where], radius[where]
    hemisphere = np.where(direction[:, 0] > 0, 1, -1).astype(np.int8)
    cortex = (radius < 1) & (radius > CORTEX_DEPTH)
    area = _parcellate(direction, cortex, hemisphere, rng)
    theta = np.arccos(np.clip(-direction[:, 1], -1, 1))
    meridian = np.arctan2(direction[:, 2], np.abs(direction[:, 0]))
    baseline, gradient = _intensities(radius < 1, ijk, rng)
    return Anatomy(
        shape=GRID,
        affine=make_affine(),
        ijk=ijk,
        brain=radius < 1,
        area=area,
        hemisphere=hemisphere,
        eccentricity=_rank_within(theta, area, hemisphere),
        meridian=meridian,
        baseline=baseline,
        gradient=gradient,
    )


def _ellipsoid(rng: np.random.Generator) -> tuple[Array, Array]:
    """Unit direction (*GRID, 3) from the centre and radius relative to the brain's surface."""
    axes = np.asarray(SEMI_AXES) * rng.uniform(0.96, 1.04, 3)
    centre = (np.asarray(GRID) - 1) / 2 + rng.uniform(-0.4, 0.4, 3)
    offset = (np.moveaxis(np.indices(GRID), 0, -1) - centre) / axes
    radius = np.linalg.norm(offset, axis=-1)
    bumps = 1 + 0.03 * smooth_fields(rng, 1, 3.0)[0]
    return offset / radius[..., None], radius * bumps


def _parcellate(
    direction: Array,
    cortex: npt.NDArray[np.bool_],
    hemisphere: npt.NDArray[np.int8],
    rng: np.random.Generator,
) -> npt.NDArray[np.int8]:
    """Visual areas by growing from the occipital pole, each hemisphere apart; -1 elsewhere."""
    area = np.full(len(direction), -1, np.int8)
    theta = np.arccos(np.clip(-direction[:, 1], -1, 1))
    theta = theta + 0.03 * rng.standard_normal(3) @ direction.T
    ventral, lateral = -direction[:, 2], np.abs(direction[:, 0])
    # (area, where it may lie, what it fills first)
    places = [
        ("V1", np.ones(len(area), bool), theta),
        ("V2", np.ones(len(area), bool), theta),
        ("V3", np.ones(len(area), bool), theta),
        ("V4", ventral > 0.15, theta),
        ("LOC", ventral <= 0.3, theta + 0.4 * np.abs(ventral)),
        ("PPA", ventral > 0.1, theta + 0.8 * lateral),
        ("FFA", ventral > -0.1, theta),
    ]
    for side in (-1, 1):
        for name, allowed, order in places:
            free = np.flatnonzero(cortex & (hemisphere == side) & (area < 0) & allowed)
            count = round(AREA_SIZES[name] / 2 * rng.uniform(0.88, 1.12))
            area[free[np.argsort(order[free], kind="stable")[:count]]] = AREAS.index(name)
    return area


def _rank_within(
    values: Array, area: npt.NDArray[np.int8], hemisphere: npt.NDArray[np.int8]
) -> Array:
    """Rank of each value among its area and hemisphere, scaled to 0 to 1; 0 outside the areas."""
    rank = np.zeros(len(values))
    for index in range(len(AREAS)):
        for side in (-1, 1):
            members = np.flatnonzero((area == index) & (hemisphere == side))
            rank[members[np.argsort(values[members], kind="stable")]] = np.linspace(
                0, 1, len(members)
            )
    return rank


def _intensities(
    brain: npt.NDArray[np.bool_], ijk: npt.NDArray[np.int32], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Mean intensity (V,) and its gradient per millimetre (V, 3)."""
    where = tuple(ijk.T)
    image = np.zeros(GRID)
    image[where] = np.where(brain, BRAIN_INTENSITY, SCALP_INTENSITY)
    image *= 1 + 0.06 * smooth_fields(rng, 1, 1.5)[0]
    image = gaussian_filter(image, 0.7)
    gradient = np.stack([part[where] for part in np.gradient(image, VOXEL_SIZE)], -1)
    return image[where], gradient
