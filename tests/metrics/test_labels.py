"""Labels are matched to a judge's classes by one rule, and what it leaves out is said."""

import pytest

from mindvis.metrics.labels import label_sentence, match_labels

CLASSES = ("tench, Tinca tinca", "cardigan", "Cardigan, Welsh corgi", "crane", "crane",
           "n02123045 tabby, tabby cat", "red circle")  # fmt: skip


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("tench", 0),
        ("TINCA_tinca", 0),
        ("tench, Tinca tinca", 0),
        ("tench,  tinca-tinca", 0),
        ("cardigan", 1),
        ("Cardigan", 1),  # a whole name goes before one of several
        ("welsh corgi", 2),
        ("n02123045", 5),
        ("tabby cat", 5),
        ("Red_circle", 6),
        ("red", -1),
        ("crane", -1),
        ("", -1),
        ("LABEL_0", -1),
    ],
)
def test_a_label_is_one_class_or_none(label, number):
    assert match_labels([label], CLASSES).numbers == (number,)


def test_two_classes_of_one_name_are_said():
    sentence = label_sentence(["crane", "tench"], CLASSES)
    assert sentence == (
        "the judge knows the labels of 1 of 2 stimuli; 'crane' may be several of its classes "
        "('crane': 'crane', 'crane')"
    )


def test_unknown_labels_are_named():
    assert label_sentence(["tench"], CLASSES) == ""
    assert label_sentence(["", ""], CLASSES) == "the stimuli have no labels"
    assert label_sentence(["a", "b", "c", "d", "e", "tench", ""], ("tench",)) == (
        "the judge knows the labels of 1 of 7 stimuli; 1 has no label; it has no class 'a', 'b', "
        "'c' or 2 others; its classes are 'tench'"
    )
    assert label_sentence(["a", "b"], ("x", "y", "z", "w")) == (
        "the judge knows the labels of none of 2 stimuli; it has no class 'a' or 'b'; its classes "
        "are 'x', 'y', 'z', ..."
    )
