"""Class prototypes against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support.views import random

from mmkd.functional import class_similarity, region_means, variation_loss

CLASSES = 3


def label_map(*shape, seed=0):
    """Return labels of classes 0 and 2; class 1 is absent."""
    return 2 * torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))


def naive_means(feature, labels, n, k):
    """Return the mean of class k in image n, and its number of cells."""
    cells = [
        feature[n, :, y, x].tolist()
        for y in range(labels.shape[1])
        for x in range(labels.shape[2])
        if labels[n, y, x] == k
    ]
    mean = [sum(column) / len(cells) for column in zip(*cells)] if cells else None
    return mean, len(cells)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize('shape', [(2, 4, 3, 5), (1, 2, 1, 1)])
def test_region_means(shape):
    feature, labels = random(*shape), label_map(shape[0], *shape[2:])
    labels[0, 0, 0] = 255
    means, counts = region_means(feature, labels, CLASSES)
    assert means.dtype == torch.double
    for n in range(shape[0]):
        for k in range(CLASSES):
            expected, count = naive_means(feature, labels, n, k)
            assert counts[n, k] == count
            assert means[n, k].tolist() == pytest.approx(expected or [0.0] * shape[1], rel=1e-9)


@pytest.mark.parametrize('mask_ignored', [False, True])
@pytest.mark.parametrize('channels', [4, 6])
def test_variation_loss(mask_ignored, channels):
    student, teacher = random(2, channels, 3, 5), random(2, 4, 3, 5, seed=1)
    labels = label_map(2, 3, 5)
    labels[0, 0] = 255
    labels[1, 2, 2] = 255
    total, cells = 0.0, 0
    for n in range(2):
        for y in range(3):
            for x in range(5):
                k = int(labels[n, y, x])
                if k == 255:
                    continue  # its own prototype: cosine 1 on both sides
                similar = [
                    cosine(f[n, :, y, x].tolist(), naive_means(f, labels, n, k)[0])
                    for f in (student, teacher)
                ]
                total += (similar[0] - similar[1]) ** 2
                cells += 1
    assert cells == 24
    loss = variation_loss(student, teacher, labels, CLASSES, mask_ignored=mask_ignored)
    assert float(loss) == pytest.approx(total / (cells if mask_ignored else 30), rel=1e-6)


def test_similarity_of_ignored_cells_and_of_single_ones_is_one():
    labels = torch.tensor([[[0, 255, 255]]])
    similarity = class_similarity(random(1, 4, 1, 3), labels, CLASSES)
    torch.testing.assert_close(similarity, torch.ones(1, 1, 3, dtype=torch.double))


@pytest.mark.parametrize('mask_ignored', [False, True])
def test_variation_loss_is_zero(mask_ignored):
    """For equal sides, for a single cell, and where everything is ignored; the gradients too."""
    labels = label_map(2, 3, 5)
    feature = random(2, 4, 3, 5)
    assert variation_loss(feature, feature, labels, CLASSES, mask_ignored=mask_ignored) == 0
    student = random(2, 4, 3, 5, seed=1).requires_grad_()
    ignored = torch.full_like(labels, 255)
    loss = variation_loss(student, feature, ignored, CLASSES, mask_ignored=mask_ignored)
    loss.backward()
    assert loss == 0 and not student.grad.any() and student.grad.isfinite().all()
    single = variation_loss(student[..., :1, :1], feature[..., :1, :1], labels[:, :1, :1], CLASSES)
    assert float(single) == pytest.approx(0, abs=1e-12)
