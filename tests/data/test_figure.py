"""`mindvis inspect --figure`: pictures and mean responses, drawn from the store alone."""

import numpy as np
import pytest
from PIL import Image

from mindvis.cli import main
from mindvis.data.figure import mean_response, picture_strip, projections
from mindvis.data.inspect import inspect
from mindvis.data.store import SubjectData, VoxelStore, write_store
from mindvis.errors import ConfigError


def test_projections_by_hand():
    """Two voxels in one line along the first axis, and one elsewhere; the NaN is left out."""
    ijk = np.array([[0, 1, 2], [1, 1, 2], [1, 0, 0], [0, 0, 1]], np.int32)
    along_x, along_y, along_z = projections(np.array([1.0, 3, 5, np.nan]), ijk, (2, 3, 4))
    assert (along_x.shape, along_y.shape, along_z.shape) == ((3, 4), (2, 4), (2, 3))
    assert along_x[1, 2] == 2
    assert along_x[0, 0] == 5
    assert np.isnan(along_x).sum() == 10
    assert along_y[1].tolist()[::2] == [5, 3]
    assert along_z[1].tolist()[:2] == [5, 3]


def test_mean_response_is_that_of_all_rows(store):
    with VoxelStore(store) as opened:
        brain = opened["sub-02"]
        np.testing.assert_allclose(mean_response(brain), brain.responses().mean(0), atol=1e-6)


def test_strips_are_pictures_of_their_split(store):
    with VoxelStore(store) as opened:
        strip = picture_strip(opened, "test")
        assert strip.shape == (96, 96 * 12, 3)
        first = opened.stimuli.images(opened.stimuli.index(["test-000"]))[0]
        assert np.abs(strip[::6, :96:6].astype(int) - first).mean() < 40


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_figure_of_two_subjects(store, tmp_path, capsys, suffix):
    path = tmp_path / f"store.{suffix}"
    assert main(["inspect", str(store), "--figure", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    assert path.stat().st_size > 10_000
    if suffix == "png":
        width, height = Image.open(path).size
        assert width == 1200
        assert height == round(120 * (2 * 1.2 + 2 * 2.6 + 0.4))
        colours = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 500


def test_without_pictures_or_places(store, tmp_path):
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        line = np.zeros((70, 3), np.int32)
        line[:, 0] = np.arange(70)
        data = SubjectData(read.responses(), read.trials, line, np.eye(4), (70, 1, 1))
        write_store(tmp_path / "s.h5", [("sub-01", data)], None, {})
    inspect(str(tmp_path / "s.h5"), str(tmp_path / "s.png"))
    assert Image.open(tmp_path / "s.png").size == (1200, 360)


def test_unknown_formats(store, tmp_path):
    with pytest.raises(ConfigError, match=r"the figure is x.txt; expected a file with .png, .pdf"):
        inspect(str(store), str(tmp_path / "x.txt"))
