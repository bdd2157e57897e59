"""The judge's network and its augmentation."""

import pytest
import torch

from mindvis.tasks.classifier import PictureClassifier, build_classifier, shift_images


def test_shift_moves_pixels_and_repeats_the_border():
    images = torch.arange(2 * 1 * 4 * 5.0).view(2, 1, 4, 5)
    down, left = shift_images(images, torch.tensor([[1, 0], [0, -2]]))
    assert torch.equal(down[0, 1:], images[0, 0, :-1])
    assert torch.equal(down[0, 0], images[0, 0, 0])
    assert torch.equal(left[0, :, :3], images[1, 0, :, 2:])
    assert torch.equal(left[0, :, 4], images[1, 0, :, 4])


@pytest.mark.parametrize("architecture", ["resnet", "convnext"])
def test_networks_classify_pictures_of_any_size(architecture):
    network = build_classifier(architecture, 7, (8, 16), (1, 2))
    assert network(torch.zeros(3, 3, 16, 16)).logits.shape == (3, 7)


def test_augmentation_can_be_switched_off():
    facts = {"num_classes": 3, "image_size": 8}
    images = torch.rand(4, 3, 8, 8)
    plain = PictureClassifier(facts, hidden_sizes=(8,), depths=(1,), shift=0, noise=0.0)
    assert torch.equal(plain.augment(images, 0), images)
    moved = PictureClassifier(facts, hidden_sizes=(8,), depths=(1,), shift=2, noise=0.1)
    assert not torch.equal(moved.augment(images, 0), images)
    assert torch.equal(moved.augment(images, 5), moved.augment(images, 5))
