"""`prepare arrays`: the same planted content in every format, axis order and range."""

import h5py
import numpy as np
import pytest
import scipy.io

from mindvis.data.store import VoxelStore
from mindvis.errors import ConfigError, MindVisError, SourceError
from preprocessing.__main__ import main as command
from preprocessing.arrays import prepare_arrays
from preprocessing.formats import as_texts
from preprocessing.orientation import orient, resize, to_uint8

TRAIN, TEST, VOXELS, HEIGHT, WIDTH = 6, 4, 11, 5, 7
SHOWN = {"train": [0, 1, 2, 3, 4, 5], "test": [6, 7, 6, 7]}


def content(seed=0):
    """Pictures by number, and what was measured and shown in both splits."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    arrays = {"pictures": pictures}
    for split, numbers in SHOWN.items():
        arrays[f"{split}_fmri"] = rng.normal(size=(len(numbers), VOXELS))
        arrays[f"{split}_images"] = pictures[numbers]
        arrays[f"{split}_number"] = np.array(numbers)
        arrays[f"{split}_class"] = np.array([number % 2 + 1.0 for number in numbers])
    return arrays


KEYS = {
    f"{split}_{option}": f"{split}_{key}"
    for split in SHOWN
    for option, key in (("responses", "fmri"), ("images", "images"), ("labels", "class"))
}


def save(path, arrays):
    """Write arrays in the format of the suffix; .mat73 is MATLAB's HDF5, axes reversed."""
    if path.name.endswith(".npz"):
        np.savez(path, **arrays)
    elif path.name.endswith("73.mat"):
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, array in arrays.items():
                file[name] = array.T
    elif path.name.endswith(".mat"):
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def prepare(path, **options):
    """Prepare, and return the opened store."""
    prepare_arrays(str(path), str(path.parent / "store.h5"), **options)
    return VoxelStore(path.parent / "store.h5")


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a73.mat", "a.h5", "a.hdf5"])
def test_every_format_gives_the_planted_content(tmp_path, name):
    arrays = content()
    with prepare(save(tmp_path / name, arrays), **KEYS) as store:
        subject, stimuli = store["sub-01"], store.stimuli
        expected = np.concatenate([arrays["train_fmri"], arrays["test_fmri"]])
        np.testing.assert_array_equal(subject.responses(), expected.astype(np.float32))
        assert subject.trials["split"].tolist() == ["train"] * 6 + ["test"] * 4
        assert subject.trials["repeat"].tolist() == [0] * 8 + [1, 1]
        assert subject.trials["condition"].tolist() == [*"121212", *"1212"]
        assert len(stimuli.ids) == 8
        assert sorted(subject.quality) == ["noise_ceiling", "snr"]
        shown = stimuli.images(stimuli.index(subject.trials["stimulus"].tolist()))
        pictures = np.concatenate([arrays["train_images"], arrays["test_images"]])
        np.testing.assert_array_equal(shown, pictures)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_pictures_instead_of_pictures(tmp_path, first):
    arrays = content()
    for split in SHOWN:
        arrays[f"{split}_number"] = arrays[f"{split}_number"] + first
    keys = {**KEYS, "first_index": first}
    for split in SHOWN:
        keys |= {f"{split}_images": "pictures", f"{split}_index": f"{split}_number"}
    with prepare(save(tmp_path / "a.npz", arrays), **keys) as store:
        stimuli = store.stimuli
        shown = stimuli.images(stimuli.index(store["sub-01"].trials["stimulus"].tolist()))
        np.testing.assert_array_equal(shown, arrays["pictures"][SHOWN["train"] + SHOWN["test"]])


@pytest.mark.parametrize("split", [np.array([*"aaaaaabbbb"]), np.repeat([1.0, 2.0], [6, 4])])
def test_one_array_with_a_split(tmp_path, split):
    arrays = content()
    for key in ("fmri", "images", "class"):
        arrays[key] = np.concatenate([arrays[f"train_{key}"], arrays[f"test_{key}"]])
    keys = {"responses": "fmri", "images": "images", "labels": "class", "split": "part"}
    path = save(tmp_path / "a.npz", {**arrays, "part": split})
    with prepare(path, **keys, test_values=["b", "2"]) as store:
        assert store["sub-01"].trials["split"].tolist() == ["train"] * 6 + ["test"] * 4


