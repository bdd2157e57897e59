"""A small copy of the bucket of NSD, and of MindEye2's folder: true files, few voxels."""

import io
import tarfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io

SHAPE, TRIALS, SIDE = (5, 4, 3), 750, 425
AFFINE = np.array([[1.8, 0, 0, -4], [0, 1.8, 0, -3], [0, 0, 1.8, -2], [0, 0, 0, 1]])
#: of subjectim: the first 1,000 columns are the shared pictures, in every row the same
SHARED, OWN = 1000, 9000
BETAS = "betas_fithrf_GLMdenoise_RR"
GRID = "func1pt8mm"
#: places in subjectim that sessions go through; from 1, as in the file, 3 of them shared
PLACES = np.array([1001, 7, 1002, 1003, 1000, 9999, 1004, 7, 10000, 1, 1005])


def subject_pictures() -> np.ndarray:
    """`subjectim`, (8, 10000), numbers of pictures from 1."""
    rng = np.random.default_rng(0)
    order = rng.permutation(73000) + 1
    own = order[SHARED : SHARED + 8 * OWN].reshape(8, OWN)
    return np.hstack([np.tile(np.sort(order[:SHARED]), (8, 1)), own])


def ordering() -> np.ndarray:
    """`masterordering`, (1, 30000), numbers of places in subjectim from 1."""
    return np.resize(PLACES, (1, 30000))


def shown(subject: int, session: int) -> np.ndarray:
    """The picture of each trial of a session, counted from 0; (750,)."""
    places = ordering()[0, (session - 1) * TRIALS : session * TRIALS]
    return subject_pictures()[subject - 1, places - 1] - 1


def planted(subject: int, session: int) -> np.ndarray:
    """The betas of a session as NSD stores them, int16 (X, Y, Z, 750)."""
    rng = np.random.default_rng([subject, session])
    return rng.integers(-3000, 3000, (*SHAPE, TRIALS), dtype=np.int16)


def mask() -> np.ndarray:
    """`nsdgeneral`, (X, Y, Z): 1 inside, 0 or -1 outside."""
    values = np.random.default_rng(5).integers(-1, 2, SHAPE)
    return values.astype(np.int16)


def labels(seed: int, high: int) -> np.ndarray:
    """A labelled image, (X, Y, Z), from -1 to `high`."""
    return np.random.default_rng(seed).integers(-1, high + 1, SHAPE).astype(np.int16)


