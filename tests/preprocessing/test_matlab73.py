"""MATLAB's files of version 7.3, written as MATLAB writes them."""

import h5py
import numpy as np
import pytest

from mindvis.errors import SourceError
from preprocessing.formats import array_names, as_texts, load_arrays


def put(parent, name, values, kind, **attributes):
    node = parent.create_dataset(name, data=np.ascontiguousarray(np.asarray(values).T))
    node.attrs["MATLAB_class"] = np.bytes_(kind)
    for key, value in attributes.items():
        node.attrs[key] = value
    return node


def letters(text):
    return np.frombuffer(text.encode("utf-16-le"), "<u2")[None]


def put_cell(file, name, contents):
    """A cell column of texts, numbers and empties."""
    references = np.empty((1, len(contents)), dtype=h5py.ref_dtype)
    group = file.require_group("#refs#")
    for row, content in enumerate(contents):
        where = f"{name}{row}"
        if content is None:
            node = put(group, where, np.zeros(2, np.uint64), "double", MATLAB_empty=np.uint8(1))
        elif isinstance(content, str):
            node = put(group, where, letters(content), "char", MATLAB_int_decode=np.int32(2))
        else:
            node = put(group, where, np.atleast_2d(content), "double")
        references[0, row] = node.ref
    cell = file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
    cell.attrs["MATLAB_class"] = np.bytes_("cell")


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        put(file, "x", np.arange(6.0).reshape(2, 3), "double")
        put(file, "mask", np.array([[1, 0, 1]], np.uint8), "logical", MATLAB_int_decode=np.int32(1))
        put(file, "letter", np.array([[65], [66], [65]], np.uint16), "char")
        put(file, "words", np.concatenate([letters("cat "), letters("bird")]), "char")
        put_cell(file, "cell", ["cat", "Bär 𝄞", None, 3.0, 2.5])
        put_cell(file, "many", [[1.0, 2.0]])
        put(file, "nothing", np.zeros(2, np.uint64), "double", MATLAB_empty=np.uint8(1))
        put(file, "texts", np.zeros((1, 6), np.uint64), "string", MATLAB_object_decode=np.int32(3))
        sparse = file.create_group("thin")
        sparse.attrs.update({"MATLAB_sparse": np.uint64(3), "MATLAB_class": np.bytes_("double")})
        sparse["data"] = np.ones(2)
        file.create_group("record").attrs["MATLAB_class"] = np.bytes_("struct")
        put(file["record"], "field", np.arange(4.0)[None], "double")
        pairs = np.zeros((2, 2), [("real", "f8"), ("imag", "f8")])
        put(file, "waves", pairs, "double")
    return tmp_path / "a.mat"


def test_numbers_texts_and_cells(path):
    keys = ["x", "mask", "letter", "words", "cell", "record/field"]
    found = load_arrays(path, keys)
    np.testing.assert_array_equal(found["x"], [[0, 1, 2], [3, 4, 5]])
    assert found["mask"].tolist() == [[1, 0, 1]]
    assert as_texts(found["letter"]) == ["A", "B", "A"]
    assert as_texts(found["words"]) == ["cat", "bird"]
    assert as_texts(found["cell"]) == ["cat", "Bär 𝄞", "", "3", "2.5"]
    assert found["record/field"].shape == (1, 4)
    assert {"x", "cell"} <= set(array_names(path))
    assert not any(name.startswith("#") for name in array_names(path))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("texts", "'texts' of .*a.mat is a MATLAB string; expected plain arrays; save it as"),
        ("thin", "'thin' of .* is sparse; expected plain arrays, no objects; save full"),
        ("record", "'record' of .* is a struct; .*name one of its fields"),
        ("nothing", "'nothing' of .* is empty; expected values"),
        ("waves", "'waves' of .* is complex; expected real numbers"),
        ("many", "'many' of .* has a cell of 2 values; expected one"),
        ("gone", "has no array 'gone'"),
    ],
)
def test_what_is_not_plain_is_refused_by_name(path, key, said):
    with pytest.raises(SourceError, match=said):
        load_arrays(path, [key])
