"""`mindvis write-volume`: values of voxels as a NIfTI or CIFTI image in the subject's space."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mindvis.console import say
from mindvis.data.schema import Grayordinates
from mindvis.data.store import StoredSubject, VoxelStore
from mindvis.errors import ConfigError, DataError, one_of
from mindvis.files import atomic_path


def write_volume(
    store: str, values: str, output: str, subject: str | None = None, fill: float = 0.0
) -> None:
    """Write values of voxels as an image that viewers lay over the subject's anatomy.

    Args:
        store: The VoxelStore that knows where the voxels are.
        values: Name of a quality (such as noise_ceiling or snr) or of an ROI of the store, or a
            .npy file of (voxels,) or (maps, voxels).
        output: File to write: .nii.gz or .nii; .dscalar.nii where the voxels are grayordinates.
        subject: Whose voxels; may be left out where the store holds one subject.
        fill: Value outside the stored voxels of a volume.

    Raises:
        MindVisError: The values are not one for each voxel, or the file's name does not fit.
    """
    with VoxelStore(store) as opened:
        if subject is None and len(opened) > 1:
            raise ConfigError(
                f"{store} holds {len(opened)} subjects",
                one_of("--subject", "", opened.subjects),
                "name one with --subject",
            )
        stored = opened[subject or opened.subjects[0]]
        maps = read_values(stored, values)
        suffix = ".nii" if stored.grayordinates is None else ".dscalar.nii"
        plain = output.removesuffix(".gz") if stored.grayordinates is None else output
        if not plain.endswith(suffix) or (suffix == ".nii" and plain.endswith(".dscalar.nii")):
            raise ConfigError(
                f"{output} is the name of another kind of image",
                f"one that ends with {suffix}" + (" or .nii.gz" if suffix == ".nii" else ""),
                "choose another --output",
            )
        names = [values] if len(maps) == 1 else [f"map {n}" for n in range(1, len(maps) + 1)]
        image = to_image(stored, maps, [Path(name).stem for name in names], fill)
    import nibabel as nib

    with atomic_path(output) as partial:
        nib.save(image, partial)
    say(f"{output}: {len(maps)} maps of {maps.shape[1]} voxels of {stored.name}")


def read_values(subject: StoredSubject, values: str) -> npt.NDArray[np.float32]:
    """Values by name of a quality or ROI, or of a file, float32 (maps, voxels).

    Raises:
        DataError: There is no such name, or the array does not fit the voxels.
    """
    known: dict[str, npt.NDArray[Any]] = {**subject.rois, **subject.quality}
    if values in known:
        return known[values].astype(np.float32)[None]
    path = Path(values)
    if not path.is_file():
        raise DataError(
            f"subject {subject.name} has no values {values!r}",
            one_of("the name", values, known),
            "or give a .npy file",
        )
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error})", "a .npy file of numbers") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise DataError(f"{path} holds no numbers", "a .npy file of numbers")
    maps = np.atleast_2d(found).astype(np.float32)
    if maps.ndim != 2 or maps.shape[1] != subject.num_voxels or not len(maps):
        raise DataError(
            f"{path} has the shape {found.shape}",
            f"({subject.num_voxels},) or (maps, {subject.num_voxels}), a value for each voxel",
        )
    return maps


def to_image(
    subject: StoredSubject,
    maps: npt.NDArray[np.float32],
    names: list[str] | None = None,
    fill: float = 0.0,
) -> Any:
    """A nibabel image of one or several maps.

    Args:
        subject: Whose voxels.
        maps: (maps, voxels).
        names: Of the maps, kept in a CIFTI image.
        fill: Value outside the stored voxels of a volume.

    Returns:
        NIfTI (X, Y, Z) or (X, Y, Z, maps); CIFTI scalars where the voxels are grayordinates, in
        CIFTI's order: structure by structure, vertices and voxels in increasing order.
    """
    import nibabel as nib

    if subject.grayordinates is not None:
        labels = names or [f"map {number}" for number in range(1, len(maps) + 1)]
        return _scalars(subject, subject.grayordinates, maps, labels)
    volumes = [subject.to_volume(values, fill) for values in maps]
    data = volumes[0] if len(volumes) == 1 else np.stack(volumes, axis=-1)
    image = nib.Nifti1Image(data, subject.affine)
    image.header.set_xyzt_units("mm")
    return image


def _scalars(
    subject: StoredSubject,
    places: Grayordinates,
    maps: npt.NDArray[np.float32],
    names: list[str],
) -> Any:
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

    structure = np.array(places.structure)
    first = {name: row for row, name in reversed(list(enumerate(places.structure)))}
    rank = np.array([first[name] for name in places.structure])
    order = np.lexsort([*subject.ijk.T, places.vertex, rank])
    axis = BrainModelAxis(
        structure[order],
        voxel=subject.ijk[order],
        vertex=places.vertex[order],
        affine=subject.affine,
        volume_shape=subject.shape,
        nvertices=dict(places.surfaces),
    )
    image = Cifti2Image(maps[:, order], header=(ScalarAxis(names), axis))
    image.nifti_header.set_intent("ConnDenseScalar")
    return image
