"""Batches of responses, pairs and pictures: right values, right rows, no test rows."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mindvis.data.datamodule import PairData, PictureData, ResponseData
from mindvis.data.images import to_float
from mindvis.data.store import StimulusData, SubjectData, VoxelStore, write_store
from mindvis.data.synthetic import make_store
from mindvis.errors import CheckpointError, ConfigError, DataError, StoreError


def ready(data, *stages):
    for stage in stages or ("fit", "test"):
        data.setup(stage)
    return data


def whole(dataset):
    return dataset.__getitems__(range(len(dataset)))


def altered(store, path, change):
    """A copy of a store whose responses are changed; `change` may write into them."""
    with VoxelStore(store) as old:
        people = []
        for read in old:
            responses = read.responses()
            change(read.name, read.trials, responses)
            people.append(
                (
                    read.name,
                    SubjectData(
                        responses, read.trials, read.ijk, read.affine, read.shape, read.rois
                    ),
                )
            )
        pictures = old.stimuli
        stimuli = StimulusData(
            pictures.images(), pictures.ids, pictures.labels, pictures.categories
        )
        write_store(path, people, stimuli, {})
    return str(path)


def test_responses_of_all_subjects_are_padded_to_one_length(store):
    data = ready(ResponseData(str(store), val_fraction=0.2))
    assert data.facts == {"num_voxels": 96, "patch_size": 16}
    assert data.inputs == [store]
    batch = whole(data.dataset("train"))
    assert batch["voxels"].shape[1] == batch["valid"].shape[1] == 96
    assert (batch["voxels"].dtype, batch["valid"].dtype) == (torch.float32, torch.bool)
    assert batch["index"].tolist() == list(range(len(batch["index"])))
    for number, voxels in enumerate((70, 93)):
        mine = batch["subject"] == number
        assert (batch["valid"][mine].sum(1) == voxels).all()
        values = batch["voxels"][mine]
        assert not values[:, voxels:].any()
        torch.testing.assert_close(
            values[:, :voxels].mean(0), torch.zeros(voxels), atol=1e-5, rtol=0
        )
        scale = values[:, :voxels].std(0, correction=0)
        torch.testing.assert_close(scale, torch.ones(voxels), atol=1e-4, rtol=0)


def test_wrapped_padding_is_valid_throughout(store):
    batch = whole(ResponseData(str(store), padding="wrap").dataset("val"))
    assert batch["valid"].all()
    first = batch["voxels"][batch["subject"] == 0]
    torch.testing.assert_close(first[:, 70:], first[:, :26])


def test_voxels_follow_the_roi_and_the_curve(store):
    data = ready(ResponseData(str(store), roi=["V1", "LOC"], order="hilbert", standardise="none"))
    item = data.dataset("test")[3]
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        row = np.flatnonzero(read.trials["split"] == "test")[3]
        transform = data.preprocessing["sub-01"]
        assert set(transform.columns) == set(np.flatnonzero(read.roi_mask(["V1", "LOC"])))
        assert list(transform.columns) != sorted(transform.columns)
        steps = np.abs(np.diff(read.ijk[transform.columns], axis=0)).sum(1).mean()
        assert steps < np.abs(np.diff(read.ijk[np.sort(transform.columns)], axis=0)).sum(1).mean()
        expected = read.responses([row])[0, transform.columns]
    np.testing.assert_array_equal(item["voxels"][: len(expected)], expected)


def test_stores_may_name_their_regions_differently(store, tmp_path):
    """The union of the regions that a subject has; each is some subject's."""
    with VoxelStore(store) as old:
        people = []
        for read in old:
            rois = {f"area-{name}": mask for name, mask in read.rois.items()}
            data = SubjectData(
                read.responses(), read.trials, read.ijk, read.affine, read.shape, rois
            )
            people.append((f"other-{read.name}", data))
        pictures = old.stimuli
        stimuli = StimulusData(
            pictures.images(), pictures.ids, pictures.labels, pictures.categories
        )
        write_store(tmp_path / "other.h5", people, stimuli, {})
        both = [str(store), str(tmp_path / "other.h5")]
        found = ResponseData(both, roi=["V1", "area-LOC"]).preprocessing
        for name, region in (("sub-01", "V1"), ("other-sub-01", "LOC")):
            expected = np.flatnonzero(old["sub-01"].rois[region])
            np.testing.assert_array_equal(found[name].columns, expected)
    with pytest.raises(StoreError, match="no ROI 'V9'"):
        _ = ResponseData(both, roi=["V1", "area-LOC", "V9"]).preprocessing
    with pytest.raises(StoreError, match="no ROI 'V1'"):
        _ = ResponseData(both, roi="V1").preprocessing


