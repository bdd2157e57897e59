"""The package is quick to import, its names are lazy, and its version is one."""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import mindvis

ROOT = Path(__file__).parents[1]


def seconds(*words):
    """The faster of three launches: other programs run beside the tests."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return min(times)


def test_import_takes_no_time():
    bare = seconds("-c", "pass")
    assert seconds("-c", "import mindvis") - bare < 0.3


def test_help_takes_no_time():
    assert seconds("-m", "mindvis", "--help") < 1.0


def test_import_loads_no_heavy_library():
    program = (
        "import sys, mindvis.cli; print(*{'torch', 'numpy', 'yaml', 'h5py'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.split() == []


def test_public_names_are_lazy_and_listed():
    assert {"BrainMAE", "MindVisPipeline", "VoxelStore"} <= set(dir(mindvis))
    assert mindvis.BrainMAE.__module__ == "mindvis.models.mae"
    assert mindvis.VoxelStore.__module__.startswith("mindvis.data.")
    with pytest.raises(AttributeError, match="has no attribute 'BrainMEA'"):
        mindvis.BrainMEA  # noqa: B018


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert mindvis.__version__ == project["version"]
