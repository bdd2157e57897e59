"""`prepare haxby` and `prepare miyawaki` on small copies of nilearn's cache."""

import numpy as np
import pytest
from nilearn.signal import clean

from mindvis.data.store import VoxelStore
from mindvis.errors import ConfigError, SourceError
from preprocessing.haxby import prepare_haxby
from preprocessing.miyawaki import prepare_miyawaki
from tests.preprocessing import nilearn_trees as trees

RAW = {"detrend": False, "standardise": False}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    trees.miyawaki(root)
    return trees.haxby(root, (2, 5, 6))


@pytest.mark.parametrize(("subject", "blocks"), [(2, 96), (5, 88), (6, 96)])
def test_haxby_blocks_are_means_of_their_volumes(cache, tmp_path, subject, blocks):
    prepare_haxby(str(cache), str(tmp_path / "s.h5"), str(subject), **RAW)
    inside = trees.box(1, 0.8) > 0
    series = trees.haxby_volumes(subject)[inside].T.astype(float)
    expected, runs, names = [], [], []
    for run in range(12):
        for place, category in enumerate(trees.haxby_order(subject, run)):
            first = run * 121 + 6 + 14 * place + 2  # 5 s later
            expected.append(series[first : first + 9].mean(axis=0))
            runs.append(run + 1)
            names.append(category)
    with VoxelStore(tmp_path / "s.h5") as store:
        brain = store[f"sub-{subject:02d}"]
        assert len(expected) == blocks
        np.testing.assert_allclose(brain.responses(), expected, rtol=1e-6)
        trials = brain.trials
        assert trials["condition"].tolist() == names
        assert trials["run"].tolist() == runs
        assert trials["onset"].tolist()[:3] == [15.0, 50.0, 85.0]
        assert ((trials["split"] == "test") == (trials["run"] > 10)).all()
        assert brain.tr == 2.5
        assert store.stimuli is None
        np.testing.assert_array_equal(brain.ijk, np.argwhere(inside))
        house = trees.box(10 * subject + 2, 0.4)[inside] > 0
        np.testing.assert_array_equal(brain.rois["house"], house)
        assert sorted(brain.rois) == ["face", "face_little", "house", "house_little", "vt"]


def test_haxby_runs_are_cleaned_one_by_one(cache, tmp_path):
    prepare_haxby(str(cache / "haxby2001"), str(tmp_path / "s.h5"), "2", voxels="vt")
    inside = trees.box(20, 0.4) > 0
    series = trees.haxby_volumes(2)[inside].T.astype(float)
    expected = []
    for run in range(12):
        part = series[run * 121 : (run + 1) * 121]
        cleaned = clean(part, detrend=True, standardize="zscore_sample", filter=False)
        expected += [cleaned[8 + 14 * n : 17 + 14 * n].mean(axis=0) for n in range(8)]
    with VoxelStore(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store["sub-02"].responses(), expected, atol=1e-5)
        assert store["sub-02"].rois["vt"].all()


def test_haxby_without_labels_of_a_run_is_as_declared(cache, tmp_path, capsys):
    prepare_haxby(str(cache), str(tmp_path / "s.h5"), "5", **RAW)
    assert "declared" not in capsys.readouterr().out


def copied(cache, tmp_path):
    return trees.haxby(tmp_path / "cache", (2,)) / "haxby2001" / "subj2"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda lines: lines[:-1],
            r"labels.txt has 1451 lines; expected 1452, one for each volume",
        ),
        (lambda lines: ["a b", *lines[1:]], r"labels.txt cannot be read .*labels and chunks"),
        (lambda lines: [lines[0], *lines[:0:-1]], r"the chunks of .* do not increase"),
        (lambda lines: ["labels chunks"] + ["rest 0"] * 1452, r"labels.txt names no category"),
        (lambda lines: [*lines[:9], "face x", *lines[10:]], r"labels.txt cannot be read"),
    ],
)
def test_haxby_labels_that_do_not_fit(cache, tmp_path, change, match):
    own = copied(cache, tmp_path)
    path = own / "labels.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(SourceError, match=match):
        prepare_haxby(str(tmp_path / "cache"), str(tmp_path / "s.h5"), "2")


def test_haxby_window_beyond_the_run(cache, tmp_path):
    with pytest.raises(SourceError, match=r"no volume between 250 and 260 s after the onset"):
        prepare_haxby(str(cache), str(tmp_path / "s.h5"), "2", lag_start=250, lag_end=260)


def test_missing_files_are_named(cache, tmp_path, capsys):
    with pytest.raises(SourceError, match=r"3 of 4 required files of Haxby .*subj1.bold"):
        prepare_haxby(str(cache), str(tmp_path / "s.h5"), "1", check=True)
    assert "missing, optional: " in capsys.readouterr().out
    with pytest.raises(SourceError, match=r"is not a folder; expected nilearn's cache, or its fol"):
        prepare_haxby(str(tmp_path / "nothing"), str(tmp_path / "s.h5"), "1")
    with pytest.raises(SourceError, match=r"has no subject 'sub-07'"):
        prepare_haxby(str(cache), str(tmp_path / "s.h5"), "7")