def test_names_rois_places_and_facts(tmp_path):
    arrays = content()
    arrays["V1"] = np.arange(VOXELS) < 4
    places = np.stack([np.arange(VOXELS) - 3, np.arange(VOXELS) % 5, np.full(VOXELS, 2)], axis=1)
    arrays["xyz"] = places.astype(float)
    options = {
        "rois": ["V1"],
        "coordinates": "xyz",
        "label_names": {"1": "six", "2": "nine"},
        "subject": "sub-x",
        "tr": 1.5,
        "licence": "none",
    }
    with prepare(save(tmp_path / "a.npz", arrays), **KEYS, **options) as store:
        subject = store["sub-x"]
        assert set(store.stimuli.labels) == {"six", "nine"}
        np.testing.assert_array_equal(subject.rois["V1"], arrays["V1"])
        back = subject.ijk @ subject.affine[:3, :3].T + subject.affine[:3, 3]
        np.testing.assert_array_equal(back, places)
        assert tuple(subject.shape) == (11, 5, 3)
        assert subject.tr == 1.5
        assert store.attrs["dataset"] == "a"


def test_responses_alone(tmp_path):
    path = save(tmp_path / "a.npz", content())
    with prepare(path, train_responses="train_fmri", train_labels="train_class") as store:
        assert store.stimuli is None
        assert store["sub-01"].trials["repeat"].tolist() == [0, 0, 1, 1, 2, 2]
        assert tuple(store["sub-01"].shape) == (VOXELS, 1, 1)


PICTURE = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)  # (n, height, width, channels)


@pytest.mark.parametrize(
    ("layout", "array", "shape"),
    [
        ("hwc", PICTURE, None),
        ("chw", PICTURE.transpose(0, 3, 1, 2), None),
        ("hwcn", PICTURE.transpose(1, 2, 3, 0), None),
        ("flat-rows", np.stack([p.ravel(order="C") for p in PICTURE]), (3, 4, 3)),
        ("flat-columns", np.stack([p.ravel(order="F") for p in PICTURE]), (3, 4, 3)),
    ],
)
def test_every_layout_gives_the_same_pictures(layout, array, shape):
    np.testing.assert_array_equal(orient(array, layout, shape), PICTURE)


@pytest.mark.parametrize(
    ("layout", "make", "shape"),
    [
        ("hwc", lambda grey: grey, None),
        ("hwc", lambda grey: grey[..., None], None),
        ("chw", lambda grey: grey[:, None], None),
        ("hwcn", lambda grey: grey.transpose(1, 2, 0), None),
        ("flat-rows", lambda grey: grey.reshape(2, -1), (3, 4)),
        ("flat-columns", lambda grey: grey.transpose(0, 2, 1).reshape(2, -1), (3, 4)),
    ],
)
def test_grey_pictures_get_three_equal_channels(layout, make, shape):
    grey = PICTURE[..., 0]
    found = orient(make(grey), layout, shape)
    np.testing.assert_array_equal(found, np.stack([grey] * 3, axis=-1))


def test_flat_pictures_are_square_by_default():
    square = np.arange(2 * 9).reshape(2, 9)
    assert orient(square, "flat-columns", None)[1, :, :, 0].tolist() == [
        [9, 12, 15],
        [10, 13, 16],
        [11, 14, 17],
    ]


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        (np.array([0.0, 0.5, 1.0]), "auto", [0, 128, 255]),
        (np.array([0.0, 90.5, 200.4]), "auto", [0, 90, 200]),
        (np.array([False, True, True]), "auto", [0, 255, 255]),
        (np.array([0, 1, 1], np.uint8), "auto", [0, 255, 255]),
        (np.array([0, 1, 40], np.uint8), "auto", [0, 1, 40]),
        (np.array([0, 1, 200]), "auto", [0, 1, 200]),
        (np.array([0.0, 0.5, 1.0001]), "auto", [0, 128, 255]),
        (np.array([-0.02, 0.5, 1.0]), "auto", [0, 128, 255]),
        (np.array([-1.0, 0.0, 1.0]), "auto", [0, 128, 255]),
        (np.array([0.0, 0.0, 1.0]), "signed", [128, 128, 255]),
        (np.array([0, 257, 65535], np.uint16), "auto", [0, 1, 255]),
        (np.array([0, 20, 200], np.uint16), "auto", [0, 20, 200]),
        (np.array([0, 257 * 3], np.uint16), "0-65535", [0, 3]),
        (np.array([0.5, 1.0], np.float16), "auto", [128, 255]),
        (np.array([0, 1, 1], np.uint8), "0-1", [0, 255, 255]),
        (np.array([0.0, 0.4, 1.0]), "0-255", [0, 0, 1]),
    ],
)
def test_ranges(values, scale, expected):
    assert to_uint8(values, scale).tolist() == expected


