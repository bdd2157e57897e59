"""Resting-state runs as the Connectome Project stores them, in small; every size different.

Two hemispheres of unequal meshes without their medial walls, two subcortical structures, an atlas
on all vertices (so its rows are others than the series'), four runs of which one may be absent.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, SeriesAxis

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
MESH = {LEFT: 23, RIGHT: 29}
MEDIAL_WALL = {LEFT: {0, 7, 8}, RIGHT: {3, 28}}
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
VOLUME = (4, 5, 6)
TR = 0.72
#: label of each vertex, both hemispheres by their own keys: V1 {1, 181}, V2 {4, 184}, V4 {6, 186}
KEYS = {1: "R_V1_ROI", 181: "L_V1_ROI", 4: "R_V2_ROI", 184: "L_V2_ROI"}
KEYS |= {5: "R_V3_ROI", 185: "L_V3_ROI", 6: "R_V4_ROI", 186: "L_V4_ROI", 22: "R_PIT_ROI"}
RUNS = ("rfMRI_REST1_LR", "rfMRI_REST1_RL", "rfMRI_REST2_LR", "rfMRI_REST2_RL")
FRAMES = {"rfMRI_REST1_LR": 50, "rfMRI_REST1_RL": 47, "rfMRI_REST2_LR": 36, "rfMRI_REST2_RL": 33}


def models() -> BrainModelAxis:
    """The grayordinates of a series."""
    parts = [
        BrainModelAxis.from_surface(
            np.array([v for v in range(size) if v not in MEDIAL_WALL[name]]), size, name
        )
        for name, size in MESH.items()
    ]
    for name, places in (("BRAIN_STEM", [(0, 1, 2), (3, 4, 5)]), ("CEREBELLUM_LEFT", [(1, 1, 1)])):
        mask = np.zeros(VOLUME, bool)
        mask[tuple(np.transpose(places))] = True
        parts.append(BrainModelAxis.from_mask(mask, name, AFFINE))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


def vertex_labels() -> dict[str, np.ndarray]:
    """The label of each vertex of the meshes; areas come in no order and are of unequal sizes."""
    left, right = np.zeros(MESH[LEFT], int), np.zeros(MESH[RIGHT], int)
    left[[1, 2, 7, 19]], left[[3, 20]], left[[4]], left[[5, 6, 21]] = 181, 184, 185, 186
    right[[2, 27]], right[[0, 1, 5]], right[[9, 10]], right[[8]] = 1, 4, 5, 6
    right[[14, 15, 16, 17]] = 22
    return {LEFT: left, RIGHT: right}


def write_atlas(path: Path, names: bool = True) -> None:
    """A dense label file on all vertices, medial wall included."""
    table = {0: ("???", (0, 0, 0, 0))}
    table |= {key: (name if names else f"area {key}", (1, 0, 0, 1)) for key, name in KEYS.items()}
    labels = vertex_labels()
    axis = BrainModelAxis.from_surface(np.arange(MESH[LEFT]), MESH[LEFT], LEFT)
    axis = axis + BrainModelAxis.from_surface(np.arange(MESH[RIGHT]), MESH[RIGHT], RIGHT)
    values = np.concatenate([labels[LEFT], labels[RIGHT]])[None].astype(np.float32)
    save(path, values, LabelAxis(["parcels"], [table]), axis, "ConnDenseLabel")


def expected_columns(areas=("V1", "V2", "V3", "V4")) -> dict[str, list[int]]:
    """Rows of the series that belong to each area, found by walking over all of them."""
    axis, labels = models(), vertex_labels()
    found: dict[str, list[int]] = {area: [] for area in areas}
    for row in range(len(axis)):
        kind, place, structure = axis[row]
        if kind == "CIFTI_MODEL_TYPE_SURFACE":
            name = KEYS.get(int(labels[structure][place]), "")
            for area in areas:
                if name[2:] == f"{area}_ROI":
                    found[area].append(row)
    return found


def series(seed: int, frames: int) -> np.ndarray:
    """(frames, grayordinates), the size of scanner units."""
    rng = np.random.default_rng(seed)
    return (10_000 + 100 * rng.normal(size=(frames, len(models())))).astype(np.float32)


def save(path: Path, values: np.ndarray, rows: object, columns: object, intent: str) -> None:
    image = Cifti2Image(values, header=(rows, columns))
    image.nifti_header.set_intent(intent)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def run_file(root: Path, number: str, run: str, clean: str = "hp2000_clean") -> Path:
    folder = root / number / "MNINonLinear" / "Results" / run
    return folder / f"{run}_Atlas_MSMAll_{clean}.dtseries.nii"


def write_run(path: Path, values: np.ndarray, axis: BrainModelAxis | None = None) -> None:
    """One dense series, its repetition time written as 720 thousandths of a second."""
    rows = SeriesAxis(0.0, 1000 * TR, len(values), "SECOND")
    header_axis = models() if axis is None else axis
    save(path, values, rows, header_axis, "ConnDenseSeries")
    _write_exponent(path)


def _write_exponent(path: Path) -> None:
    """SeriesExponent -3 instead of 0: nibabel always writes seconds, other tools do not."""
    old, new = b'SeriesExponent="0" SeriesStart="0.0"', b'SeriesExponent="-3" SeriesStart="0" '
    content = path.read_bytes()
    assert len(old) == len(new)
    assert old in content
    path.write_bytes(content.replace(old, new))


def build(root: Path, subjects: dict[str, int], clean: str = "hp2000_clean") -> Path:
    """Subjects by number and seed; the last run of an odd seed is absent."""
    write_atlas(root / "atlas.dlabel.nii")
    for number, seed in subjects.items():
        for place, run in enumerate(RUNS):
            if not (seed % 2 and place == 3):
                path = run_file(root, number, run, clean)
                write_run(path, series(10 * seed + place, FRAMES[run]))
    return root


def write_volumes(root: Path, number: str, seed: int) -> np.ndarray:
    """One run as a volume, and the atlas on its grid; returns (X, Y, Z, frames)."""
    rng = np.random.default_rng(seed)
    values = (1000 + rng.normal(size=(*VOLUME, 40))).astype(np.float32)
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = TR
    path = root / number / "MNINonLinear" / "Results" / RUNS[0]
    path.mkdir(parents=True)
    nib.save(image, path / f"{RUNS[0]}_hp2000_clean.nii.gz")
    labels = np.zeros(VOLUME, np.int16)
    labels[0, 0, :3], labels[3, 2, 1:3], labels[2, 1, 4] = 4, 1, 181
    nib.save(nib.Nifti1Image(labels, AFFINE), root / "atlas.nii.gz")
    return values
