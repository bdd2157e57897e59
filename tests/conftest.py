"""Fixtures of every test: a seeded generator, a tiny store, and data beside the repository."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mindvis.data.synthetic import make_store


@pytest.fixture
def rng() -> np.random.Generator:
    """The same draws in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects (70, 93 voxels), 40 train, 12 x 3 test, 16 rest trials; never write to it."""
    path = tmp_path_factory.mktemp("store") / "tiny.h5"
    make_store(path)
    return path


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path of a file under ../shared; the test skips where it is absent."""
    root = Path(__file__).resolve().parents[2] / "shared"

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"needs ../shared/{name}")
        return root / name

    return find
