"""What no honest file holds: each is a sentence, or nothing at all."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mindvis.errors import SourceError
from preprocessing.betas import Hdf5Rows, opened_hdf5, standardised
from preprocessing.damage import readable
from preprocessing.mindeye2 import read_behaviour
from preprocessing.orientation import orient
from preprocessing.pictures import PictureRows, find_picture, picture_roots
from preprocessing.reader import grid_of, stated_time, timing
from preprocessing.tables import whole_numbers


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 300, "a/" + "é" * 150, "*", "[a-z]", "a?"])
def test_names_that_are_no_files(tmp_path, name):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "ab.png").write_bytes(b"")
    assert find_picture(name, [tmp_path]) is None


def test_brackets_in_a_name_are_letters(tmp_path):
    (tmp_path / "a[1].png").write_bytes(b"")
    assert find_picture("a[1]", [tmp_path]) == tmp_path / "a[1].png"


def png(*chunks):
    """A PNG file of chunks of a name and content."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        check = struct.pack(">I", zlib.crc32(name + content))
        parts += [struct.pack(">I", len(content)), name, content, check]
    return b"".join(parts)


HUGE = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png((b"IHDR", bytes(5))), "Truncated IHDR chunk"),
        (png((b"IHDR", HUGE), (b"IDAT", b"")), "decompression bomb"),
        (b"", "cannot identify image file"),
    ],
)
def test_pictures_that_are_broken(tmp_path, content, said):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=f"a.png is not a readable picture .*{said}.*; replace it"
    ):
        PictureRows([path], 8)


def test_an_error_that_says_nothing_has_its_name(tmp_path):
    with (
        pytest.raises(SourceError, match=r"a.h5 is truncated or damaged \(MemoryError\); expected"),
        readable(tmp_path / "a.h5", "a whole HDF5 file"),
    ):
        raise MemoryError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -2, 0, 1e9, "2", None, [2], True])
def test_senseless_repetition_times(value):
    with pytest.raises(SourceError, match=r"RepetitionTime of a_bold.nii is .*; expected .*second"):
        stated_time(Path("a_bold.nii"), {"RepetitionTime": value})


def test_milliseconds_are_named():
    with pytest.raises(SourceError, match=r"is 2000; expected seconds.*2000 ms are 2 s"):
        stated_time(Path("a_bold.nii"), {"RepetitionTime": 2000})


def test_repetition_times_that_make_sense():
    assert stated_time(Path("a_bold.nii"), {"RepetitionTime": 2}) == 2.0
    assert stated_time(Path("a_bold.nii"), {}) is None


def test_no_sensible_time_at_all(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4, 5)), np.eye(4))
    image.header["pixdim"][4] = 1e9
    nib.save(image, tmp_path / "a_bold.nii.gz")
    with pytest.raises(SourceError, match="has no repetition time"):
        timing(tmp_path / "a_bold.nii.gz", {}, 5)


def test_an_affine_with_nan(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4)), np.eye(4))
    image.header["srow_x"] = np.nan
    nib.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[254:256] = (1).to_bytes(2, "little")  # sform_code
    data[280:284] = np.float32(np.nan).tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(SourceError, match="has an affine with NaN; expected 4 x 4 finite numbers"):
        grid_of(tmp_path / "a.nii")


@pytest.mark.parametrize(
    "values", [np.array(["a"]), np.zeros((0, 3, 3)), np.zeros(4), np.zeros((2, 2))]
)
def test_pictures_that_are_none(values):
    with pytest.raises(SourceError):
        orient(values, "hwc", None)


@pytest.mark.parametrize("values", [[0.5], [np.nan], [1e300], ["a"], []])
def test_numbers_of_pictures_that_are_none(values):
    with pytest.raises(SourceError, match=r"'index' is .*; expected whole numbers"):
        whole_numbers(np.array(values), "index")


def tar_of(path, name, content, mode="w"):
    with tarfile.open(path, mode) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


def npy(array, pickled=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy(np.array([{"a": 1}], object), True), "cannot be read .*pickle"),
        (npy(np.ones((1, 16))), "columns; expected 17"),
        (npy(np.array(1.0)), "columns; expected 17"),
        (b"PK\x03\x04" + b"\x00" * 40, "cannot be read"),
        (b"\x00" * (2 << 20), "cannot be read .*has 2097152 bytes"),
    ],
)
def test_members_of_a_tar_that_are_no_trials(tmp_path, content, match):
    path = tar_of(tmp_path / "0.tar", "../../../escape.behav.npy", content)
    with pytest.raises(SourceError, match=match):
        read_behaviour(path)
    assert [file.name for file in tmp_path.iterdir()] == ["0.tar"]


def test_compressed_tars_are_not_unpacked(tmp_path):
    path = tar_of(tmp_path / "0.tar", "a.behav.npy", npy(np.ones((1, 17))), "w:gz")
    with pytest.raises(SourceError, match="cannot be read"):
        read_behaviour(path)


def test_hdf5_that_claims_more_than_memory_holds(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2**45, 3), "f8", chunks=(1, 3))
    with (
        pytest.raises(SourceError, match=r"a.h5 is truncated or damaged .*allocate"),
        opened_hdf5(tmp_path / "a.h5") as file,
    ):
        file["x"][()]
    few = Hdf5Rows(tmp_path / "a.h5", "x", 2, np.array([2**44, 5]))
    assert few[0:2].shape == few.shape == (2, 3)


def test_a_session_of_test_trials_alone():
    with pytest.raises(SourceError, match="session 3 has 1 trials that are not for the test"):
        standardised(np.ones((4, 2), np.float32), np.arange(4) == 2, "session 3")


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "folder"])
def test_pictures_outside_of_the_data_set_are_refused(tmp_path, way):
    stimuli = tmp_path / "data" / "stimuli"
    stimuli.mkdir(parents=True)
    secret = tmp_path / "private" / "a.png"
    secret.parent.mkdir()
    Image.new("RGB", (4, 4)).save(secret)
    if way == "link":
        (stimuli / "a.png").symlink_to(secret)
    if way == "folder":
        stimuli.rmdir()
        stimuli.symlink_to(secret.parent)
    names = {"dots": "../../private/a.png", "absolute": str(secret)}
    with pytest.raises(SourceError, match=r"outside of .*data; expected pictures within the data"):
        find_picture(names.get(way, "a.png"), picture_roots(tmp_path / "data", "stimuli"))
    elsewhere = picture_roots(tmp_path / "data", str(secret.parent))
    assert find_picture("a.png", elsewhere) == secret


def test_links_within_the_data_set_are_followed(tmp_path):
    objects = tmp_path / ".git" / "annex" / "objects"
    objects.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(objects / "key.png")
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "a.png").symlink_to("../.git/annex/objects/key.png")
    found = find_picture("a.png", picture_roots(tmp_path, "stimuli"))
    assert found == tmp_path / "stimuli" / "a.png"


def test_two_files_of_one_name_are_refused(tmp_path):
    for suffix in ("png", "jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(SourceError, match=r"'a' may be a.jpg or a.png; expected one file"):
        find_picture("a", [tmp_path])
