"""`prepare hcp`: the planted frames, window by window and area by area."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from mindvis.files import sha256
from preprocessing.__main__ import main
from preprocessing.hcp import prepare_hcp
from tests.preprocessing.hcp_files import (
    FRAMES,
    LEFT,
    RUNS,
    TR,
    VOLUME,
    build,
    expected_columns,
    models,
    run_file,
    series,
    write_atlas,
    write_run,
    write_volumes,
)

SUBJECTS = {"100307": 2, "100408": 3}
WIDTH = 11  # frames of 0.72 s in 8 s


def prepare(root, store, **options):
    prepare_hcp(str(root), store=str(store), **{"atlas": "atlas.dlabel.nii", **options})
    return VoxelStore(store)


@pytest.fixture(scope="module")
def hcp(tmp_path_factory):
    return build(tmp_path_factory.mktemp("hcp") / "data", SUBJECTS)


def plain_windows(values, width=WIDTH, standardise=True):
    """Means of windows, one at a time."""
    values = values.astype(float)
    if standardise:
        values = (values - values.mean(axis=0)) / values.std(axis=0)
    return [values[at : at + width].mean(axis=0) for at in range(0, len(values) - width + 1, width)]


@pytest.mark.parametrize("standardise", [True, False])
def test_windows_are_means_of_the_planted_frames(hcp, tmp_path, standardise):
    columns = [row for rows in expected_columns().values() for row in rows]
    with prepare(hcp, tmp_path / "s.h5", standardise=standardise) as store:
        assert store.subjects == ("sub-100307", "sub-100408")
        for number, seed in SUBJECTS.items():
            runs = [series(10 * seed + place, FRAMES[run]) for place, run in enumerate(RUNS)]
            runs = runs[: 3 if seed % 2 else 4]
            rows = [
                row for run in runs for row in plain_windows(run[:, columns], WIDTH, standardise)
            ]
            found = store[f"sub-{number}"]
            np.testing.assert_allclose(found.responses(), rows, rtol=1e-5, atol=1e-6)
            assert found.units == ("z" if standardise else "scanner units")
            assert found.tr == pytest.approx(TR)


def test_trials_are_rest_by_session_and_run(hcp, tmp_path):
    with prepare(hcp, tmp_path / "s.h5", subjects="100307") as store:
        trials = store["sub-100307"].trials
        counts = [FRAMES[run] // WIDTH for run in RUNS]
        assert trials["session"].tolist() == [1] * sum(counts[:2]) + [2] * sum(counts[2:])
        assert trials["run"].tolist() == np.repeat([1, 2, 1, 2], counts).tolist()
        np.testing.assert_allclose(trials["onset"][:4], np.arange(4) * WIDTH * TR)
        assert set(trials["kind"]) == {"rest"}
        assert set(trials["split"]) == {""}
        assert store.stimuli is None


def test_places_are_vertices_in_the_order_of_areas(hcp, tmp_path):
    axis, columns = models(), expected_columns()
    with prepare(hcp, tmp_path / "s.h5", subjects="100307") as store:
        subject = store["sub-100307"]
        flat = [row for rows in columns.values() for row in rows]
        assert subject.grayordinates.vertex.tolist() == [axis[row][1] for row in flat]
        assert subject.grayordinates.structure == [axis[row][2] for row in flat]
        assert subject.grayordinates.surfaces == {LEFT: 23, "CIFTI_STRUCTURE_CORTEX_RIGHT": 29}
        assert (subject.ijk == -1).all()
        start = 0
        for area, rows in columns.items():
            inside = np.flatnonzero(subject.rois[area]).tolist()
            assert inside == list(range(start, start + len(rows)))
            start += len(rows)
        assert subject.rois["VC"].all()


def test_other_areas_in_their_own_order(hcp, tmp_path):
    columns = expected_columns(("PIT", "V1"))
    flat = [*columns["PIT"], *columns["V1"]]
    with prepare(hcp, tmp_path / "s.h5", subjects="100307", areas=["PIT", "V1"]) as store:
        run = series(20, FRAMES[RUNS[0]])[:, flat]
        np.testing.assert_allclose(
            store["sub-100307"].responses()[:4], plain_windows(run), rtol=1e-5, atol=1e-6
        )


def test_an_atlas_without_names_is_read_by_number(hcp, tmp_path):
    write_atlas(tmp_path / "plain.dlabel.nii", names=False)
    atlas = str(tmp_path / "plain.dlabel.nii")
    with (
        prepare(hcp, tmp_path / "a.h5", subjects="100307") as named,
        prepare(hcp, tmp_path / "b.h5", subjects="100307", atlas=atlas) as numbered,
        prepare(
            hcp, tmp_path / "c.h5", subjects="100307", atlas=atlas, areas=["X"], labels={"X": [22]}
        ) as given,
    ):
        first, second = named["sub-100307"], numbered["sub-100307"]
        np.testing.assert_array_equal(first.responses(), second.responses())
        assert given["sub-100307"].num_voxels == 4


def test_names_of_the_newer_release_and_own_patterns(tmp_path):
    clean = "hp2000_clean_rclean_tclean"
    root = build(tmp_path / "new", {"7": 4}, clean)
    with prepare(root, tmp_path / "a.h5", release="YA2025") as store:
        assert store.subjects == ("sub-7",)
    pattern = "{subject}/MNINonLinear/Results/{run}/{run}_*tclean.dtseries.nii"
    with prepare(root, tmp_path / "b.h5", pattern=pattern) as store:
        assert store["sub-7"].num_trials == sum(FRAMES[run] // WIDTH for run in RUNS)
    write_run(run_file(root, "7", RUNS[1], "other_tclean"), series(1, 40))
    with pytest.raises(
        SourceError, match=r"2 files fit rfMRI_REST1_RL of sub-7, .*one; give a --pat"
    ):
        prepare(root, tmp_path / "c.h5", pattern=pattern)


def test_volumes_in_the_order_of_areas(tmp_path):
    values = write_volumes(tmp_path / "data", "5", seed=1)
    options = {"form": "volume", "atlas": "atlas.nii.gz", "areas": ["V1", "V2"], "window": 4}
    with prepare(tmp_path / "data", tmp_path / "s.h5", **options) as store:
        subject = store["sub-5"]
        voxels = [(2, 1, 4), (3, 2, 1), (3, 2, 2), (0, 0, 0), (0, 0, 1), (0, 0, 2)]
        assert subject.ijk.tolist() == [list(voxel) for voxel in voxels]
        planted = np.stack([values[voxel] for voxel in voxels], axis=1)
        np.testing.assert_allclose(
            subject.responses(), plain_windows(planted, 5), rtol=1e-4, atol=1e-5
        )
        assert tuple(subject.shape) == VOLUME
        assert subject.grayordinates is None


def test_appending_keeps_others_and_gives_the_bytes_of_one_go(hcp, tmp_path):
    for number in SUBJECTS:
        prepare(hcp, tmp_path / "a.h5", subjects=number).close()
    prepare(hcp, tmp_path / "b.h5").close()
    with VoxelStore(tmp_path / "a.h5") as one, VoxelStore(tmp_path / "b.h5") as two:
        for subject in two:
            np.testing.assert_array_equal(one[subject.name].responses(), subject.responses())
    before = sha256(tmp_path / "b.h5")
    prepare(hcp, tmp_path / "b.h5").close()
    assert sha256(tmp_path / "b.h5") == before


def test_only_new_subjects(hcp, tmp_path, capsys):
    prepare(hcp, tmp_path / "s.h5", subjects="100307").close()
    capsys.readouterr()
    with prepare(hcp, tmp_path / "s.h5", only_new=True) as store:
        assert len(store) == 2
    said = capsys.readouterr().out
    assert "sub-100408: 3 runs" in said
    assert "sub-100307" not in said
    prepare(hcp, tmp_path / "s.h5", only_new=True).close()
    assert "nothing to prepare" in capsys.readouterr().out


def test_differences_and_missing_runs_are_said(hcp, tmp_path, capsys):
    prepare(hcp, tmp_path / "s.h5").close()
    said = capsys.readouterr().out
    assert "sub-100408: 3 runs, declared are 4" in said
    assert "sub-100307: 5 voxels in V1, declared are 1618" in said
    command = ["hcp", "--source", str(hcp), "--atlas", "atlas.dlabel.nii", "--check"]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split("(")[-1] for line in said[:-1]] == ["rfMRI_REST2_RL of sub-100408)"]
    assert main([*command, "--subjects", "[100307, 999999]"]) == 2
    captured = capsys.readouterr()
    assert "some run of sub-999999" in captured.out
    assert "1 of 3 required files" in captured.err


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def no_extension(path):
    nib.save(nib.Nifti2Image(np.zeros((1, 1, 1, 1, 40, 50), np.float32), np.eye(4)), path)


def other_models(path):
    axis = models()
    order = np.r_[1, 0, 2 : len(axis)]
    write_run(path, series(1, 40), axis[order])


def with_nan(path):
    values = series(1, 40)
    values[3, expected_columns()["V2"][1]] = np.nan
    write_run(path, values)


def short(path):
    write_run(path, series(1, 9))


def hertz(path):
    path.write_bytes(path.read_bytes().replace(b'"SECOND"', b'"HERTZ" '))


def bad_xml(path):
    path.write_bytes(path.read_bytes().replace(b"</VertexIndices>", b"<VertexIndices />", 1))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (cut, r"REST1_RL.*has the dimensions .* bytes; expected series of 50 grayord"),
        (no_extension, r"REST1_RL.*has no CIFTI extension; expected a CIFTI-2 image"),
        (other_models, r"has other grayordinates than .*REST1_LR.*; expected the same in all runs"),
        (with_nan, r"has NaN or infinite values in 1 of 17 voxels"),
        (short, r"has 9 frames of 0.72 s; expected at least 8 s"),
        (hertz, r"are a series in the unit HERTZ; expected SECOND"),
        (bad_xml, r"REST1_RL.*is truncated or damaged"),
        (lambda path: path.write_bytes(b"no image"), r"is truncated or damaged"),
    ],
)
def test_broken_runs_are_named(tmp_path, damage, match):
    root = build(tmp_path / "data", {"1": 3})
    damage(run_file(root, "1", RUNS[1]))
    with pytest.raises(SourceError, match=match):
        prepare(root, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()


def test_atlas_that_does_not_fit_is_refused(hcp, tmp_path):
    with pytest.raises(
        SourceError, match=r"has no area 'V9'; expected it to be one of PIT, V1, V2"
    ):
        prepare(hcp, tmp_path / "s.h5", areas=["V9"])
    with pytest.raises(SourceError, match=r"no place in the data has a label 77 of X"):
        prepare(hcp, tmp_path / "s.h5", areas=["X"], labels={"X": [77]})
    with pytest.raises(SourceError, match=r"two areas share a label"):
        prepare(hcp, tmp_path / "s.h5", areas=["X", "V1"], labels={"X": [1]})
    with pytest.raises(SourceError, match=r"holds no labels; expected a .dlabel.nii file"):
        prepare(hcp, tmp_path / "s.h5", atlas=str(run_file(hcp, "100307", RUNS[0])))
    axis = BrainModelAxis.from_surface(np.arange(30), 40, LEFT)
    for place, run in enumerate(RUNS):
        write_run(run_file(tmp_path / "mesh", "1", run), series(place, 40)[:, :30], axis)
    with pytest.raises(
        SourceError, match=r"CORTEX_LEFT has 40 vertices in the series; expected 23"
    ):
        prepare(tmp_path / "mesh", tmp_path / "s.h5", atlas=str(hcp / "atlas.dlabel.nii"))


def test_no_subject_is_a_sentence(tmp_path):
    with pytest.raises(SourceError, match=r"no run rfMRI_REST1_LR of any subject is in"):
        prepare(tmp_path, tmp_path / "s.h5")
