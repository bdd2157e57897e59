"""`prepare bids` on what fMRIPrep and GLMsingle write, against plain nilearn and NumPy."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean

from mindvis.data.store import VoxelStore
from mindvis.errors import SourceError
from preprocessing.bids import prepare_bids
from tests.preprocessing import fmriprep_tree as tree

PLAIN = {"detrend": False, "high_pass": None, "standardise": False, "confounds": "none"}
DERIVED = {"derivatives": tree.DERIVED, "lag_end": 8.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tree.build(tmp_path_factory.mktemp("forms") / "data")


def prepare(source, path, **options):
    prepare_bids(str(source), str(path), **{**DERIVED, **PLAIN, **options})
    return VoxelStore(path)


def means(series_of, kept=None):
    """Mean of the volumes from 4 to 8 s after each onset, of (time, places) by run."""
    rows = []
    for run in tree.RUNS:
        series = series_of(run)
        times = tree.TR * np.arange(tree.VOLUMES)
        if kept is not None:
            times = times[kept[run]]
        for onset in tree.ONSETS[: len(tree.SHOWN[run])]:
            inside = (times >= onset + 4) & (times < onset + 8)
            rows.append(series[inside].mean(axis=0))
    return np.array(rows)


@pytest.mark.parametrize("resolution", ["1", "2"])
def test_one_resolution_of_a_space(source, tmp_path, resolution):
    space = "MNI152NLin2009cAsym"
    mask = f"{tree.DERIVED}/sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz"
    options = {"space": space, "resolution": resolution, "mask": "any_mask.nii.gz"}
    (source / "any_mask.nii.gz").write_bytes((source / mask).read_bytes())
    with prepare(source, tmp_path / "s.h5", **options) as store:
        wanted = means(lambda run: tree.volume(run, f"{space}_res-{resolution}")[tree.MASK].T)
        np.testing.assert_allclose(store["sub-01"].responses(), wanted, rtol=1e-6)
        assert store["sub-01"].space == space


def test_resolutions_must_be_chosen(source, tmp_path):
    with pytest.raises(SourceError, match=r"two images, .*; choose with --resolution \(1, 2 found"):
        prepare(source, tmp_path / "s.h5", space="MNI152NLin2009cAsym")


def t1w_files(source, run):
    folder = source / tree.DERIVED / "sub-01" / run.split("_")[0] / "func"
    return str(folder / f"sub-01_{run}_space-T1w_desc-preproc_bold.nii.gz")


@pytest.mark.parametrize("strategy", ["simple", "scrubbing"])
def test_strategies_are_those_of_nilearn(source, tmp_path, strategy):
    mask = source / tree.DERIVED / "sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz"
    masker = NiftiMasker(mask_img=str(mask), standardize=None)
    kept = {}

    def cleaned(run):
        path = t1w_files(source, run)
        table, sample = load_confounds_strategy(path, denoise_strategy=strategy)
        kept[run] = slice(None) if sample is None else sample
        series = masker.fit_transform(path).astype(float)
        options = {"confounds": table.to_numpy(), "sample_mask": sample, "filter": False}
        return clean(series, detrend=True, standardize="zscore_sample", **options)

    series = {run: cleaned(run) for run in tree.RUNS}
    options = {"space": "T1w", "confounds": strategy, "detrend": True, "standardise": True}
    with prepare(source, tmp_path / "s.h5", **options) as store:
        wanted = means(series.get, kept)
        np.testing.assert_allclose(store["sub-01"].responses(), wanted, atol=1e-4)
    if strategy == "scrubbing":
        assert all(len(sample) < tree.VOLUMES for sample in kept.values())


def test_a_strategy_that_lacks_its_columns(source, tmp_path):
    with pytest.raises(
        SourceError, match=r"no confounds for the strategy ica_aroma .*motion, none"
    ):
        prepare(source, tmp_path / "s.h5", space="T1w", confounds="ica_aroma")


def test_surfaces_of_both_hemispheres(source, tmp_path):
    labels = {0: "???", 3: "V1", 5: "V2"}
    left, right = np.array([0, 3, 3, 0, 5, 0, 0]), np.array([3, 0, 0, 0, 5, 5, 0, 0, 0])
    for side, values in (("L", left), ("R", right)):
        tree.write_labels(source / f"atlas/areas_hemi-{side}.label.gii", values, labels)
    options = {"form": "gifti", "space": "fsaverage5", "atlas": "atlas/areas_hemi-L.label.gii"}
    with prepare(source, tmp_path / "s.h5", **options) as store:
        brain = store["sub-01"]
        wanted = means(lambda run: np.hstack([tree.surface(run, side) for side in "LR"]))
        np.testing.assert_allclose(brain.responses(), wanted, rtol=1e-6)
        assert brain.grayordinates.vertex.tolist() == [*range(7), *range(9)]
        names = ["CIFTI_STRUCTURE_CORTEX_LEFT"] * 7 + ["CIFTI_STRUCTURE_CORTEX_RIGHT"] * 9
        assert list(brain.grayordinates.structure) == names
        assert sorted(brain.rois) == ["V1", "V2"]
        assert brain.rois["V1"].tolist() == [*(left == 3), *(right == 3)]
        assert brain.trials["stimulus"].tolist() == [*"abc", *"dac", *"bdac"]
    with prepare(source, tmp_path / "r.h5", voxels="rois", **options) as store:
        chosen = np.r_[left, right] > 0
        np.testing.assert_allclose(store["sub-01"].responses(), wanted[:, chosen], rtol=1e-6)
        assert store["sub-01"].grayordinates.vertex.tolist() == [1, 2, 4, 0, 4, 5]


def test_grayordinates(source, tmp_path):
    with prepare(source, tmp_path / "s.h5", form="cifti", resolution="91k") as store:
        brain = store["sub-01"]
        np.testing.assert_allclose(brain.responses(), means(tree.dense), rtol=1e-6)
        assert brain.grayordinates.vertex.tolist() == [0, 2, 5, 1, 8, -1, -1]
        assert brain.ijk[5:].tolist() == [[1, 2, 3], [1, 2, 4]]
        assert brain.grayordinates.surfaces == {
            "CIFTI_STRUCTURE_CORTEX_LEFT": 7,
            "CIFTI_STRUCTURE_CORTEX_RIGHT": 9,
        }
        assert (brain.space, brain.tr) == ("fsLR", tree.TR)


def test_a_lost_hemisphere_and_an_atlas_of_another_mesh(tmp_path):
    source = tree.build(tmp_path / "data")
    tree.write_labels(source / "a_hemi-L.label.gii", np.zeros(5), {0: "none"})
    tree.write_labels(source / "a_hemi-R.label.gii", np.ones(9), {1: "V1"})
    options = {"form": "gifti", "atlas": "a_hemi-L.label.gii"}
    with pytest.raises(
        SourceError, match=r"a_hemi-L.label.gii has 14 vertices; expected 16, those"
    ):
        prepare(source, tmp_path / "s.h5", **options)
    with pytest.raises(SourceError, match=r"no regions for .*; expected labels for --voxels rois"):
        prepare(source, tmp_path / "s.h5", form="gifti", voxels="rois")
    folder = source / tree.DERIVED / "sub-01/ses-b/func"
    next(folder.glob("*hemi-R*.func.gii")).unlink()
    with pytest.raises(
        SourceError, match=r"hemi-R.* does not exist; expected the other hemisphere"
    ):
        prepare(source, tmp_path / "s.h5", form="gifti")


@pytest.mark.parametrize("standardise", [False, True])
def test_betas_of_glmsingle_by_session(source, tmp_path, standardise):
    for session, trials, seed in (("ses-a", 6, 1), ("ses-b", 4, 2)):
        folder = source / f"derivatives/glmsingle/sub-01/{session}"
        tree.write_betas(folder, tree.betas(trials, seed))
    options = {
        "space": "T1w",
        "glmsingle": "derivatives/glmsingle/{subject}/{session}",
        "standardise": standardise,
        "test": "runs",
        "test_runs": [2],
    }
    with prepare(source, tmp_path / "s.h5", **options) as store:
        brain = store["sub-01"]
        blocks = [tree.betas(6, 1)[tree.MASK].T, tree.betas(4, 2)[tree.MASK].T]
        trials = brain.trials
        assert trials["stimulus"].tolist() == [*"abc", *"dac", *"bdac"]
        if standardise:
            known = [blocks[0][:3], blocks[1]]  # run 2 of the first session is the test
            blocks = [
                (b - k.mean(0)) / k.std(0, ddof=1) for b, k in zip(blocks, known, strict=True)
            ]
        np.testing.assert_allclose(brain.responses(), np.concatenate(blocks), rtol=1e-4, atol=1e-5)
        assert brain.units == ("z" if standardise else "percent signal change")
        explained = np.mean([np.abs(tree.betas(n, s)[..., 0]) for n, s in ((6, 1), (4, 2))], axis=0)
        np.testing.assert_allclose(brain.quality["glmsingle_r2"], explained[tree.MASK], rtol=1e-5)


def glmsingle(source, path):
    return prepare(source, path, space="T1w", glmsingle="g")


def test_betas_of_the_voxels_of_the_mask_alone(source, tmp_path):
    values = tree.betas(10, 5)
    tree.write_betas(source / "g", values[tree.MASK][:, None, None, :])
    with glmsingle(source, tmp_path / "s.h5") as store:
        np.testing.assert_array_equal(store["sub-01"].responses(), values[tree.MASK].T)


def test_betas_that_do_not_fit(tmp_path):
    source = tree.build(tmp_path / "data")
    with pytest.raises(SourceError, match=r"g holds no betas of GLMsingle; expected TYPED_FITHRF"):
        glmsingle(source, tmp_path / "s.h5")
    (source / "g").mkdir()
    np.save(source / "g/TYPED_FITHRF_GLMDENOISE_RR.npy", np.array({"betasmd": 1}, dtype=object))
    with pytest.raises(SourceError, match=r"RR.npy is a pickle, .*; run GLMsingle with wanthdf5=1"):
        glmsingle(source, tmp_path / "s.h5")
    tree.write_betas(source / "g", tree.betas(9, 5))
    with pytest.raises(
        SourceError, match=r"has 9 trials; expected 10, the trials of the event tab"
    ):
        glmsingle(source, tmp_path / "s.h5")
    tree.write_betas(source / "g", tree.betas(10, 5).transpose(3, 0, 1, 2))
    with pytest.raises(
        SourceError, match=r"betasmd in .* has the shape \(10, 5, 6, 7\); expected "
    ):
        glmsingle(source, tmp_path / "s.h5")


def test_events_whose_picture_column_differs(tmp_path):
    """As Kamitani's: stimulus_name without a suffix, and no stim_file."""
    source = tree.build(tmp_path / "data")
    for path in source.glob("sub-01/*/func/*_events.tsv"):
        table = pd.read_csv(path, sep="\t").rename(columns={"stim_file": "stimulus_name"})
        table["stimulus_name"] = [f"n0{ord(name[0])}_{7}" for name in table["stimulus_name"]]
        table["stimulus_id"] = 97.000007
        table.to_csv(path, sep="\t", index=False)
    for path in sorted((source / "stimuli").iterdir()):
        path.rename(path.with_name(f"n0{ord(path.stem)}_7.JPEG"))
    with prepare(source, tmp_path / "s.h5", space="T1w", stimulus_column="stimulus_name") as store:
        assert store.stimuli.ids == ["n0100_7", "n097_7", "n098_7", "n099_7"]
        assert store["sub-01"].trials["stimulus"].iloc[0] == "n097_7"


def test_damaged_surfaces(tmp_path):
    source = tree.build(tmp_path / "data")
    path = next((source / tree.DERIVED).rglob("*ses-b*hemi-L*.func.gii"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"func.gii is truncated or damaged .*a whole GIFTI file"):
        prepare(source, tmp_path / "s.h5", form="gifti")
    nib.save(nib.GiftiImage(), path)
    with pytest.raises(SourceError, match=r"func.gii is truncated or damaged"):
        prepare(source, tmp_path / "s.h5", form="gifti")