def test_resized_pictures_are_the_centre_square():
    wide = np.zeros((1, 4, 12, 3), np.uint8)
    wide[:, :, 4:8] = 200
    assert (resize(wide, 2) == 200).all()
    assert resize(wide, None) is wide


def test_texts_of_numbers_bytes_and_matlab_cells():
    cell = np.empty((2, 1), object)
    cell[0, 0], cell[1, 0] = np.array(["cat"]), np.array(["dog "])
    assert as_texts(cell) == ["cat", "dog"]
    assert as_texts(np.array([1.0, 2.5])) == ["1", "2.5"]
    assert as_texts(np.array([b"x", b"y"])) == ["x", "y"]


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 3, 9], np.uint8),  # codes
        np.array([0.0, 0.5, 9.0]),
        np.array([0.1, 0.5, 0.7, 200.0]),  # one value of 200 among fractions
        np.array([-0.2, 0.5, 1.0]),
        np.array([-3.0, 0.5, 3.0]),
        np.array([0, 5, 300], np.uint16),  # 9 bits, or one outlier
        np.array([*range(40), 60000], np.uint16),
        np.array([-1, 0, 200]),
        np.array([0.0, np.nan]),
        np.array([0, 70000]),
    ],
)
def test_ranges_that_are_not_certain(values):
    with pytest.raises(MindVisError, match="give --image_scale 0-1, signed"):
        to_uint8(values, "auto")


def without(name):
    return lambda arrays: arrays.pop(name)


def change(name, make):
    return lambda arrays: arrays.update({name: make(arrays[name])})


def with_nan(array):
    array[2, 5] = np.nan
    return array