@pytest.mark.parametrize("kinds", [("task",), ("rest",), ("task", "rest")])
def test_kinds_and_splits(store, kinds):
    data = ResponseData(str(store), kinds=kinds, val_fraction=0.25)
    sizes = {split: len(data.dataset(split)) for split in ("train", "val", "test")}
    task, rest = "task" in kinds, "rest" in kinds
    assert sizes["train"] + sizes["val"] == 2 * (40 * task + 16 * rest)
    assert sizes["test"] == 2 * 36 * task


def test_test_rows_change_nothing_that_is_fitted(store, tmp_path):
    def spoil(_, trials, responses):
        responses[(trials["split"] == "test").to_numpy()] = 1e6

    spoiled = altered(store, tmp_path / "spoiled.h5", spoil)
    for kind in (ResponseData, PairData):
        clean, dirty = kind(str(store)), kind(spoiled)
        for name in ("sub-01", "sub-02"):
            mine, theirs = clean.preprocessing[name], dirty.preprocessing[name]
            assert mine.to_dict() == theirs.to_dict()
        for split in ("train", "val"):
            first, second = whole(clean.dataset(split)), whole(dirty.dataset(split))
            torch.testing.assert_close(first["voxels"], second["voxels"], rtol=0, atol=0)


def test_validation_rows_change_nothing_that_is_fitted(store, tmp_path):
    data = PairData(str(store))
    held = {int(item) for item in whole(data.dataset("val"))["stimulus"]}
    names = {data.stimuli.ids[row] for row in held}

    def spoil(_, trials, responses):
        responses[trials["stimulus"].isin(names).to_numpy()] = -1e6

    spoiled = PairData(altered(store, tmp_path / "spoiled.h5", spoil))
    assert spoiled.preprocessing["sub-02"].to_dict() == data.preprocessing["sub-02"].to_dict()
    assert not torch.equal(
        whole(spoiled.dataset("val"))["voxels"], whole(data.dataset("val"))["voxels"]
    )


def test_splits_share_no_picture_between_subjects(store):
    data = PairData(str(store), val_fraction=0.3)
    shown = {split: set(whole(data.dataset(split))["stimulus"].tolist()) for split in SPLITS}
    assert not shown["train"] & shown["val"]
    assert not (shown["train"] | shown["val"]) & shown["test"]
    assert len(set(map(data.split_digest, SPLITS))) == 3
    assert data.split_digest("val") == PairData(str(store), val_fraction=0.3).split_digest("val")


SPLITS = ("train", "val", "test")


def test_a_subject_who_saw_less_holds_out_the_same_pictures(store, tmp_path):
    with VoxelStore(store) as old:
        read, stimuli = old["sub-01"], old.stimuli
        everything = SubjectData(read.responses(), read.trials, read.ijk, read.affine, read.shape)
        some = np.flatnonzero(
            (np.arange(read.num_trials) % 3 > 0) | (read.trials["split"] != "train")
        )
        less = replace(everything, responses=read.responses(some), trials=read.trials.iloc[some])
        pictures = StimulusData(stimuli.images(), stimuli.ids, stimuli.labels, stimuli.categories)
        write_store(tmp_path / "s.h5", [("a", everything), ("b", less)], pictures, {})
    data = PairData(str(tmp_path / "s.h5"), val_fraction=0.3)
    batches = {split: whole(data.dataset(split)) for split in ("train", "val")}
    shown = {
        (split, number): set(batch["stimulus"][batch["subject"] == number].tolist())
        for split, batch in batches.items()
        for number in (0, 1)
    }
    assert not shown["train", 1] & shown["val", 0]
    assert not shown["train", 0] & shown["val", 1]
    assert shown["val", 1] < shown["val", 0]


def test_transductive_rows_are_test_rows_standardised_by_train(store):
    plain = ResponseData(str(store), kinds=("task",))
    adapted = ResponseData(str(store), kinds=("task",), rows="test", val_fraction=0.25)
    assert not plain.preprocessing.transductive
    assert adapted.preprocessing.transductive
    everything = whole(adapted.dataset("test"))["voxels"]
    parts = [whole(adapted.dataset(split))["voxels"] for split in ("train", "val")]
    assert len(parts[0]) + len(parts[1]) == len(everything) == 72
    assert {tuple(row.tolist()) for row in torch.cat(parts)} == {
        tuple(row.tolist()) for row in everything
    }
    assert everything[:36].mean(0)[:63].abs().max() > 0.1  # by the numbers of train, not its own


