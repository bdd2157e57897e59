from collections import Counter

import pytest

from mindvis.errors import ConfigError
from mindvis.simulation.design import SPACING, TR, make_pictures, make_runs, num_volumes
from mindvis.simulation.stimuli import CLASS_NAMES, unseen_classes


def test_training_pictures_are_of_seen_classes_alike_and_test_pictures_of_all():
    pictures = make_pictures(96, seed=0)
    train = Counter(p.label for p in pictures if p.split == "train")
    assert set(train) == set(CLASS_NAMES) - set(unseen_classes())
    assert set(train.values()) == {2}
    assert [p.label for p in pictures if p.split == "test"] == list(CLASS_NAMES)
    assert len({p.file for p in pictures}) == 160


def test_more_trials_leave_the_test_pictures_as_they_were():
    few, many = make_pictures(10, seed=0), make_pictures(50, seed=0)
    assert few[10:] == many[50:]
    assert few[10:] != make_pictures(10, seed=1)[10:]


@pytest.mark.parametrize(("trials", "repeats"), [(960, 8), (7, 1), (161, 3)])
def test_every_picture_is_shown_as_often_as_asked(trials, repeats):
    pictures = make_pictures(trials, seed=0)
    runs = make_runs(1, pictures, repeats, seed=0)
    shown = Counter(index for run in runs for index in run.pictures)
    assert all(shown[index] == 1 for index in range(trials))
    assert all(shown[index] == repeats for index in range(trials, trials + 64))
    assert len({run.name for run in runs}) == len(runs)
    assert Counter(run.session for run in runs if run.task == "rest") == {1: 1, 2: 1}


def test_both_sessions_have_training_and_test_runs():
    runs = make_runs(2, make_pictures(960, seed=0), 8, seed=0)
    for session in (1, 2):
        mine = [r for r in runs if r.session == session and r.task == "pictures"]
        kinds = Counter(r.pictures[0] >= 960 for r in mine)
        assert kinds[True] == 4
        assert kinds[False] == 6
        assert [r.number for r in mine] == list(range(1, 11))


def test_volumes_cover_the_response_to_the_last_picture():
    runs = make_runs(1, make_pictures(20, seed=0), 1, seed=0)
    run = next(run for run in runs if run.pictures)
    assert run.volumes == num_volumes(len(run.pictures))
    assert run.volumes * TR >= run.onsets[-1] + SPACING + 10
    assert all(onset % TR == 0 for onset in run.onsets)


def test_subjects_see_the_pictures_in_different_orders():
    pictures = make_pictures(40, seed=0)
    first, second = (make_runs(s, pictures, 1, seed=0) for s in (1, 2))
    assert [r.pictures for r in first] != [r.pictures for r in second]


def test_nothing_to_show_is_refused():
    with pytest.raises(ConfigError, match=r"0 training trials and 8 test repeats; expected"):
        make_runs(1, make_pictures(0, seed=0), 8, seed=0)
