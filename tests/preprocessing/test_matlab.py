"""MATLAB files of version 5: what is whole is what SciPy reads, what is damaged is a sentence."""

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from mindvis.errors import SourceError
from preprocessing.formats import load_arrays
from preprocessing.matlab import checked_names, is_version5

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16", "?", "U3"]


def saved(path, compressed=False, **arrays):
    scipy.io.savemat(path, arrays, do_compression=compressed)
    return path


def random_array(rng):
    """An array of any type that MATLAB has, of two to four dimensions, some of them 0."""
    shape = tuple(rng.integers(0, 5, rng.integers(2, 5)).tolist())
    values = rng.integers(0, 120, shape) + 0.5 * rng.integers(0, 2)
    kind = str(rng.choice(DTYPES))
    if kind.startswith("c"):
        return (values + 1j * values[..., ::-1]).astype(kind)
    return values.astype(kind)


def same(found, expected):
    """The same values and types, in cells as well."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype == object:
        for one, other in zip(found.flat, expected.flat, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(40))
def test_what_scipy_writes_is_whole(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = {f"a{number}": random_array(rng) for number in range(rng.integers(1, 6))}
    if seed % 2:
        content["cells"] = np.empty((3, 1), object)
        content["cells"][:, 0] = [random_array(rng), "text", np.empty((0, 0))]
    path = saved(tmp_path / "a.mat", bool(seed % 3), **content)
    assert is_version5(path)
    assert checked_names(path, content) == list(content)
    expected, found = scipy.io.loadmat(path), load_arrays(path, content)
    for key in content:
        same(found[key], expected[key])


def test_what_matlab_writes_is_whole(shared):
    path = shared("data/digit69/digit69_28x28.mat")
    expected = scipy.io.loadmat(path)
    names = [name for name in expected if not name.startswith("__")]
    assert checked_names(path, names) == names
    found = load_arrays(path, names[:2])
    assert list(found) == names[:2]
    np.testing.assert_array_equal(found[names[1]], expected[names[1]])


def test_another_order_of_bytes(tmp_path):
    """Written by hand: a double of (1, 2), and a name of three letters within its tag."""
    flags = struct.pack(">IIII", 6, 8, 6, 0)
    sizes = struct.pack(">IIii", 5, 8, 1, 2)
    name = struct.pack(">I4s", 3 << 16 | 1, b"abc\0")
    values = struct.pack(">IIdd", 9, 16, 1.5, -2.0)
    matrix = flags + sizes + name + values
    head = b"MATLAB".ljust(124) + struct.pack(">H", 0x100) + b"MI"
    path = tmp_path / "a.mat"
    path.write_bytes(head + struct.pack(">II", 14, len(matrix)) + matrix)
    np.testing.assert_array_equal(load_arrays(path, ["abc"])["abc"], [[1.5, -2.0]])


def test_version_4_is_left_to_scipy(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.arange(6.0).reshape(2, 3)}, format="4")
    assert not is_version5(tmp_path / "a.mat")
    found = load_arrays(tmp_path / "a.mat", ["a"])["a"]
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])


def tag_of_values(path):
    """Where in a file of one double array `a` the type of its values stands."""
    return path.read_bytes().index(struct.pack("<II", 9, 48))


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 14, 15, 16, 19, 20, 4096, 65535])
def test_codes_that_scipy_would_look_up(tmp_path, kind):
    """Some of these end a process that gives them to SciPy."""
    path = saved(tmp_path / "a.mat", a=np.arange(6.0).reshape(2, 3))
    data = bytearray(path.read_bytes())
    data[tag_of_values(path) :][:4] = b""
    place = tag_of_values(path)
    data[place : place + 4] = struct.pack("<I", kind)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"cannot be read .*values of an unknown type {kind}"):
        load_arrays(path, ["a"])


@pytest.mark.parametrize("compressed", [False, True])
def test_variables_that_are_not_wanted_may_be_anything(tmp_path, compressed):
    path = saved(
        tmp_path / "a.mat",
        compressed,
        s={"x": 1},
        sparse=scipy.sparse.eye(3).tocsc(),
        a=np.ones((2, 3)),
    )
    np.testing.assert_array_equal(load_arrays(path, ["a"])["a"], np.ones((2, 3)))
    for name, what in (("s", "a struct"), ("sparse", "a sparse matrix")):
        with pytest.raises(SourceError, match=f"'{name}' is {what}.*expected plain arrays"):
            load_arrays(path, [name])
    with pytest.raises(
        SourceError, match="has no array 'b'; expected it to be one of a, s, sparse"
    ):
        load_arrays(path, ["b"])


@pytest.mark.parametrize("compressed", [False, True])
def test_every_shortened_file_is_a_sentence(tmp_path, compressed):
    cells = np.empty((1, 2), object)
    cells[0] = ["six", "nine"]
    path = saved(tmp_path / "a.mat", compressed, c=cells, a=np.arange(40.0).reshape(2, 20))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"a\.mat (cannot be read|has no array)"):
            load_arrays(path, ["c", "a"])


def test_absurd_sizes(tmp_path):
    cells = np.empty((1, 2), object)
    cells[0] = ["six", "nine"]
    path = saved(tmp_path / "a.mat", c=cells)
    whole = path.read_bytes()
    sizes = whole.index(struct.pack("<ii", 1, 2), 128)
    path.write_bytes(whole[:sizes] + struct.pack("<ii", 2**20, 2**20) + whole[sizes + 8 :])
    with pytest.raises(SourceError, match="'c' has 1,099,511,627,776 cells in"):
        load_arrays(path, ["c"])
    path.write_bytes(whole[:sizes] + struct.pack("<ii", -1, 2) + whole[sizes + 8 :])
    with pytest.raises(SourceError, match=r"'c' of shape \[-1, 2\]"):
        load_arrays(path, ["c"])


def test_a_text_of_spaces_alone(tmp_path):
    path = saved(tmp_path / "a.mat", t=np.array(["x" * 5]))
    whole = path.read_bytes()
    sizes = whole.index(struct.pack("<ii", 1, 5), 128)
    data = whole[:sizes] + struct.pack("<ii", 2**20, 2**10) + whole[sizes + 8 :]
    place = data.rindex(struct.pack("<II", 16, 5))
    path.write_bytes(data[:place] + struct.pack("<II", 16, 0))
    with pytest.raises(SourceError, match="cannot be read"):
        load_arrays(path, ["t"])


def test_a_variable_that_unpacks_to_far_more(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.matlab._SMALL", 1000)
    path = saved(tmp_path / "a.mat", True, a=np.zeros((100, 1000)))
    with pytest.raises(SourceError, match="a variable that unpacks to more than"):
        load_arrays(path, ["a"])