@pytest.mark.parametrize(
    ("damage", "options", "match"),
    [
        (
            without("test_fmri"),
            {},
            r"a.npz has no array 'test_fmri'; .*one of pictures, test_class, test_images",
        ),
        (
            change("train_images", lambda a: a[:5]),
            {},
            r"axes fits all of 'train_fmri' \(6, 11\), 'train_images' \(5, 5, 7, 3\).*'test_fmri'",
        ),
        (
            change("train_class", lambda a: a[:5]),
            {},
            r"axes fits all of .*'train_class' \(5,\).*; give|give --response_layout",
        ),
        (
            change("test_fmri", lambda a: a[:, :9]),
            {},
            r"axes fits all of 'train_fmri' \(6, 11\),.* 'test_fmri' \(4, 9\)",
        ),
        (
            change("test_fmri", lambda a: a[0]),
            {},
            r"'test_fmri' is float64 of shape \(11,\); expected",
        ),
        (change("train_fmri", with_nan), {}, r"'train_fmri' has NaN or infinite values in 1 of 11"),
        (
            change("test_images", lambda a: a - 100.0),
            {},
            r"'test_images' is float64 with values from -100 to .*give --image_scale",
        ),
        (
            change("test_images", lambda a: a[..., :2]),
            {},
            r"shape \(4, 5, 7, 2\); expected 1 or 3 ch",
        ),
        (
            lambda _: None,
            {"image_layout": "flat-rows"},
            r"shape \(6, 5, 7, 3\); expected \(n, pixels\)",
        ),
        (lambda _: None, {"rois": ["pictures"]}, r"the ROI 'pictures' has 840 values; expected 11"),
        (
            lambda _: None,
            {"coordinates": "train_fmri"},
            r"coordinates are float64 of shape \(6, 11\)",
        ),
        (
            lambda _: None,
            {"test_index": "test_number", "first_index": 3},
            r"'test_number' goes from 6 to 7; expected numbers from 3 to 6, the pictures of",
        ),
        (
            change("test_class", lambda a: a + np.arange(4)),
            {},
            r"the picture test-0000 is '1' in one trial and '3' in another; expected one class",
        ),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, damage, options, match):
    arrays = content()
    damage(arrays)
    path = save(tmp_path / "a.npz", arrays)
    with pytest.raises(SourceError, match=match):
        prepare(path, **{**KEYS, **options})
    assert not (tmp_path / "store.h5").exists()


def test_flat_pictures_of_another_size():
    with pytest.raises(SourceError, match=r"has 12 values a picture; expected 3 x 3 of them; give"):
        orient(np.zeros((2, 12)), "flat-rows", None)


def test_split_without_test_values(tmp_path):
    path = save(tmp_path / "a.npz", {"x": np.ones((3, 2)), "part": np.array(["a", "b", "b"])})
    with pytest.raises(SourceError, match=r"'part' holds a, b; expected test among them; name the"):
        prepare(path, responses="x", split="part")


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({}, "no responses are named"),
        ({"responses": "x", "train_responses": "y"}, "are both named"),
    ],
)
def test_responses_must_be_named_once(tmp_path, keys, match):
    with pytest.raises(ConfigError, match=match):
        prepare_arrays(str(tmp_path / "a.npz"), str(tmp_path / "s.h5"), **keys)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SourceError, match=r"a.npz cannot be read \(.*\); expected plain arrays"):
        prepare(tmp_path / "a.npz", responses="x")


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a.h5", "a.csv"])
def test_files_that_are_something_else(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else" * 20)
    with pytest.raises(SourceError, match=rf"{name} (cannot be read|is of no known format)"):
        prepare(tmp_path / name, responses="x")


def test_missing_file_on_the_command_line(tmp_path, capsys):
    options = ["--source", str(tmp_path / "a.mat"), "--store", str(tmp_path / "s.h5")]
    assert command(["arrays", *options, "--responses", "x"]) == 2
    assert "a.mat does not exist; expected a .npz, .mat" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a73.mat", "a.h5", "a4.mat"])
def test_check_says_every_array_that_is_missing(tmp_path, capsys, name):
    path = tmp_path / name
    if name == "a4.mat":
        scipy.io.savemat(path, {"x": np.ones((4, 3)), "part": np.arange(4)}, format="4")
    else:
        save(path, {"x": np.ones((4, 3)), "part": np.arange(4)})
    options = ["--source", str(path), "--store", str(tmp_path / "s.h5"), "--check"]
    assert command(["arrays", *options, "--responses", "x", "--split", "parts"]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"missing: parts in {path} (named in an option)",
        f"1 of 2 arrays are in {path}",
    ]
    assert f"1 of 2 arrays are not in {path}, 'parts' (named in an option) the first" in said.err
    assert "expected it to be one of" in said.err
    named = ["--train_responses", "x", "--test_responses", "y", "--test_images", "z"]
    assert command(["arrays", *options, *named]) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        f"missing: y in {path} (responses of test)",
        f"missing: z in {path} (images of test)",
    ]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_check_reads_what_is_there_and_writes_nothing(tmp_path, capsys):
    path = save(tmp_path / "a.npz", content())
    options = ["--source", str(path), "--store", str(tmp_path / "s.h5"), "--check"]
    options += [word for key, value in KEYS.items() for word in (f"--{key}", value)]
    assert command(["arrays", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [f"6 of 6 arrays are in {path}"]
    assert command(["arrays", *options, "--test_labels", "train_class"]) == 2
    assert "expected" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    assert command(["arrays", "--source", str(tmp_path / "b.npz"), *options[2:]]) == 2
    assert "b.npz does not exist" in capsys.readouterr().err


def test_digit69_by_options_alone(shared, tmp_path):
    path = shared("data/digit69/digit69_28x28.mat")
    options = ["--source", str(path), "--store", str(tmp_path / "s.h5")]
    for split, end in (("train", "Trn"), ("test", "Test")):
        for name, key in (("responses", "fmri"), ("images", "stim"), ("labels", "label")):
            options += [f"--{split}_{name}", f"{key}{end}"]
    options += ["--image_layout", "flat-columns", "--label_names", '{"1": "six", "2": "nine"}']
    assert command(["arrays", *options]) == 0
    raw = scipy.io.loadmat(path)
    with VoxelStore(tmp_path / "s.h5") as store:
        subject, stimuli = store["sub-01"], store.stimuli
        assert subject.trials["split"].tolist() == ["train"] * 90 + ["test"] * 10
        np.testing.assert_array_equal(subject.responses()[90:], raw["fmriTest"].astype(np.float32))
        assert stimuli.images().shape == (100, 28, 28, 3)
        last = stimuli.images(stimuli.index([subject.trials["stimulus"].iloc[-1]]))[0]
        np.testing.assert_array_equal(last[..., 1], raw["stimTest"][-1].reshape(28, 28).T)
        assert subject.trials["condition"].value_counts().to_dict() == {"six": 50, "nine": 50}


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a73.mat"])
@pytest.mark.parametrize("pictures", ["hwc", "chw", "hwcn"])
def test_arrays_that_are_turned(tmp_path, capsys, name, pictures):
    arrays = content()
    turn = {"hwc": (0, 1, 2, 3), "chw": (0, 3, 1, 2), "hwcn": (1, 2, 3, 0)}[pictures]
    truth = np.concatenate([arrays["train_images"], arrays["test_images"]])
    rows = np.concatenate([arrays["train_fmri"], arrays["test_fmri"]])
    for split in SHOWN:
        arrays[f"{split}_fmri"] = arrays[f"{split}_fmri"].T
        arrays[f"{split}_images"] = arrays[f"{split}_images"].transpose(turn)
    with prepare(save(tmp_path / name, arrays), **KEYS) as store:
        np.testing.assert_array_equal(store["sub-01"].responses(), rows.astype(np.float32))
        stimuli = store.stimuli
        shown = stimuli.images(stimuli.index(store["sub-01"].trials["stimulus"].tolist()))
        np.testing.assert_array_equal(shown, truth)
    assert "read as responses (voxels, trials), pictures (" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["C", "F"])
def test_flat_pictures_in_columns(tmp_path, order):
    arrays = content()
    truth = np.concatenate([arrays["train_images"], arrays["test_images"]])
    for split in SHOWN:
        images = arrays[f"{split}_images"]
        arrays[f"{split}_images"] = np.stack([p.ravel(order=order) for p in images], axis=1)
    layout = {"C": "flat-rows", "F": "flat-columns"}[order]
    path = save(tmp_path / "a.npz", arrays)
    with pytest.raises(SourceError, match=r"one number a pixel; .*give --image_layout flat-rows"):
        prepare(path, **KEYS)
    options = {"image_layout": layout, "image_shape": [HEIGHT, WIDTH, 3]}
    with prepare(path, **KEYS, **options) as store:
        stimuli = store.stimuli
        shown = stimuli.images(stimuli.index(store["sub-01"].trials["stimulus"].tolist()))
        np.testing.assert_array_equal(shown, truth)


def test_square_responses_have_two_readings(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 4))
    path = save(tmp_path / "a.npz", {"x": rows, "part": np.array([0, 0, 0, 1]), "V1": np.ones(4)})
    keys = {"responses": "x", "split": "part", "test_values": ["1"]}
    with pytest.raises(SourceError, match=r"'x' \(4, 4\), 'part' \(4,\) may be read as responses"):
        prepare(path, **keys)
    with prepare(path, **keys, response_layout="voxels-trials") as store:
        np.testing.assert_array_equal(store["sub-01"].responses(), rows.T.astype(np.float32))


def test_arrays_called_like_splits(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"train": rng.normal(size=(6, 20)), "test": rng.normal(size=(3, 20))}
    path = save(tmp_path / "a.npz", arrays)
    with prepare(path, train_responses="train", test_responses="test") as store:
        assert store["sub-01"].trials["split"].tolist() == ["train"] * 6 + ["test"] * 3


def test_values_beyond_single_precision_are_refused(tmp_path):
    rows = np.ones((6, 3))
    rows[2, 1] = 1e39
    path = save(tmp_path / "a.npz", {"x": rows})
    with pytest.raises(SourceError, match=r"'x' has values up to 1e\+39; expected values below"):
        prepare(path, train_responses="x", response_layout="trials-voxels")
