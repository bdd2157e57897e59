"""nilearn's cache of Haxby's and Miyawaki's data in small: true names and tables, few voxels."""

from pathlib import Path

import numpy as np

from tests.preprocessing.bids_tree import SHAPE, write_image

CATEGORIES = ("scissors", "face", "cat", "shoe", "house", "scrambledpix", "bottle", "chair")
HAXBY_VOLUMES = 121  # of a run: 6 of rest, then 9 of a category and 5 of rest, eight times ...
REGIONS = ("mask4_vt", "mask8b_face_vt", "mask8b_house_vt", "mask8_face_vt", "mask8_house_vt")
MIYAWAKI_VOLUMES = {"random": 37, "figure": 29}


def box(seed: int, share: float = 0.5) -> np.ndarray:
    """A random mask of 0 and 1."""
    return (np.random.default_rng(seed).random(SHAPE) < share).astype(np.uint8)


def haxby_volumes(subject: int) -> np.ndarray:
    """All runs of a subject one after another, int16 (X, Y, Z, 1452)."""
    rng = np.random.default_rng(subject)
    return rng.integers(200, 900, (*SHAPE, 12 * HAXBY_VOLUMES)).astype(np.int16)


def haxby_order(subject: int, run: int) -> list[str]:
    """The categories of a run, from 0, in their order; none in run 8 of subject 5."""
    rng = np.random.default_rng([subject, run])
    return [] if (subject, run) == (5, 7) else rng.permutation(CATEGORIES).tolist()


def haxby_labels(subject: int) -> list[str]:
    """Lines of `labels.txt`."""
    lines = ["labels chunks"]
    for run in range(12):
        names = ["rest"] * HAXBY_VOLUMES
        for place, category in enumerate(haxby_order(subject, run)):
            first = 6 + 14 * place
            names[first : first + 9] = [category] * 9
        lines += [f"{name} {run}" for name in names]
    return lines


def haxby(root: Path, subjects: tuple[int, ...]) -> Path:
    """Write `haxby2001` into a cache; subject 6 has no anatomy."""
    folder = root / "haxby2001"
    write_image(folder / "mask.nii.gz", box(1, 0.8))
    (folder / "MD5SUMS").write_text("0  subj1-2010.01.14.tar.gz\n")
    for subject in subjects:
        own = folder / f"subj{subject}"
        write_image(own / "bold.nii.gz", haxby_volumes(subject), 2.5)
        (own / "labels.txt").write_text("\n".join(haxby_labels(subject)) + "\n")
        for seed, name in enumerate(REGIONS, start=10 * subject):
            write_image(own / f"{name}.nii.gz", box(seed, 0.4))
        if subject != 6:
            write_image(own / "anat.nii.gz", np.ones((7, 5, 6), np.int16))
    return root


def miyawaki_volumes(kind: str, run: int) -> np.ndarray:
    """Volumes of a run, int16 (X, Y, Z, volumes)."""
    rng = np.random.default_rng([len(kind), ord(kind[0]), run])
    return rng.integers(200, 900, (*SHAPE, MIYAWAKI_VOLUMES[kind])).astype(np.int16)


def miyawaki_picture(kind: str, run: int, block: int) -> np.ndarray:
    """A picture of 10 x 10 patches of 0 and 1; figures come back in every run."""
    seed = [7, block] if kind == "figure" else [8, run, block]
    return np.random.default_rng(seed).integers(0, 2, (10, 10))


def miyawaki_starts(kind: str) -> list[int]:
    """First volumes of the blocks, each of three volumes; the second follows without rest."""
    return [4, 7, 16, 25] if kind == "random" else [5, 14]


def miyawaki(root: Path) -> Path:
    """Write `miyawaki2008` into a cache."""
    folder = root / "miyawaki2008"
    write_image(folder / "mask" / "mask.nii.gz", box(1, 0.8))
    write_image(folder / "bg.nii.gz", box(2))
    parts = ["V1d", "V1v", "V2d", "V2v", "V3A", "V3", "V4v", "VP"]
    parts += [f"lag{n}to{n + 1}" for n in range(11)]
    for seed, name in enumerate(f"{side}{part}" for part in parts for side in ("LH", "RH")):
        write_image(folder / "mask" / f"{name}.nii.gz", box(100 + seed, 0.3))
    for kind, count in (("random", 20), ("figure", 12)):
        for run in range(1, count + 1):
            name = f"data_{kind}_run{run:02d}"
            write_image(folder / "func" / f"{name}.nii.gz", miyawaki_volumes(kind, run))
            rows = np.full((MIYAWAKI_VOLUMES[kind], 100), -1)
            for block, first in enumerate(miyawaki_starts(kind)):
                # the true files list the patches of the first column first
                rows[first : first + 3] = miyawaki_picture(kind, run, block).T.ravel()
            path = folder / "label" / f"{name}_label.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return root
