"""A store at a glance: pictures of both splits, and each subject's mean response in its brain."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mindvis.data.images import stack_squares
from mindvis.data.leaks import stimuli_of
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.errors import ConfigError
from mindvis.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".pdf", ".svg", ".jpg")
COLUMNS, BLOCK, PIXELS = 12, 512, 96
AXES = ("sagittal", "coronal", "axial")


def write_figure(store: VoxelStore, path: Path) -> None:
    """Draw pictures of both splits, a row each, and each subject's mean response, a row each.

    Args:
        store: What is shown.
        path: File to write; its suffix is the format.

    Raises:
        ConfigError: The suffix is no format of pictures.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"the figure is {path.name}", f"a file with {', '.join(FORMATS)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [(split, picture_strip(store, split)) for split in ("train", "test")]
    strips = [(split, strip) for split, strip in found if strip is not None]
    figure = Figure(figsize=(10, 1.2 * len(strips) + 2.6 * len(store) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [1.0] * len(strips) + [2.4] * len(store)
    grid = figure.add_gridspec(len(heights), 3, height_ratios=heights)
    for row, (split, strip) in enumerate(strips):
        axes = figure.add_subplot(grid[row, :])
        axes.imshow(strip)
        axes.set_title(f"{split}: {len(stimuli_of(store, split))} pictures", fontsize=9)
        axes.axis("off")
    for row, subject in enumerate(store, start=len(strips)):
        _draw_subject(subject, [figure.add_subplot(grid[row, column]) for column in range(3)])
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=120)


def picture_strip(store: VoxelStore, split: str) -> npt.NDArray[np.uint8] | None:
    """Some pictures of a split side by side, evenly through their ids; None without any."""
    names = sorted(stimuli_of(store, split))
    if store.stimuli is None or not names:
        return None
    chosen = [names[n] for n in np.linspace(0, len(names) - 1, COLUMNS).astype(int)]
    images = store.stimuli.images(store.stimuli.index(dict.fromkeys(chosen)))
    return np.concatenate(list(stack_squares(images, PIXELS)), axis=1)


def mean_response(subject: StoredSubject) -> npt.NDArray[np.float64]:
    """Mean over all responses, (voxels,); values that are not finite are left out."""
    total, count = np.zeros(subject.num_voxels), np.zeros(subject.num_voxels)
    for start in range(0, subject.num_trials, BLOCK):
        rows = subject.responses(np.arange(start, min(start + BLOCK, subject.num_trials)))
        finite = np.isfinite(rows)
        total += np.where(finite, rows, 0).sum(axis=0, dtype=np.float64)
        count += finite.sum(axis=0)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def projections(
    values: npt.NDArray[np.float64], ijk: npt.NDArray[np.int32], shape: tuple[int, int, int]
) -> Iterator[npt.NDArray[np.float64]]:
    """Means of a map along each axis of the volume; NaN where no voxel lies.

    Args:
        values: (voxels,).
        ijk: (voxels, 3).
        shape: The volume's size.

    Yields:
        (Y, Z), (X, Z) and (X, Y).
    """
    known = np.isfinite(values)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        size = (shape[others[0]], shape[others[1]])
        places = tuple(ijk[known][:, others].T)
        total, count = np.zeros(size), np.zeros(size)
        np.add.at(total, places, values[known])
        np.add.at(count, places, 1)
        yield np.divide(total, count, out=np.full(size, np.nan), where=count > 0)


def _draw_subject(subject: StoredSubject, axes: "list[Axes]") -> None:
    """Three projections of the mean response, or a curve where voxels have no place."""
    values = mean_response(subject)
    inside = (subject.ijk >= 0).all(axis=1)
    if not inside.any() or sorted(subject.shape)[1] == 1:
        axes[0].plot(values, linewidth=0.5)
        axes[0].set(title=f"{subject.name}: mean response", xlabel="voxel", ylabel=subject.units)
        for unused in axes[1:]:
            unused.axis("off")
        return
    limit = float(np.nanmax(np.abs(values[inside]), initial=1e-12))
    maps = projections(values[inside], subject.ijk[inside], subject.shape)
    for place, (axis, picture) in enumerate(zip(axes, maps, strict=True)):
        drawn = axis.imshow(
            picture.T, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="equal"
        )
        axis.set_title(f"{subject.name}: {AXES[place]}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    axes[-1].figure.colorbar(drawn, ax=axes, shrink=0.7, label=f"mean response ({subject.units})")