def test_lazy_reading_gives_the_same_batches(store):
    for kind in (ResponseData, PairData):
        cached, lazy = kind(str(store)), kind(str(store), cache_bytes=0)
        first, second = cached.dataset("train"), lazy.dataset("train")
        keys = [50, 3, 3, 61, 0]
        a, b = (made.__getitems__(keys) for made in (first, second))
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-6)
        assert torch.equal(first[3]["voxels"], a["voxels"][1])


def test_pairs_belong_together(store):
    data = ready(PairData(str(store), subjects=["sub-02"], standardise="none", padding="wrap"))
    with VoxelStore(store) as opened:
        read, stimuli = opened["sub-02"], opened.stimuli
        for split in SPLITS:
            for item in map(data.dataset(split).__getitem__, (0, 5, -1 % len(data.dataset(split)))):
                row = item["stimulus"]
                torch.testing.assert_close(item["image"], to_float(stimuli.images([row])[0]))
                assert data.class_names[item["label"]] == stimuli.labels[row]
                shown = np.flatnonzero(read.trials["stimulus"] == stimuli.ids[row])
                assert np.isin(read.responses(shown)[:, 0], item["voxels"][0].numpy()).any()
    assert data.facts == {
        "num_voxels": 96,
        "patch_size": 16,
        "num_classes": 6,
        "image_size": 16,
        "num_stimuli": 52,
        "augmented": 0,
    }


def test_repeats_are_averaged_where_asked(store):
    single, mean = PairData(str(store)), PairData(str(store), average_repeats=True)
    assert (len(single.dataset("test")), len(mean.dataset("test"))) == (72, 24)
    trials, means = whole(single.dataset("test")), whole(mean.dataset("test"))
    for subject, stimulus, voxels in zip(
        means["subject"], means["stimulus"], means["voxels"], strict=True
    ):
        mine = (trials["subject"] == subject) & (trials["stimulus"] == stimulus)
        assert mine.sum() == 3
        torch.testing.assert_close(voxels, trials["voxels"][mine].mean(0), atol=1e-5, rtol=1e-5)


def test_a_pretrained_preprocessing_is_used_again(store, tmp_path):
    first = ResponseData(str(store), subjects=["sub-01"], roi="VC", order="hilbert", length=160)
    first.preprocessing.save(tmp_path)
    second = PairData(str(store), patch_size=4, preprocessing=str(tmp_path))
    assert second.facts["num_voxels"] == 160
    assert second.facts["patch_size"] == 16
    known = second.preprocessing
    assert known["sub-01"].to_dict() == first.preprocessing["sub-01"].to_dict()
    assert len(known["sub-02"].columns) == 93  # a new subject, by the options given here
    assert known["sub-02"].length == 160
    assert second.inputs == [store, tmp_path / "preprocessing.json"]
    ResponseData(str(store), subjects=["sub-01"]).preprocessing.save(tmp_path)
    with pytest.raises(DataError, match="sub-02 has 93 voxels, the model reads 80"):
        _ = PairData(str(store), preprocessing=str(tmp_path)).preprocessing


def test_another_voxel_count_than_the_pretrained_one(store, tmp_path):
    ResponseData(str(store)).preprocessing.save(tmp_path)
    make_store(tmp_path / "other.h5", voxels=(64, 93))
    data = PairData(str(tmp_path / "other.h5"), preprocessing=str(tmp_path))
    with pytest.raises(CheckpointError, match="was fitted to 70 voxels, there are 64"):
        data.setup("fit")


def test_many_stores(store, tmp_path):
    make_store(tmp_path / "more.h5", subjects=3, voxels=(30, 40, 50), seed=4)
    data = ready(ResponseData([str(store), str(tmp_path / "more.h5")]))
    names = [recording.name for recording in data.recordings]
    assert names == ["tiny/sub-01", "tiny/sub-02", "more/sub-01", "more/sub-02", "sub-03"]
    batch = whole(data.dataset("train"))
    counts = [int(batch["valid"][batch["subject"] == n][0].sum()) for n in range(5)]
    assert counts == [70, 93, 30, 40, 50]
    some = ResponseData([str(store), str(tmp_path / "more.h5")], subjects=["sub-03"])
    assert [recording.name for recording in some.recordings] == ["sub-03"]


