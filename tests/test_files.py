"""Atomic files: whole or absent, and left alone where nothing changes."""

import os

import pytest

from mindvis.files import atomic_path, sha256, write_json, write_text


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as partial:
        partial.write_text(str(1 // 0) if partial.write_text("half") else "")
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_the_same_bytes_leave_the_time_of_modification(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    os.utime(path, ns=(10**18, 10**18))
    write_text(path, "one")
    assert path.stat().st_mtime_ns == 10**18
    write_text(path, "two")  # as many bytes
    assert path.read_text() == "two"
    assert path.stat().st_mtime_ns > 10**18
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_digest_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    assert sha256(path).startswith("ba7816bf8f01cfea")
