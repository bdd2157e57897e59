"""`prepare god`: both forms of the files give the planted values, in order, under exact ids."""

import h5py
import numpy as np
import pytest

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.__main__ import main
from preprocessing.god import prepare_god
from preprocessing.imagenet import picture_name
from tests.preprocessing.god_files import (
    IMAGINED,
    NAMES,
    REPEATS,
    ROIS,
    TEST,
    TRAIN,
    bdata_folder,
    content,
    coordinates,
    npz_arrays,
    npz_folder,
    write_bdata,
    write_pictures,
)

SHOWN = [NAMES[number] for number in [*TRAIN, *TEST * REPEATS]]
IMAGERY = [NAMES[number] for number in TEST[::-1] * IMAGINED]


def prepare(root, store, **options):
    """Prepare the two subjects that there are, and return the opened store."""
    prepare_god(str(root), str(store), **{"subjects": ["sub-01", "sub-03"], **options})
    return VoxelStore(store)


@pytest.fixture(scope="module")
def bdata(tmp_path_factory):
    return bdata_folder(tmp_path_factory.mktemp("god") / "data")


@pytest.mark.parametrize(("name", "seed"), [("sub-01", 1), ("sub-03", 3)])
def test_both_spellings_give_the_planted_values(bdata, tmp_path, name, seed):
    with prepare(bdata, tmp_path / "s.h5", image_size=None) as store:
        subject, planted = store[name], content(seed)
        np.testing.assert_array_equal(subject.responses(), planted["responses"].astype(np.float32))
        trials = subject.trials
        assert trials["stimulus"].tolist() == [*SHOWN, *IMAGERY]
        assert trials["split"].tolist() == ["train"] * 6 + ["test"] * 12 + [""] * 8
        assert trials["kind"].tolist() == ["task"] * 18 + ["imagery"] * 8
        assert (
            trials["repeat"].tolist() == [0] * 6 + [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [1] * 4
        )
        assert trials["run"].tolist() == [1] * 3 + [2] * 3 + [3] * 4 + [4] * 4 + [5] * 4 + [6] * 8
        for roi, members in ROIS.items():
            assert np.flatnonzero(subject.rois[roi]).tolist() == list(members)
        back = subject.ijk @ subject.affine[:3, :3].T + subject.affine[:3, 3]
        np.testing.assert_allclose(back, coordinates())
        assert sorted(subject.quality) == ["noise_ceiling", "snr"]
        assert subject.tr == 3.0


def test_pictures_are_matched_by_id_and_classes_named(bdata, tmp_path):
    colours = write_pictures(tmp_path / "reference")
    with prepare(bdata, tmp_path / "s.h5", image_size=None) as store:
        stimuli = store.stimuli
        assert stimuli.ids == sorted(colours)
        assert stimuli.images().shape == (10, 8, 9, 3)
        found = stimuli.images()[:, 4, 4].astype(int)
        np.testing.assert_allclose(found, [colours[name] for name in stimuli.ids], atol=3)
        label = dict(zip(stimuli.ids, stimuli.labels, strict=True))
        assert label["n01518878_5958"] == "ostrich"
        assert label["n03626115_19498"] == "n03626115"  # not in the table of names


def test_averaged_test_trials_and_no_imagery(bdata, tmp_path):
    with prepare(bdata, tmp_path / "s.h5", test="averaged", imagery=False, images="none") as store:
        rows = content(1)["responses"][6:18].reshape(REPEATS, len(TEST), -1).mean(axis=0)
        np.testing.assert_allclose(store["sub-01"].responses()[6:], rows, atol=1e-6)
        assert store["sub-01"].trials["stimulus"].tolist() == SHOWN[:10]
        assert store["sub-01"].quality  # of the single trials
        assert store.stimuli is None


def test_ids_are_exact():
    for number in [*TRAIN, *TEST]:
        text = f"{number // 10**6}.{number % 10**6:06d}"
        assert picture_name(float(text)) == picture_name(text) == NAMES[number]
    assert picture_name("3626115.5") == "n03626115_500000"
    single = float(np.float32(3626115.019498))
    assert picture_name(single) != "n03626115_19498"


def test_differences_from_what_is_declared_are_said(bdata, tmp_path, capsys):
    prepare(bdata, tmp_path / "s.h5").close()
    said = capsys.readouterr().out
    assert "sub-01: 6 train trials, declared are 1200" in said
    assert "sub-03: 11 voxels in VC, declared are 4643" in said


@pytest.fixture
def npz(tmp_path):
    return npz_folder(tmp_path / "npz")


def test_npz_gives_the_planted_values(npz, tmp_path):
    with prepare(npz, tmp_path / "s.h5", subjects="02", form="npz", image_size=None) as store:
        arrays, subject = npz_arrays(), store["sub-02"]
        expected = np.concatenate([arrays["arr_0"], arrays["arr_1"]]).astype(np.float32)
        np.testing.assert_array_equal(subject.responses(), expected)
        shown = [NAMES[TRAIN[n]] for n in arrays["arr_3"]] + [
            NAMES[TEST[n]] for n in arrays["arr_4"]
        ]
        assert subject.trials["stimulus"].tolist() == shown
        np.testing.assert_array_equal(
            subject.quality["noise_ceiling"], arrays["arr_5"].astype("f4")
        )
        np.testing.assert_array_equal(subject.quality["snr"], arrays["arr_6"].astype("f4"))
        np.testing.assert_array_equal(subject.rois["VC"], arrays["VC"])
        with np.load(npz / "images_256.npz") as pictures:
            rows = store.stimuli.index([NAMES[number] for number in TRAIN])
            np.testing.assert_array_equal(store.stimuli.images(rows), pictures["train_images"])
    options = {"subjects": "02", "form": "npz", "test": "averaged"}
    with prepare(npz, tmp_path / "t.h5", **options) as store:
        averaged = store["sub-02"]
        np.testing.assert_array_equal(averaged.responses()[6:], arrays["arr_2"].astype("f4"))
        assert averaged.trials["stimulus"].tolist()[6:] == [NAMES[number] for number in TEST]


@pytest.mark.parametrize("as_stored", [lambda p: p / 255.0, lambda p: p.astype(np.float64)])
def test_npz_pictures_of_either_range_are_the_same(npz, tmp_path, as_stored):
    with np.load(npz / "images_256.npz") as file:
        pictures = dict(file)
    np.savez(npz / "images_256.npz", **{key: as_stored(p) for key, p in pictures.items()})
    with prepare(npz, tmp_path / "s.h5", subjects="02", form="npz", image_size=None) as store:
        rows = store.stimuli.index([NAMES[number] for number in TEST])
        np.testing.assert_array_equal(store.stimuli.images(rows), pictures["test_images"])


def test_check_says_every_missing_file_and_picture(bdata, tmp_path, capsys):
    command = ["god", "--source", str(bdata), "--check"]
    assert main(command) == 2
    captured = capsys.readouterr()
    missing = [line for line in captured.out.splitlines() if line.startswith("missing: ")]
    assert [line.split("/")[-1] for line in missing] == [
        f"Subject{n}.h5 (responses of sub-{n:02d})" for n in (2, 4, 5)
    ]
    assert "3 of 6 required files" in captured.err
    (tmp_path / "few").mkdir()
    command += ["--subjects", "01", "--images", str(tmp_path / "few")]
    assert main(command) == 2
    assert "missing: n01443537_22563 (a picture in" in capsys.readouterr().out
    assert main(["god", "--source", str(bdata), "--check", "--subjects", "[sub-01]"]) == 0
    assert not (tmp_path / "god.h5").exists()


def damaged(path, how):
    """A BData file with one thing wrong."""
    rows = content()
    if how == "type":
        rows["type"][3] = 4
    if how == "nan":
        rows["responses"][2, 5] = np.nan
    if how == "id":
        rows["stimulus"][0] = -2
    write_bdata(path, rows)
    with h5py.File(path, "r+") as file:
        if how == "float32":
            table = file["dataset"][()].astype(np.float32)
            del file["dataset"]
            file["dataset"] = table
        if how == "no table":
            del file["dataset"]
        if how in {"no key", "twice"}:
            keys = file["metadata/key"]
            place = [key.decode() for key in keys[()]].index("DataType")
            if how == "no key":
                keys[place] = b"Other"
            else:
                file["metadata/value"][place, 1] = 1
        if how == "metadata":
            values = file["metadata/value"][()][:, :9]
            del file["metadata/value"]
            file["metadata/value"] = values
    if how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    return path


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("type", r"samples of DataType 4; expected 1 train, 2 test, 3 imagery"),
        ("nan", r"Subject1.h5 has NaN in 1 of 11 voxels"),
        ("id", r"-2.0 is no stimulus id; expected one such as 3626115.019498"),
        ("float32", r"'dataset' in .* is float32 .*in which stimulus ids are exact"),
        ("no table", r"has neither 'dataset' nor 'dataSet'; expected a BData file"),
        ("no key", r"has no metadata key 'DataType'; expected it to be one of"),
        ("twice", r"'DataType' in .* marks 2 columns; expected one column"),
        ("metadata", r"are 12 keys and values of shape \(12, 9\); expected values for each"),
        ("cut", r"Subject1.h5 is truncated or damaged"),
    ],
)
def test_bdata_that_is_none_is_refused(tmp_path, how, match):
    damaged(tmp_path / "Subject1.h5", how)
    with pytest.raises(SourceError, match=match):
        prepare(tmp_path, tmp_path / "s.h5", subjects="01", images="none")
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"arr_3": np.array([4, 0, 5, 2, 1, 9])},
            r"arr_3 .* expected 6 numbers of pictures, from 0",
        ),
        ({"arr_3": np.array([4, 0, 5, 2])}, r"arr_3 of .* has 4 values of int64"),
        ({"arr_4": np.arange(12) + 0.5}, r"arr_4 of .* has 12 values of float64; expected 12 numb"),
        ({"arr_1": np.zeros((12, 9))}, r"arr_1 of .*sbj_2.npz has 9 voxels; expected 11"),
        ({"arr_0": np.full((6, 11), np.nan)}, r"arr_0 of .* expected finite numbers \(trials, vox"),
        ({"V1": np.ones(7, bool)}, r"the region V1 of .* has 7 values; expected 11"),
        ({"arr_2": np.array([{}])}, r"cannot be read \(Object arrays cannot be loaded"),
        (
            {"arr_2": np.zeros((9, 9_000_000))},
            r"would unpack to 648,\d+,\d+ bytes; expected at most",
        ),
    ],
)
def test_npz_that_does_not_fit_is_refused(npz, tmp_path, change, match):
    np.savez_compressed(npz / "sbj_2.npz", **{**npz_arrays(), **change})
    with pytest.raises(SourceError, match=match):
        prepare(npz, tmp_path / "s.h5", subjects="02", form="npz")