def test_values_that_are_not_finite_are_refused(store, tmp_path):
    def spoil(name, trials, responses):
        if name == "sub-02":
            responses[3, [7, 8]] = np.nan

    data = PairData(altered(store, tmp_path / "nan.h5", spoil))
    with pytest.raises(DataError, match="2 voxels of subject sub-02 are NaN or infinite"):
        data.setup("fit")


def test_mistakes_are_one_sentence(store, tmp_path):
    with pytest.raises(ConfigError, match=r"subject 'sub-9' is in none of .*one of sub-01, sub-02"):
        _ = ResponseData(str(store), subjects=["sub-9"]).recordings
    with pytest.raises(
        ConfigError, match="length is 100 voxels; expected a multiple of patch_size"
    ):
        ResponseData(str(store), length=100)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        ResponseData(str(store), batch_size=0)
    with pytest.raises(ConfigError, match="patch_size is 0"):
        ResponseData(str(store), patch_size=0)
    with pytest.raises(ConfigError, match=r"crop is 1\.5"):
        PictureData(store=str(store), crop=1.5)
    with pytest.raises(ConfigError, match=r"data\.pictures, data\.store, or both"):
        _ = PictureData().facts
    with VoxelStore(store) as opened:
        read = opened["sub-01"]
        data = SubjectData(read.responses(), read.trials, read.ijk, read.affine, read.shape)
        write_store(tmp_path / "blind.h5", [("sub-01", replace(data))], None, {})
    with pytest.raises(ConfigError, match="holds no pictures"):
        PairData(str(tmp_path / "blind.h5")).setup("fit")


def test_nothing_held_out_means_no_validation(store):
    data = ready(PairData(str(store), val_fraction=0))
    assert data.val_dataloader() == []
    assert len(data.dataset("train")) == 80


@pytest.mark.parametrize("kind", [ResponseData, PairData, PictureData])
@pytest.mark.parametrize("workers", [0, 2])
def test_loaders(store, kind, workers):
    data = ready(kind(store=str(store), batch_size=7, num_workers=workers), "fit")
    batches = list(data.train_dataloader())
    seen = torch.cat([batch["index"] for batch in batches])
    assert len(seen.unique()) == len(seen) == len(data.dataset("train"))
    fixed = [batch["index"] for batch in data.val_dataloader()]
    assert torch.equal(torch.cat(fixed), torch.cat([b["index"] for b in data.val_dataloader()]))


def test_datasets_survive_pickling(store):
    for data in (PairData(str(store), cache_bytes=0), PictureData(store=str(store), cache_bytes=0)):
        made = data.dataset("train")
        again = pickle.loads(pickle.dumps(made))
        torch.testing.assert_close(again[3]["image"], made[3]["image"])


def test_pictures_of_a_store_are_training_stimuli(store):
    data = ready(PictureData(store=str(store), val_fraction=0.1))
    names = set(data.collection.names)
    assert names == {f"train-{row:03d}" for row in range(40)}
    assert "blue square" not in data.class_names
    train, val = whole(data.dataset("train")), whole(data.dataset("val"))
    assert len(train["index"]) + len(val["index"]) == 40
    assert not set(train["index"].tolist()) & set(val["index"].tolist())
    assert len(data.dataset("test")) == 0
    with VoxelStore(store) as opened:
        rows = opened.stimuli.index(data.collection.names)
        images = to_float(opened.stimuli.images(rows))
        for image, label, row in zip(train["image"], train["label"], train["index"], strict=True):
            torch.testing.assert_close(image, images[row])
            assert data.class_names[label] == opened.stimuli.labels[rows[row]]


def test_a_stimulus_of_the_test_split_of_anybody_is_left_out(store, tmp_path):
    with VoxelStore(store) as old:
        read, stimuli = old["sub-01"], old.stimuli
        trials = read.trials.copy()
        trials.loc[trials["stimulus"] == "train-003", "split"] = "test"
        one = SubjectData(read.responses(), trials, read.ijk, read.affine, read.shape)
        two = replace(one, trials=read.trials)
        pictures = StimulusData(stimuli.images(), stimuli.ids, stimuli.labels, stimuli.categories)
        write_store(tmp_path / "s.h5", [("a", one), ("b", two)], pictures, {})
    assert "train-003" not in PictureData(store=str(tmp_path / "s.h5")).collection.names


