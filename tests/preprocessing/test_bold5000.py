"""`prepare bold5000`: planted betas under the pictures of the lists, standardised by session."""

import nibabel as nib
import numpy as np
import pytest

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.__main__ import main
from preprocessing.bold5000 import prepare_bold5000
from tests.preprocessing.bold5000_files import (
    AFFINE,
    METHOD,
    REPEATED,
    SHAPE,
    VOXELS,
    build,
    mask,
    names,
    region_betas,
    sessions,
    volume_betas,
    write_pictures,
)

TEST = {name.rsplit(".", 1)[0] for name in REPEATED}


def prepare(root, store, **options):
    prepare_bold5000(str(root), str(store), **options)
    return VoxelStore(store)


@pytest.fixture(scope="module")
def bold5000(tmp_path_factory):
    return build(tmp_path_factory.mktemp("bold5000") / "data")


def scaled(values, subject):
    """Each session and voxel by mean and deviation of its training trials, in plain loops."""
    out = np.empty(values.shape)
    session = sessions(subject)
    train = np.array([name not in TEST for name in names(subject)])
    for number in set(session.tolist()):
        for voxel in range(values.shape[1]):
            known = values[(session == number) & train, voxel].astype(float)
            rows = session == number
            out[rows, voxel] = (values[rows, voxel] - known.mean()) / known.std(ddof=1)
    return out


def test_regions_are_joined_in_their_order(bold5000, tmp_path):
    betas = region_betas("CSI1")
    flat = np.concatenate([betas[region, side] for region in VOXELS for side in ("LH", "RH")], 1)
    with prepare(bold5000, tmp_path / "s.h5", subjects="CSI1") as store:
        subject = store["sub-CSI1"]
        np.testing.assert_allclose(subject.responses(), scaled(flat, "CSI1"), rtol=1e-4, atol=1e-5)
        start = 0
        for region, counts in VOXELS.items():
            inside = np.flatnonzero(subject.rois[region]).tolist()
            assert inside == list(range(start, start + sum(counts)))
            start += sum(counts)
        assert subject.units == "z"
    with prepare(bold5000, tmp_path / "t.h5", subjects="CSI1", standardise="none") as store:
        np.testing.assert_array_equal(store["sub-CSI1"].responses(), flat)
        assert store["sub-CSI1"].units == "percent signal change"


def test_trials_and_test_pictures(bold5000, tmp_path):
    with prepare(bold5000, tmp_path / "s.h5", subjects="CSI1") as store:
        trials = store["sub-CSI1"].trials
        assert trials["stimulus"].tolist() == names("CSI1")
        assert [s == "test" for s in trials["split"]] == [name in TEST for name in names("CSI1")]
        assert trials["session"].tolist() == sessions("CSI1").tolist()
        assert trials["run"].tolist() == [1] * 5 + [2] * 4 + [1] * 7
        assert trials["onset"].tolist()[:6] == [0, 10, 20, 30, 40, 0]
        assert trials["repeat"].tolist() == [0] * 9 + [1, 0, 0, 1, 0, 1, 0]
        labels = dict(zip(store.stimuli.ids, store.stimuli.labels, strict=True))
        sources = dict(zip(store.stimuli.ids, store.stimuli.categories, strict=True))
        assert (labels["n02097658_10"], sources["n02097658_10"]) == ("n02097658", "ImageNet")
        assert (labels["pond10"], sources["pond10"]) == ("pond", "Scene")
        assert sources["COCO_train2014_000000000036"] == "COCO"


def test_pictures_are_those_of_their_names(bold5000, tmp_path):
    colours = write_pictures(tmp_path)
    with prepare(bold5000, tmp_path / "s.h5", subjects="CSI1", image_size=6) as store:
        ids = store.stimuli.ids
        assert ids == sorted(set(names("CSI1")))
        assert store.stimuli.images()[:, 2, 3].tolist() == [list(colours[name]) for name in ids]


def test_volumes_of_nine_sessions(bold5000, tmp_path):
    flat = np.concatenate([values[mask()].T for values in volume_betas("CSI4")])
    options = {"form": "volumes", "rois": "masks/{subject}_*.nii.gz"}
    with prepare(bold5000, tmp_path / "s.h5", subjects="CSI4", **options) as store:
        subject = store["sub-CSI4"]
        np.testing.assert_allclose(subject.responses(), scaled(flat, "CSI4"), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(subject.ijk, np.argwhere(mask()))
        np.testing.assert_array_equal(subject.affine, AFFINE)
        np.testing.assert_array_equal(subject.rois["LHPPA"], np.argwhere(mask())[:, 0] < 2)
        assert sorted(subject.rois) == ["LHPPA", "RHLOC"]
        assert subject.trials["session"].tolist() == sessions("CSI4").tolist()
        assert subject.trials["stimulus"].tolist() == names("CSI4")
    assert not (tmp_path / "s.h5.parts").exists()


def test_without_a_mask_voxels_that_vary_are_kept(bold5000, tmp_path):
    root = build(tmp_path / "data")
    for session, values in enumerate(volume_betas("CSI4"), start=1):
        values[0, 1, 2], values[3, 2] = 0, np.nan
        nib.save(nib.Nifti1Image(values, AFFINE), root / f"CSI4_{METHOD}_ses-{session:02d}.nii.gz")
    options = {"form": "volumes", "mask": "none", "images": "none", "subjects": "CSI4"}
    with prepare(root, tmp_path / "s.h5", **options) as store:
        assert store["sub-CSI4"].num_voxels == np.prod(SHAPE) - 1 - 5
        assert store.stimuli is None


def test_a_mask_without_voxels_is_a_sentence(bold5000, tmp_path):
    root = build(tmp_path / "data")
    nothing = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)
    nib.save(nothing, root / "CSI4_brainmask.nii.gz")
    with pytest.raises(SourceError, match=r"no voxel of .*CSI4_brainmask.nii.gz is above zero"):
        prepare(root, tmp_path / "s.h5", subjects="CSI4", form="volumes", images="none")


