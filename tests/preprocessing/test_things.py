"""`prepare things`: volumes and tables of the same planted betas give the same store."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.things import prepare_things
from preprocessing.things_tables import transposed
from preprocessing.things_trials import concept_of
from tests.preprocessing import things_tree as tree


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("things")
    tree.pictures(tree.volumes(root / "volumes"))
    tree.volumes(root / "deeper", deeper="scalematched")
    tree.volumes(root / "tables")
    return {
        "volumes": root / "volumes",
        "deeper": root / "deeper",
        "tables": tree.tables(root / "tables"),
    }


def expected():
    """Betas (trials, voxels), and (session, run, picture) of each trial that is no catch."""
    rows, trials = [], []
    for session in range(1, tree.SESSIONS + 1):
        for run in (1, 2):
            values = tree.planted(session, run)[tree.mask()].T
            for row, picture in zip(values, tree.shown(session, run), strict=True):
                if not picture.startswith("catch"):
                    rows.append(row)
                    trials.append((session, run, picture))
    return np.array(rows), trials


@pytest.mark.parametrize("form", ["volumes", "deeper", "tables"])
def test_both_forms_hold_the_planted_betas(sources, tmp_path, form):
    prepare_things(str(sources[form]), str(tmp_path / "s.h5"), "1")
    rows, planted = expected()
    with VoxelStore(tmp_path / "s.h5") as store:
        brain, trials = store["sub-01"], store["sub-01"].trials
        np.testing.assert_array_equal(brain.responses(), rows)
        assert [*zip(trials["session"], trials["run"], trials["stimulus"], strict=True)] == [
            (session, run, picture.removesuffix(".jpg")) for session, run, picture in planted
        ]
        tests = [picture in tree.TESTS for _, _, picture in planted]
        assert ((trials["split"] == "test") == tests).all()
        assert sum(tests) == 6
        assert trials["condition"].iloc[1] == "air_conditioner"
        np.testing.assert_array_equal(brain.ijk, np.argwhere(tree.mask()))
        assert tuple(brain.shape) == tree.SHAPE
        inside = tree.mask()
        either = (tree.region(30) | tree.region(31))[inside]
        np.testing.assert_array_equal(brain.rois["FFA"], either)
        np.testing.assert_array_equal(brain.rois["LOC"], tree.region(32)[inside])
        np.testing.assert_array_equal(brain.rois["hV4"], np.rint(tree.areas())[inside] == 4)
        assert "glasser-V1" not in brain.rois
        np.testing.assert_allclose(brain.quality["noise_ceiling"], tree.ceiling(12)[inside] / 100)
        single = brain.quality["noise_ceiling_single"]
        np.testing.assert_allclose(single, tree.ceiling(1)[inside] / 100)
        assert (brain.units, brain.space, brain.tr) == ("beta", "T1w", 1.5)


@pytest.mark.parametrize("form", ["volumes", "tables"])
def test_sessions_are_standardised_by_their_training_trials(sources, tmp_path, form):
    options = {"standardise": "session", "voxels": "rois"}
    prepare_things(str(sources[form]), str(tmp_path / "s.h5"), "sub-01", **options)
    rows, planted = expected()
    regions = (np.rint(tree.areas()) > 0) | tree.region(30) | tree.region(31) | tree.region(32)
    chosen = regions[tree.mask()]
    assert 0 < chosen.sum() < chosen.size
    wanted = rows[:, chosen].astype(float)
    for session in range(1, tree.SESSIONS + 1):
        own = np.array([trial[0] == session for trial in planted])
        train = own & [picture not in tree.TESTS for _, _, picture in planted]
        wanted[own] = (wanted[own] - wanted[train].mean(0)) / wanted[train].std(0, ddof=1)
    with VoxelStore(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store["sub-01"].responses(), wanted, atol=1e-5)
        assert store["sub-01"].units == "z"


def test_pictures_are_found_by_concept(sources, tmp_path):
    root = str(sources["volumes"])
    prepare_things(root, str(tmp_path / "s.h5"), images="object_images", image_size=6, subjects="1")
    _, planted = expected()
    names = sorted({picture.removesuffix(".jpg") for _, _, picture in planted})
    with VoxelStore(tmp_path / "s.h5") as store:
        assert store.stimuli.ids == names
        assert store.stimuli.labels == [name.rsplit("_", 1)[0] for name in names]
        assert store.stimuli.images().shape == (len(names), 6, 6, 3)


def test_missing_pictures_are_named(sources, tmp_path):
    with pytest.raises(
        SourceError,
        match=r"of 2\d pictures .* 'aardvark/aardvark_01b.jpg' the first"
        r"; .*check --images, or leave it out",
    ):
        prepare_things(str(sources["deeper"]), str(tmp_path / "s.h5"), "1", images="pictures")


def test_concepts():
    assert concept_of("air_conditioner_02s.jpg") == "air_conditioner"
    assert concept_of("zebra1_10n.jpg") == "zebra1"


def test_one_session_does_not_say_the_test(tmp_path):
    root = tree.volumes(tmp_path / "things")
    for session in (1, 3):
        shutil.rmtree(root / "betas_vol" / "sub-01" / f"ses-things0{session}")
    with pytest.raises(SourceError, match=r"sub-01 has one session, which does not say .*Metadata"):
        prepare_things(str(root), str(tmp_path / "s.h5"), "1")


def session(root, run="02"):
    return root / f"betas_vol/sub-01/ses-things02/sub-01_ses-things02_run-{run}"


def short_table(root):
    path = session(root).with_name(session(root).name + "_conditions.tsv")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def empty_table(root):
    session(root).with_name(session(root).name + "_conditions.tsv").write_text("")


def with_nan(root):
    values = tree.planted(2, 2)
    values[..., 1][tree.mask()] = np.nan
    path = session(root).with_name(session(root).name + "_betas.nii.gz")
    tree.write_image(path, values)


def other_grid(root):
    path = session(root).with_name(session(root).name + "_betas.nii.gz")
    tree.write_image(path, tree.planted(2, 2)[:-1])


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (short_table, r"run-02_conditions.tsv has \d rows; expected \d, the volumes of"),
        (empty_table, r"run-02_conditions.tsv cannot be read .*a column of picture files"),
        (with_nan, r"run-02_betas.nii.gz has NaN or infinite values in \d+ of \d+ voxels"),
        (other_grid, r"run-02_betas.nii.gz has the shape \(4, 6, 7\); expected \(5, 6, 7\) of"),
    ],
)
def test_volumes_that_do_not_fit(tmp_path, damage, match):
    root = tree.volumes(tmp_path / "things")
    damage(root)
    with pytest.raises(SourceError, match=match):
        prepare_things(str(root), str(tmp_path / "s.h5"), "1")


def table(kind, change):
    def damage(root):
        path = root / "betas_csv" / f"sub-01_{kind}.csv"
        change(pd.read_csv(path)).to_csv(path, index=False)

    return damage


def as_table_format(root):
    path = root / "betas_csv/sub-01_ResponseData.h5"
    frame = pd.read_hdf(path)
    frame.columns = frame.columns.astype(str)
    frame.to_hdf(path, key="ResponseData", mode="w", format="table")


def no_blocks(root):
    with h5py.File(root / "betas_csv/sub-01_ResponseData.h5", "w") as file:
        file["x"] = np.ones(3)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            table("VoxelMetadata", lambda t: t[::-1]),
            r"voxel_id in .* and in VoxelMetadata.csv differ",
        ),
        (table("VoxelMetadata", lambda t: t[:-1]), r"has responses of shape \(\d+, 33\); expected"),
        (table("VoxelMetadata", lambda t: t.drop(columns="voxel_y")), r"VoxelMetadata.* cannot be"),
        (table("VoxelMetadata", lambda t: t.assign(nc_testset="x")), r"VoxelMetadata.* cannot be"),
        (table("VoxelMetadata", lambda t: t.assign(voxel_x=-1)), r"has places that are no indices"),
        (
            table("StimulusMetadata", lambda t: t.assign(trial_type="x")),
            r"a trial of type 'x'; exp",
        ),
        (
            table(
                "StimulusMetadata",
                lambda t: t.assign(stimulus=t["stimulus"].where(t["trial_type"] != "test")),
            ),
            r"StimulusMetadata.csv names no picture in row \d+; expected one for each trial",
        ),
        (
            table("StimulusMetadata", lambda t: t.drop(columns="run")),
            r"StimulusMetadata.* cannot be",
        ),
        (as_table_format, r"has the blocks none; expected a pandas table of fixed format"),
        (no_blocks, r"has the blocks none; expected a pandas table of fixed format"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, damage, match):
    root = tree.tables(tmp_path / "things")
    damage(root)
    with pytest.raises(SourceError, match=match):
        prepare_things(str(root), str(tmp_path / "s.h5"), "1")


def test_nothing_is_left_beside_the_parts(sources, tmp_path):
    path = sources["tables"] / "betas_csv/sub-01_ResponseData.h5"
    rows = transposed(path, np.array([2, 5, 9]), np.array([0, 4]), np.array([1, 1]), None, tmp_path)
    frame = pd.read_hdf(path).drop(columns="voxel_id").to_numpy()
    np.testing.assert_array_equal(rows, frame[[2, 5, 9]][:, [0, 4]].T.astype(np.float32))
    assert not list(tmp_path.iterdir())