def test_picture_folder_and_store_together(store, tmp_path):
    for name, value in (("red circle", 10), ("zebra", 200)):
        (tmp_path / name).mkdir()
        for row in range(3):
            Image.new("RGB", (20, 30), (value, row, 0)).save(tmp_path / name / f"{row}.png")
    data = ready(PictureData(str(tmp_path), str(store), image_size=16, val_fraction=0))
    assert data.facts["num_stimuli"] == 46
    assert data.class_names[-1] == "zebra"
    batch = whole(data.dataset("train"))
    assert batch["image"].shape == (46, 3, 16, 16)
    zebra = batch["image"][batch["label"] == data.class_names.index("zebra")]
    torch.testing.assert_close(zebra[:, 0], torch.full((3, 16, 16), 200 / 127.5 - 1))
    assert len(data.inputs) == 7
    with pytest.raises(DataError, match="pictures are of 12 and 16 pixels"):
        _ = join_of_two_sizes(tmp_path, store)


def join_of_two_sizes(folder, store):
    from mindvis.data.collection import from_folder, from_store, join

    return join(from_folder(str(folder), 12), from_store(str(store), 16))


def test_arrays_of_pictures(tmp_path, rng):
    images = rng.integers(0, 256, (9, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=np.arange(9) % 3)
    data = ready(PictureData(str(tmp_path / "digits.npz"), image_size=32, val_fraction=0.2))
    assert data.facts == {"num_classes": 3, "image_size": 32, "num_stimuli": 9, "augmented": 0}
    assert data.class_names == ["0", "1", "2"]
    item = data.dataset("train")[0]
    assert item["image"].shape == (3, 32, 32)
    assert int(item["label"]) == item["index"] % 3


def test_augmentation_changes_with_the_epoch_and_not_with_workers(store):
    def epoch(number, workers):
        data = ready(
            PictureData(store=str(store), flip=True, crop=0.3, num_workers=workers, batch_size=40),
            "fit",
        )
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        batch = next(iter(loader))
        return batch["image"][batch["index"].argsort()]

    torch.testing.assert_close(epoch(1, 0), epoch(1, 2), rtol=0, atol=0)
    assert not torch.equal(epoch(1, 0), epoch(2, 0))
    data = PictureData(store=str(store), flip=True)
    assert data.facts["augmented"] == 1
    plain = PictureData(store=str(store)).dataset("val")
    torch.testing.assert_close(data.dataset("val")[0]["image"], plain[0]["image"])


def test_pictures_are_resized(store):
    item = PairData(str(store), image_size=24).dataset("train")[0]
    assert item["image"].shape == (3, 24, 24)
    assert item["image"].abs().max() <= 1


def test_no_test_row_reaches_a_normaliser_training_or_validation(store, monkeypatch):
    """A division that is wrong is met where the rows are used."""
    from mindvis.data import recordings

    right = recordings.split_rows

    def wrong(trials, split, *args, **kwargs):
        rows = right(trials, split, *args, **kwargs)
        leaked = np.flatnonzero((trials["split"] == "test").to_numpy())[:3]
        return np.append(rows, leaked) if split == at else rows

    monkeypatch.setattr(recordings, "split_rows", wrong)
    for make in (ResponseData, PairData):
        for at in ("train", "val"):
            data = make(str(store))
            message = rf"3 of \d+ rows for the {at} split of subject sub-01 are test rows, row \d+"
            with pytest.raises(DataError, match=message):
                data.dataset(at)
    at = "train"
    with pytest.raises(DataError, match="for the normalisation of subject sub-01 are test rows"):
        _ = ResponseData(str(store), rows="test").preprocessing


def test_a_checkpoint_of_other_splits_is_refused(store):
    saved = PairData(str(store), val_fraction=0.3).state_dict()
    PairData(str(store), val_fraction=0.3).load_state_dict(saved)
    message = r"the train split of subject sub-01 has \d+ stimuli; expected the \d+ that the check"
    with pytest.raises(CheckpointError, match=message):
        PairData(str(store), val_fraction=0.1).load_state_dict(saved)
    with pytest.raises(CheckpointError, match="subject sub-02 has no stimuli"):
        PairData(str(store), ["sub-01"], val_fraction=0.3).load_state_dict(saved)


def test_adaptation_to_test_rows_records_them_as_trained(store):
    plain = ResponseData(str(store)).splits()["sub-01"]
    adapted = ResponseData(str(store), rows="test", val_fraction=0.0).splits()["sub-01"]
    assert adapted["train"] == adapted["test"] == plain["test"]
    assert plain["train"] != plain["test"]
    assert not ResponseData(str(store)).watches_test
