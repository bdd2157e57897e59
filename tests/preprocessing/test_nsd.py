"""`prepare nsd` on a small copy of the bucket whose every value is planted."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.__main__ import main as command
from preprocessing.nsd import declared, prepare_nsd
from tests.preprocessing import nsd_tree as tree

SESSIONS = {1: [1, 3], 4: [2]}
INSIDE = tree.mask() > 0


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    return tree.build(tmp_path_factory.mktemp("nsd") / "bucket", SESSIONS, hdf5=(3,))


@pytest.fixture(scope="module")
def stored(bucket, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "nsd.h5"
    prepare_nsd(str(bucket), str(path), "1", sessions=[3, 1], standardise="none", image_size=8)
    prepare_nsd(str(bucket), str(path), "subj04", sessions=[2], standardise="none", image_size=8)
    with VoxelStore(path) as store:
        yield store


def raw(subject):
    """Percent signal change of all planted trials, (trials, voxels)."""
    blocks = [tree.planted(subject, session)[INSIDE].T for session in SESSIONS[subject]]
    return np.concatenate(blocks) / 300


@pytest.mark.parametrize("subject", [1, 4])
def test_responses_are_the_planted_integers_by_300(stored, subject):
    brain = stored[f"sub-{subject:02d}"]
    np.testing.assert_allclose(brain.responses(), raw(subject), rtol=1e-6)
    assert brain.units == "percent signal change"
    np.testing.assert_array_equal(brain.ijk, np.argwhere(INSIDE))
    np.testing.assert_allclose(brain.affine, tree.AFFINE, rtol=1e-6)
    assert tuple(brain.shape) == tree.SHAPE


@pytest.mark.parametrize("subject", [1, 4])
def test_trials_name_the_pictures_counted_from_zero(stored, subject):
    trials = stored[f"sub-{subject:02d}"].trials
    pictures = np.concatenate([tree.shown(subject, session) for session in SESSIONS[subject]])
    assert trials["stimulus"].tolist() == [f"nsd-{picture:05d}" for picture in pictures]
    assert trials["session"].tolist() == np.repeat(SESSIONS[subject], 750).tolist()
    first = trials["run"][:750].value_counts(sort=False)
    assert first.to_dict() == {run: 63 if run % 2 else 62 for run in range(1, 13)}


def test_shared_pictures_are_the_test(stored):
    trials = stored["sub-01"].trials
    places = tree.ordering()[0, np.r_[0:750, 1500:2250]]
    assert ((trials["split"] == "test") == (places <= 1000)).all()
    ones = trials[trials["stimulus"] == trials["stimulus"].iloc[0]]
    assert ones["repeat"].tolist() == list(range(len(ones)))
    tests = set(trials.loc[trials["split"] == "test", "stimulus"])
    assert tests == set(stored["sub-04"].trials.query("split == 'test'")["stimulus"])
    assert len(tests) == 3


def test_pictures_are_those_of_the_brick(stored):
    stimuli = stored.stimuli
    everything = np.concatenate([tree.shown(s, n) for s in SESSIONS for n in SESSIONS[s]])
    numbers = np.unique(everything).tolist()
    assert stimuli.ids == [f"nsd-{number:05d}" for number in numbers]
    images = stimuli.images()
    assert images.shape == (len(numbers), 8, 8, 3)
    assert images[:, 3, 5].tolist() == [tree.colour(number) for number in numbers]
    assert stimuli.strata["in_bold5000"].tolist() == [number % 3 == 0 for number in numbers]


def test_regions_and_reliability(stored):
    brain = stored["sub-01"]
    areas, faces = tree.labels(6, 7)[INSIDE], tree.labels(7, 5)[INSIDE]
    np.testing.assert_array_equal(brain.rois["V2"], (areas == 3) | (areas == 4))
    np.testing.assert_array_equal(brain.rois["hV4"], areas == 7)
    np.testing.assert_array_equal(brain.rois["FFA"], (faces == 2) | (faces == 3))
    assert brain.rois["nsdgeneral"].all()
    np.testing.assert_array_equal(brain.quality["ncsnr"], tree.ncsnr(1)[INSIDE])
    assert (brain.quality["ncsnr"] != stored["sub-04"].quality["ncsnr"]).all()
    assert {"snr", "noise_ceiling"} < set(brain.quality)


def test_each_session_is_standardised_by_its_training_trials(bucket, tmp_path):
    prepare_nsd(str(bucket), str(tmp_path / "z.h5"), "1", sessions=[1, 3], pictures=False)
    with VoxelStore(tmp_path / "z.h5") as store:
        brain, values = store["sub-01"], raw(1)
        train = (brain.trials["split"] == "train").to_numpy()
        for first in (0, 750):
            rows = slice(first, first + 750)
            known = values[rows][train[rows]]
            expected = (values[rows] - known.mean(0)) / known.std(0, ddof=1)
            np.testing.assert_allclose(brain.responses()[rows], expected, atol=1e-5)
        assert brain.units == "z"
        assert store.stimuli is None


def test_both_splits_by_name():
    full, classic = declared("1000").subjects, declared("982").subjects
    assert full["sub-01"].trials == {"train": 27000, "test": 3000}
    assert classic["sub-01"].trials == {"train": 24980, "test": 2770}
    assert [facts.sessions for facts in full.values()] == [40, 40, 32, 30, 40, 32, 40, 30]
    assert classic["sub-08"].sessions == 27
    assert full["sub-07"].voxels == {"nsdgeneral": 12682}


def test_the_classic_split_has_no_last_sessions(bucket, tmp_path):
    with pytest.raises(
        SourceError,
        match=r"subject 4 has no session 28 in the split 982; expected "
        r"numbers from 1 to 27",
    ):
        prepare_nsd(str(bucket), str(tmp_path / "s.h5"), "4", "982", sessions=[28])


def test_differences_from_what_is_declared_are_said(bucket, tmp_path, capsys):
    prepare_nsd(str(bucket), str(tmp_path / "s.h5"), "4", sessions=[2], pictures=False)
    said = capsys.readouterr().out
    for part in (
        "sub-04: 1 sessions, declared are 30",
        "sub-04: 12 runs, declared are 360",
        f"sub-04: {INSIDE.sum()} voxels in nsdgeneral, declared are 13153",
    ):
        assert part in said


def test_check_names_every_missing_file(bucket, tmp_path, capsys):
    options = ["--source", str(bucket), "--store", str(tmp_path / "s.h5"), "--check"]
    assert command(["nsd", *options, "--subjects", "1", "--sessions", "[1, 2]"]) == 2
    said = capsys.readouterr()
    assert "missing, optional: " in said.out
    assert "betas_session02.nii.gz (betas of sub-01, session 2)" in said.out
    assert "1 of 5 required files of Natural Scenes Dataset are missing" in said.err
    assert command(["nsd", *options, "--subjects", "1", "--sessions", "[1, 3]"]) == 0
    assert not (tmp_path / "s.h5").exists()


def design(**changes):
    """Change arrays of nsd_expdesign.mat."""

    def damage(root):
        path = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
        arrays = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        for key, change in changes.items():
            arrays[key] = change(arrays[key])
        scipy.io.savemat(path, arrays)

    return damage


def betas(change):
    def damage(root):
        folder = root / f"nsddata_betas/ppdata/subj04/{tree.GRID}/{tree.BETAS}"
        tree.save(folder / "betas_session02.nii.gz", change(tree.planted(4, 2)))

    return damage


def answers(root):
    path = root / "nsddata/ppdata/subj04/behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    table.loc[16, "73KID"] += 1
    table.to_csv(path, sep="\t", index=False)


def brick(root):
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path, "r+") as file:
        del file["imgBrick"]
        file["imgBrick"] = np.zeros((5, 4, 4, 3), np.uint8)


def other_mask(root):
    roi = root / f"nsddata/ppdata/subj04/{tree.GRID}/roi/nsdgeneral.nii.gz"
    tree.save(roi, -np.ones(tree.SHAPE, np.int16))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            design(masterordering=lambda a: a - 1),
            r"'masterordering' .* from 0 to 9999; expected nu",
        ),
        (
            design(subjectim=lambda a: a - 1),
            r"'subjectim' in .* goes from 0 to .*; expected numbers",
        ),
        (design(subjectim=lambda a: a.T), r"'subjectim' .* shape \(10000, 8\); expected a row for"),
        (design(masterordering=lambda a: a[:, :900]), r"the design has 900 trials; expected 1500"),
        (design(sharedix=lambda a: a + 0.5), r"'sharedix' in .* is float64 .*; expected whole num"),
        (
            betas(lambda a: a[..., :-1]),
            r"shape \(5, 4, 3, 749\); expected \(5, 4, 3, 750\), the grid",
        ),
        (
            betas(lambda a: a.transpose(1, 0, 2, 3)),
            r"has the shape \(4, 5, 3, 750\); expected \(5, ",
        ),
        (betas(lambda a: a / np.float32(300)), r"holds float32; expected integers, 300 times the"),
        (answers, r"picture \d+ in trial 17 of session 2; expected \d+, which nsd_expdesign.mat"),
        (brick, r"nsd_stimuli.hdf5 has 5 rows in 'imgBrick'; expected \d+ or more"),
        (other_mask, r"no voxel of .*nsdgeneral.nii.gz is above zero"),
    ],
)
def test_sources_that_contradict(tmp_path, damage, match):
    root = tree.build(tmp_path / "bucket", {4: [2]})
    damage(root)
    with pytest.raises(SourceError, match=match):
        prepare_nsd(str(root), str(tmp_path / "s.h5"), "4", sessions=[2], image_size=8)
    assert not (tmp_path / "s.h5").exists()


@pytest.fixture(scope="module")
def mindeye(tmp_path_factory):
    trials = {
        "train": [(5, 760), (9, 3), (72999, 1)],
        "new_test": [(40, 2), (41, 29999), (40, 751), (41, 66)],
    }
    return tree.mindeye2(tmp_path_factory.mktemp("mindeye") / "folder", 2, trials)


def test_mindeye2_is_put_in_order_of_time(mindeye, tmp_path):
    prepare_nsd(str(mindeye), str(tmp_path / "s.h5"), "2", image_size=None)
    with VoxelStore(tmp_path / "s.h5") as store:
        brain, stimuli = store["sub-02"], store.stimuli
        order = [1, 2, 3, 66, 751, 760, 29999]
        np.testing.assert_array_equal(brain.responses(), tree.mindeye2_betas(2)[order])
        trials = brain.trials
        pictures = [72999, 40, 9, 41, 40, 5, 41]
        assert trials["stimulus"].tolist() == [f"nsd-{picture:05d}" for picture in pictures]
        assert trials["split"].tolist() == [
            *("train", "test", "train", "test", "test", "train", "test")
        ]
        assert trials["session"].tolist() == [1, 1, 1, 1, 2, 2, 40]
        assert trials["run"].tolist() == [1, 1, 1, 2, 1, 1, 12]
        assert trials["repeat"].tolist() == [0, 0, 0, 0, 1, 0, 1]
        assert sorted(brain.rois) == ["V1", "higher_vis", "nsdgeneral"]
        assert brain.rois["V1"].tolist() == [True] * 2 + [False] * 5
        assert stimuli.images().shape == (5, 224, 224, 3)
        assert stimuli.images()[:, 7, 9].tolist() == [
            tree.colour(number) for number in (5, 9, 40, 41, 72999)
        ]


def test_mindeye2_without_the_classic_tars(mindeye, tmp_path):
    with pytest.raises(
        SourceError, match=r"required files .* missing, .*test.*\(test trials of sub"
    ):
        prepare_nsd(str(mindeye), str(tmp_path / "s.h5"), "2", "982")


def test_mindeye2_trial_in_both_splits(tmp_path):
    root = tree.mindeye2(tmp_path / "m", 2, {"train": [(5, 8)], "new_test": [(6, 8)]})
    with pytest.raises(
        SourceError, match=r"has the trial 8 twice; expected each trial in one split"
    ):
        prepare_nsd(str(root), str(tmp_path / "s.h5"), "2")