def test_differences_are_said(bold5000, tmp_path, capsys):
    prepare(bold5000, tmp_path / "s.h5", subjects="CSI1").close()
    said = capsys.readouterr().out
    assert "sub-CSI1: 2 sessions, declared are 15" in said
    assert "sub-CSI1: 10 train trials, declared are 4803" in said


def test_check_says_what_is_missing(bold5000, tmp_path, capsys):
    command = ["bold5000", "--source", str(bold5000), "--check"]
    assert main(command) == 2
    captured = capsys.readouterr()
    missing = [line for line in captured.out.splitlines() if line.startswith("missing")]
    assert len(missing) == 3 * 10 + 2  # regions of three subjects, lists of two
    assert "LHEarlyVis.npy (LH EarlyVis of sub-CSI2)" in captured.out
    assert main([*command, "--subjects", "CSI1"]) == 0
    assert main([*command, "--subjects", "CSI4", "--form", "volumes"]) == 0
    capsys.readouterr()
    root = build(tmp_path / "data")
    (next(root.rglob("pond3.jpg"))).unlink()
    assert main(["bold5000", "--source", str(root), "--subjects", "CSI1", "--check"]) == 2
    assert "missing: pond3 (a picture in" in capsys.readouterr().out


def region(root, name="LHLOC"):
    return root / "BOLD5000_GLMsingle_ROI_betas" / "py" / f"CSI1_{METHOD}_allses_{name}.npy"


def lists(root):
    return next((root / "BOLD5000_Stimuli").rglob("CSI1_sess9_run9.txt"))


def pickled(path):
    np.save(path, np.array([{}] * 16), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda root: np.save(region(root), np.zeros((15, 2))),
            r"\(15, 2\); expected \(16, voxels\)",
        ),
        (
            lambda root: np.save(region(root), np.full((16, 2), np.nan)),
            r"LHLOC.npy has NaN in 2 of 2",
        ),
        (
            lambda root: pickled(region(root)),
            r"LHLOC.npy cannot be read .*an array without objects",
        ),
        (lambda root: region(root).write_bytes(b"x"), r"LHLOC.npy cannot be read"),
        (lambda root: region(root).unlink(), r"1 of 13 required files of BOLD5000 are missing"),
        (lambda root: lists(root).write_text(""), r"CSI1_sess9_run9.txt is no list of pictures"),
        (lambda root: lists(root).write_text("../x.jpg\n"), r"is no list of pictures"),
        (lambda root: lists(root).write_bytes(b"\xff\xfe"), r"run9.txt cannot be read"),
    ],
)
def test_broken_regions_and_lists(tmp_path, damage, match):
    root = build(tmp_path / "data")
    damage(root)
    with pytest.raises(SourceError, match=match):
        prepare(root, tmp_path / "s.h5", subjects="CSI1")
    assert not (tmp_path / "s.h5").exists()


def session(root, number=3):
    return root / f"CSI4_{METHOD}_ses-{number:02d}.nii.gz"


def save(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda root: save(session(root), np.zeros((*SHAPE, 6))),
            r"ses-03.*has 6 volumes; expected 5",
        ),
        (
            lambda root: save(session(root), np.zeros((4, 3, 6, 5))),
            r"has the shape \(4, 3, 6\); exp",
        ),
        (
            lambda root: save(session(root), np.full((*SHAPE, 5), np.nan)),
            r"ses-03.*has NaN in 42 of 42",
        ),
        (
            lambda root: session(root).write_bytes(session(root).read_bytes()[:90]),
            r"ses-03.*truncated",
        ),
        (
            lambda root: session(root, 9).unlink(),
            r"ses-09.nii.gz \(session 9 of sub-CSI4\) the first",
        ),
    ],
)
def test_broken_volumes(tmp_path, damage, match):
    root = build(tmp_path / "data")
    damage(root)
    with pytest.raises(SourceError, match=match):
        prepare(root, tmp_path / "s.h5", subjects="CSI4", form="volumes")
    assert not (tmp_path / "s.h5").exists()