def test_without_source_nilearn_is_asked(monkeypatch, tmp_path):
    def refuse(**options):
        assert options["subjects"] == [3]
        raise OSError("no route to host")

    monkeypatch.setattr("nilearn.datasets.fetch_haxby", refuse)
    with pytest.raises(
        SourceError,
        match=r"could not download haxby2001 \(no route to host\); .*"
        r"--source",
    ):
        prepare_haxby(store=str(tmp_path / "s.h5"), subjects="3")


def test_without_source_the_filled_cache_is_used(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("NILEARN_DATA", str(cache))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)
    monkeypatch.setattr("nilearn.datasets.fetch_haxby", lambda **_: None)
    prepare_haxby(store=str(tmp_path / "s.h5"), subjects="6", **RAW)
    with VoxelStore(tmp_path / "s.h5") as store:
        assert store.subjects == ("sub-06",)


def miyawaki_blocks():
    for kind, count in (("random", 20), ("figure", 12)):
        for run in range(1, count + 1):
            for block, first in enumerate(trees.miyawaki_starts(kind)):
                yield kind, run, block, first


def test_miyawaki_blocks_lag_two_volumes(cache, tmp_path, capsys):
    prepare_miyawaki(str(cache), str(tmp_path / "s.h5"), **RAW)
    inside = trees.box(1, 0.8) > 0
    expected, pictures = [], []
    for kind, run, block, first in miyawaki_blocks():
        series = trees.miyawaki_volumes(kind, run)[inside].T
        expected.append(series[first + 2 : first + 5].mean(axis=0))
        pictures.append(trees.miyawaki_picture(kind, run, block) * 255)
    with VoxelStore(tmp_path / "s.h5") as store:
        brain, stimuli = store["sub-01"], store.stimuli
        np.testing.assert_allclose(brain.responses(), expected, rtol=1e-6)
        images = stimuli.images(stimuli.index(brain.trials["stimulus"]))
        np.testing.assert_array_equal(images[..., 1], pictures)
        assert len(stimuli.ids) == 20 * 4 + 2
        assert set(stimuli.categories) == {"random", "figure"}
        trials = brain.trials
        assert trials["split"].tolist() == ["train"] * 80 + ["test"] * 24
        assert trials["repeat"].tolist()[80:] == np.repeat(np.arange(12), 2).tolist()
        assert trials["onset"].tolist()[:4] == [8, 14, 32, 50]
        assert trials["run"].tolist()[76:82] == [20, 20, 20, 20, 1, 1]
        assert sorted(brain.quality) == ["noise_ceiling", "snr"]
        v1 = sum(trees.box(100 + seed, 0.3) for seed in range(4))[inside] > 0
        np.testing.assert_array_equal(brain.rois["V1"], v1)
        assert {"V2", "V3", "V3A", "V4v", "lag0to1", "lag10to11"} < set(brain.rois)
    assert "80 train trials, declared are 440" in capsys.readouterr().out


def test_miyawaki_volumes_as_trials_and_larger_pictures(cache, tmp_path):
    options = {"trials": "volumes", "image_size": 30, "shift": 1}
    prepare_miyawaki(str(cache / "miyawaki2008"), str(tmp_path / "s.h5"), **options, **RAW)
    inside = trees.box(1, 0.8) > 0
    expected = [
        trees.miyawaki_volumes(kind, run)[inside].T[first + n + 1]
        for kind, run, _, first in miyawaki_blocks()
        for n in range(3)
    ]
    with VoxelStore(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store["sub-01"].responses(), expected, rtol=1e-6)
        first = store.stimuli.images(store.stimuli.index(["random-0000"]))[0, ..., 2]
        small = trees.miyawaki_picture("random", 1, 0) * 255
        np.testing.assert_array_equal(first, np.kron(small, np.ones((3, 3))))


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda rows: rows[:-1], {}, r"label.csv has the shape \(36, 100\); expected \(37, 100\)"),
        (lambda rows: [row.rsplit(",", 1)[0] for row in rows], {}, r"the shape \(37, 99\)"),
        (lambda rows: [row.replace("1,", "2,", 1) for row in rows], {}, r"values besides 0 and 1"),
        (lambda rows: [row.replace("0", "x") for row in rows], {}, r"label.csv cannot be read"),
        (
            lambda rows: rows,
            {"shift": 12},
            r"4 trials, 1 of them without a volume 12 volumes later",
        ),
    ],
)
def test_miyawaki_labels_that_do_not_fit(tmp_path, change, options, match):
    folder = trees.miyawaki(tmp_path / "cache") / "miyawaki2008"
    path = folder / "label" / "data_random_run01_label.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(SourceError, match=match):
        prepare_miyawaki(str(folder), str(tmp_path / "s.h5"), **options)


def test_a_negative_shift(tmp_path):
    with pytest.raises(ConfigError, match="shift is -1; expected 0 or more volumes"):
        prepare_miyawaki(str(tmp_path), shift=-1)
