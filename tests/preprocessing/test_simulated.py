"""`prepare bids` on a simulated data set, against nilearn's masker and cleaning, run by run."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean
from PIL import Image

from mindvis.data.store import VoxelStore
from mindvis.simulation.bids import simulate
from preprocessing.bids import prepare_bids

SUBJECT = "sub-01"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    small = {"subjects": 1, "trials": 11, "test_repeats": 2, "pictures": 64, "image_size": 32}
    simulate(str(folder), **small, n_jobs=1)
    return folder


def motion_of(dataset, path):
    """The six columns of motion that the data set has beside its other derivatives."""
    name = path.name.replace("_bold.nii.gz", "_desc-confounds_timeseries.tsv")
    (file,) = (dataset / "derivatives").rglob(name)
    columns = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    return pd.read_csv(file, sep="\t")[columns].to_numpy()


def test_the_store_is_that_of_plain_nilearn(dataset, tmp_path):
    prepare_bids(str(dataset), str(tmp_path / "s.h5"))
    (mask,) = dataset.rglob(f"{SUBJECT}*_desc-brain_mask.nii.gz")
    task, rest, shown, splits, repeats = [], [], [], [], {}
    for path in sorted(dataset.glob(f"{SUBJECT}/ses-*/func/*_bold.nii.gz")):
        tr = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        tr = tr["RepetitionTime"]
        series = NiftiMasker(mask_img=str(mask), standardize=None).fit_transform(str(path))
        cleaned = clean(
            series.astype(float),
            detrend=True,
            standardize="zscore_sample",
            confounds=motion_of(dataset, path),
            filter="cosine",
            high_pass=0.008,
            t_r=tr,
        )
        if "_task-rest_" in path.name:
            width = int(8 // tr)
            count = len(cleaned) // width
            rest += [cleaned[n * width : (n + 1) * width].mean(axis=0) for n in range(count)]
            continue
        times = tr * np.arange(len(cleaned))
        events = pd.read_csv(str(path).replace("_bold.nii.gz", "_events.tsv"), sep="\t")
        for event in events.itertuples():
            since = times - event.onset
            inside = (since > 4 - 1e-6) & (since < 9 - 1e-6)
            task.append(cleaned[inside].mean(axis=0))
            shown.append(event.stim_file.rsplit(".", 1)[0])
            splits.append(event.split)
            repeats.setdefault(shown[-1], []).append(len(repeats.get(shown[-1], [])))
    with VoxelStore(tmp_path / "s.h5") as store:
        brain, stimuli = store[SUBJECT], store.stimuli
        kind = brain.trials["kind"].to_numpy()
        np.testing.assert_allclose(brain.responses(kind == "task"), task, atol=1e-4)
        np.testing.assert_allclose(brain.responses(kind == "rest"), rest, atol=1e-4)
        looked = brain.trials[kind == "task"]
        assert looked["stimulus"].tolist() == shown
        assert looked["split"].tolist() == splits
        assert sorted(looked["repeat"]) == sorted(n for each in repeats.values() for n in each)
        inside = nib.load(mask).get_fdata() > 0
        np.testing.assert_array_equal(brain.ijk, np.argwhere(inside))
        for path in dataset.rglob(f"{SUBJECT}_label-*_mask.nii.gz"):
            name = path.name.split("_label-")[1].split("_")[0]
            region = nib.load(path).get_fdata()[inside] > 0
            np.testing.assert_array_equal(brain.rois[name], region)
        last = stimuli.images(stimuli.index([shown[-1]]))[0]
        (file,) = dataset.rglob(f"stimuli/{shown[-1]}.*")
        np.testing.assert_array_equal(last, np.asarray(Image.open(file).convert("RGB")))
