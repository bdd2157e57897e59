"""Pictures between files, stores and networks."""

import numpy as np
import pytest
import torch
from PIL import Image

from mindvis.data.images import (
    augment,
    list_pictures,
    read_arrays,
    to_float,
    to_uint8,
)
from mindvis.data.picture_files import read_picture, resize, square
from mindvis.errors import DataError


def test_all_levels_survive_the_way_to_float_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    values = to_float(levels)
    assert values.shape == (1, 3, 16, 16)
    assert values.dtype == torch.float32
    assert values.is_contiguous()
    assert (values.min(), values.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(values), levels)


def test_axes_are_not_mixed_up():
    picture = np.zeros((2, 5, 3), np.uint8)
    picture[1, 4] = (255, 0, 51)
    values = to_float(picture)
    assert values[:, 1, 4].tolist() == pytest.approx([1, -1, -0.6])
    assert (values[:, 0] == -1).all()


def test_values_out_of_range_are_clipped():
    values = torch.tensor([-3.0, 0.0, 7.0]).view(3, 1, 1)
    assert to_uint8(values).ravel().tolist() == [0, 128, 255]


def test_square_takes_the_centre():
    picture = np.zeros((4, 10, 3), np.uint8)
    picture[:, 3:7] = 200
    assert (square(picture, 4) == 200).all()
    assert (square(picture.transpose(1, 0, 2), 8) == 200).all()


def test_resizing_averages_and_leaves_what_fits():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[::2] = 255
    assert np.abs(resize(picture, 2).astype(int) - 127).max() < 20  # antialiased, no stripes
    assert resize(picture, 8) is picture


def test_augmentation_is_seeded_and_keeps_the_size():
    picture = np.random.default_rng(1).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    results = [
        augment(picture, np.random.default_rng(seed), flip=True, crop=0.25) for seed in range(20)
    ]
    again = augment(picture, np.random.default_rng(7), flip=True, crop=0.25)
    np.testing.assert_array_equal(results[7], again)
    assert {result.shape for result in results} == {(12, 12, 3)}
    assert any(np.array_equal(result, picture) for result in results)
    assert any(np.array_equal(result, picture[:, ::-1]) for result in results)
    assert len({result.tobytes() for result in results}) > 5


def save(path, value=9, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4), value if mode == "L" else (value,) * 3).save(path)


def test_class_folders_are_read_in_order(tmp_path):
    for name in ("b/2.png", "b/1.PNG", "a/9.jpg", "a/deeper/3.png"):
        save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    found = list_pictures(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == [
        "a/9.jpg",
        "b/1.PNG",
        "b/2.png",
    ]
    assert found.labels == ("a", "b", "b")


def test_a_flat_folder_is_one_class(tmp_path):
    save(tmp_path / "x.png")
    assert list_pictures(tmp_path).labels == ("picture",)
    with pytest.raises(DataError, match="there is no folder"):
        list_pictures(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        list_pictures(tmp_path / "empty")


def test_grey_pictures_become_rgb(tmp_path):
    save(tmp_path / "x.png", 77, mode="L")
    picture = read_picture(tmp_path / "x.png")
    assert picture.shape == (4, 6, 3)
    assert (picture == 77).all()


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_broken_pictures_are_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(DataError, match=r"broken\.png is not a readable picture"):
        read_picture(path)
    with pytest.raises(DataError, match=r"there is no picture .*gone\.png"):
        read_picture(tmp_path / "gone.png")


def test_arrays(tmp_path):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([6, 9]))
    read, labels = read_arrays(tmp_path / "a.npz")
    assert labels == ("6", "9")
    assert read.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(read[..., 2], images)
    np.savez(tmp_path / "b.npz", images=images)
    assert read_arrays(tmp_path / "b.npz")[1] == ("picture", "picture")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pictures": np.zeros((2, 3, 3))}, "cannot be read"),
        ({"images": np.zeros((2, 3, 3))}, r"holds float64 images \(2, 3, 3, 3\)"),
        ({"images": np.zeros((2, 3, 3), np.uint8), "labels": np.arange(3)}, r"labels \(3,\)"),
        ({"images": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
def test_wrong_arrays(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(DataError, match=message):
        read_arrays(tmp_path / "a.npz")
