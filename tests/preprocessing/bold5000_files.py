"""BOLD5000 in small: betas by region and by session, presentation lists, repeated pictures.

CSI1 has two sessions, of two runs and one; CSI4 nine of one run. Folders and files are numbered
without zeros (sess10 after sess9, run10 after run9), repeated pictures carry `rep_`, and hidden
files lie about.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

METHOD = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR"
VOXELS = {"EarlyVis": (3, 2), "LOC": (1, 2), "OPA": (2, 1), "PPA": (1, 1), "RSC": (2, 3)}
REPEATED = ["n01833805_1411.JPEG", "COCO_train2014_000000000036.jpg", "concert5.jpg"]
SHAPE = (4, 3, 5)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
_R = [f"rep_{name}" for name in REPEATED]
LISTS = {
    "CSI1": [
        [
            ["n02097658_10.JPEG", _R[0], "pond2.jpg", "COCO_train2014_000000000001.jpg", _R[2]],
            [_R[1], "n02097658_11.JPEG", "pond10.jpg", "n01833805_2.JPEG"],
        ],
        [[_R[0], "n04254680_7.JPEG", "pond3.jpg", _R[2], "n04254680_8.JPEG", _R[1], "bar1.jpg"]],
    ],
    "CSI4": [[[f"n01440764_{10 * s + k}.JPEG" for k in range(4)] + [_R[s % 2]]] for s in range(9)],
}


def names(subject: str) -> list[str]:
    """Pictures of all trials, without prefix and suffix."""
    return [
        name.removeprefix("rep_").rsplit(".", 1)[0]
        for session in LISTS[subject]
        for run in session
        for name in run
    ]


def sessions(subject: str) -> np.ndarray:
    """The session of each trial."""
    counts = [sum(map(len, session)) for session in LISTS[subject]]
    return np.repeat(np.arange(len(counts)) + 1, counts)


def region_betas(subject: str) -> dict[tuple[str, str], np.ndarray]:
    """(trials, voxels) by region and hemisphere, each session with a mean and scale of its own."""
    rng = np.random.default_rng(int(subject[-1]))
    session = sessions(subject)
    betas = {}
    for region, counts in VOXELS.items():
        for side, count in zip(("LH", "RH"), counts, strict=True):
            noise = rng.normal(size=(len(session), count)) * session[:, None]
            betas[region, side] = (noise + 10 * session[:, None]).astype(np.float32)
    return betas


def volume_betas(subject: str) -> list[np.ndarray]:
    """(X, Y, Z, trials) of each session."""
    rng = np.random.default_rng(7)
    counts = np.bincount(sessions(subject))[1:]
    return [(3 * s + rng.normal(size=(*SHAPE, n))).astype(np.float32) for s, n in enumerate(counts)]


def mask() -> np.ndarray:
    return np.random.default_rng(8).random(SHAPE) < 0.6


def write_lists(root: Path) -> None:
    stimuli = root / "BOLD5000_Stimuli"
    for subject, shown in LISTS.items():
        for session, runs in enumerate(shown, start=8):  # sess8 comes before sess10
            folder = stimuli / "Stimuli_Presentation_Lists" / subject / f"{subject}_sess{session}"
            folder.mkdir(parents=True)
            (folder / "._hidden.txt").write_text("nothing\n")
            for run, lines in enumerate(runs, start=9):  # run9 comes before run10
                (folder / f"{subject}_sess{session}_run{run}.txt").write_text("\n".join(lines))
    (stimuli / "Stimuli_Presentation_Lists" / "CSI1" / "all.txt").write_text("not a run\n")
    (stimuli / "Scene_Stimuli").mkdir()
    (stimuli / "Scene_Stimuli" / "repeated_stimuli_113_list.txt").write_text("\n".join(REPEATED))


def write_pictures(root: Path) -> dict[str, tuple[int, int, int]]:
    """Pictures in a folder for each source; their colour by name."""
    folder = root / "BOLD5000_Stimuli" / "Scene_Stimuli" / "Presented_Stimuli"
    files = {
        name.removeprefix("rep_") for s in LISTS.values() for x in s for run in x for name in run
    }
    colours = {}
    for number, name in enumerate(sorted(files)):
        kind = "COCO" if name.startswith("COCO") else "ImageNet" if name[0] == "n" else "Scene"
        colour = (4 * number, 255 - 4 * number, 30)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number % 2, 9), colour).save(folder / kind / name, format="PNG")
        colours[name.rsplit(".", 1)[0]] = colour
    return colours


def build(root: Path) -> Path:
    """Regions of CSI1, volumes of CSI4, lists, pictures."""
    root.mkdir()
    write_lists(root)
    write_pictures(root)
    folder = root / "BOLD5000_GLMsingle_ROI_betas" / "py"
    folder.mkdir(parents=True)
    for (region, side), values in region_betas("CSI1").items():
        np.save(folder / f"CSI1_{METHOD}_allses_{side}{region}.npy", values)
    for session, values in enumerate(volume_betas("CSI4"), start=1):
        path = root / f"CSI4_{METHOD}_ses-{session:02d}.nii.gz"
        nib.save(nib.Nifti1Image(values, AFFINE), path)
    nib.save(nib.Nifti1Image(mask().astype(np.uint8), AFFINE), root / "CSI4_brainmask.nii.gz")
    (root / "masks").mkdir()
    for region, part in (("LHPPA", slice(0, 2)), ("RHLOC", slice(2, 4))):
        values = np.zeros(SHAPE, np.uint8)
        values[part] = 1
        nib.save(nib.Nifti1Image(values, AFFINE), root / "masks" / f"CSI4_{region}.nii.gz")
    return root