def colour(picture: int) -> list[int]:
    """The colour that a planted picture is filled with."""
    return [picture % 251, picture // 251 % 251, 3]


def save(path: Path, values: np.ndarray) -> None:
    """An image on NSD's grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)


def save_hdf5(path: Path, values: np.ndarray) -> None:
    """An array as MATLAB writes it: the axes reversed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["betas"] = values.transpose(3, 2, 1, 0)


def build(root: Path, subjects: dict[int, list[int]], hdf5: tuple[int, ...] = ()) -> Path:
    """Write the data set.

    Args:
        root: The folder.
        subjects: Sessions by subject.
        hdf5: Sessions whose betas are HDF5, the others NIfTI.
    """
    _write_experiment(root)
    pictures = {int(p) for s, sessions in subjects.items() for n in sessions for p in shown(s, n)}
    _write_brick(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", sorted(pictures))
    for subject, sessions in subjects.items():
        name = f"subj{subject:02d}"
        regions = root / "nsddata/ppdata" / name / GRID / "roi"
        save(regions / "nsdgeneral.nii.gz", mask())
        save(regions / "prf-visualrois.nii.gz", labels(6, 7))
        save(regions / "floc-faces.nii.gz", labels(7, 5))
        betas = root / "nsddata_betas/ppdata" / name / GRID / BETAS
        save(betas / "ncsnr.nii.gz", ncsnr(subject))
        for session in sessions:
            stem, write = (".hdf5", save_hdf5) if session in hdf5 else (".nii.gz", save)
            write(betas / f"betas_session{session:02d}{stem}", planted(subject, session))
        _write_answers(root / "nsddata/ppdata" / name / "behav/responses.tsv", subject, sessions)
    return root


def ncsnr(subject: int) -> np.ndarray:
    """Reliability of the voxels, float32 (X, Y, Z)."""
    return np.random.default_rng(subject + 50).random(SHAPE).astype(np.float32)


def _write_experiment(root: Path) -> None:
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    pictures = subject_pictures()
    design = {
        "subjectim": pictures.astype(np.float64),  # MATLAB's numbers
        "masterordering": ordering().astype(np.float64),
        "sharedix": pictures[:1, :SHARED].astype(np.float64),
        "basiccnt": np.zeros((3, 40)),
        "stimpattern": np.zeros((40, 12, 75), np.uint8),
    }
    scipy.io.savemat(folder / "nsd_expdesign.mat", design, do_compression=True)
    numbers = np.arange(73000)
    info = pd.DataFrame(
        {
            "cocoId": numbers * 7 + 9,
            "cocoSplit": "train2017",
            "nsdId": numbers,
            "BOLD5000": numbers % 3 == 0,
            "shared1000": np.isin(numbers + 1, pictures[0, :SHARED]),
        }
    )
    info.to_csv(folder / "nsd_stim_info_merged.csv")


def _write_brick(path: Path, pictures: list[int]) -> None:
    """All 73,000 rows are there; those that are not shown take no space on disk."""
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        shape = (73000, SIDE, SIDE, 3)
        brick = file.create_dataset(
            "imgBrick", shape, np.uint8, chunks=(1, SIDE, SIDE, 3), compression="gzip"
        )
        for picture in pictures:
            brick[picture] = np.broadcast_to(np.uint8(colour(picture)), shape[1:])


def _write_answers(path: Path, subject: int, sessions: list[int]) -> None:
    path.parent.mkdir(parents=True)
    blocks = [
        pd.DataFrame(
            {
                "SUBJECT": subject,
                "SESSION": session,
                "RUN": np.repeat(np.arange(1, 13), (63, 62) * 6),
                "TRIAL": np.concatenate([np.arange(1, n + 1) for n in (63, 62) * 6]),
                "73KID": shown(subject, session) + 1,
                "TIME": 736600.5,
                "ISCORRECT": 1,
            }
        )
        for session in sessions
    ]
    pd.concat(blocks).to_csv(path, sep="\t", index=False)


def mindeye2(root: Path, subject: int, trials: dict[str, list[tuple[int, int]]]) -> Path:
    """Write MindEye2's folder.

    Args:
        root: The folder.
        subject: Its number.
        trials: Pairs of picture and trial, counted from 0, by folder: train, test or new_test.
    """
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / f"betas_all_subj{subject:02d}_fp32_renorm.hdf5", "w") as file:
        file["betas"] = mindeye2_betas(subject)
    with h5py.File(root / "coco_images_224_float16.hdf5", "w") as file:
        images = file.create_dataset(
            "images", (73000, 3, 224, 224), np.float16, chunks=(1, 3, 224, 224), compression="gzip"
        )
        for picture in {picture for pairs in trials.values() for picture, _ in pairs}:
            level = np.array(colour(picture))[:, None, None] / 255
            images[picture] = np.broadcast_to(level, images.shape[1:])
    with h5py.File(root / "brain_region_masks.hdf5", "w") as file:
        group = file.create_group(f"subj{subject:02d}")
        group["nsd_general"] = np.ones(7, bool)
        group["V1"] = np.arange(7) < 2
        group["higher_vis"] = np.arange(7) > 4
    for folder, pairs in trials.items():
        write_tar(root / "wds" / f"subj{subject:02d}" / folder / "0.tar", pairs)
    return root


def mindeye2_betas(subject: int) -> np.ndarray:
    """Betas of all trials, float32 (30000, 7)."""
    return np.random.default_rng(subject).normal(size=(30000, 7)).astype(np.float32)


def write_tar(path: Path, pairs: list[tuple[int, int]]) -> None:
    """A WebDataset tar: behav.npy beside arrays of other trials, NaN written as -1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, (picture, trial) in enumerate(pairs):
            behaviour = np.full((1, 17), -1.0)
            behaviour[0, [0, 5]] = picture, trial
            others = np.full((3, 17), 4.0)
            names = {"behav": behaviour, "past_behav": others, "olds_behav": others}
            for name, array in names.items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                member = tarfile.TarInfo(f"sample{number:09d}.{name}.npy")
                member.size = buffer.tell()
                buffer.seek(0)
                archive.addfile(member, buffer)
