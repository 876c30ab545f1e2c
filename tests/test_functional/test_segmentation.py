"""Label maps against loops."""

from __future__ import annotations

import pytest
import torch
from support.naive import label_map, naive_means
from support.views import random

from mmkd.functional import one_hot_pixels, region_means, resize_labels


@pytest.mark.parametrize('size', [(4, 6), (2, 3), (1, 1), (8, 7)])
def test_labels_are_resized_to_the_nearest_pixel(size):
    labels = torch.randint(0, 150, (2, 4, 6), generator=torch.Generator().manual_seed(0))
    labels[0, :2] = 255
    resized = resize_labels(labels, size)
    assert resized.dtype == torch.int64
    for n in range(2):
        for y in range(size[0]):
            for x in range(size[1]):
                assert resized[n, y, x] == labels[n, y * 4 // size[0], x * 6 // size[1]]


def test_one_hot_pixels():
    labels = torch.tensor([[[0, 2], [255, 1]], [[-1, 3], [2, 2]]])
    hot = one_hot_pixels(labels, 3)
    rows = [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert hot.flatten(0, 1).tolist() == rows
    # A class can be the ignored one.
    assert not one_hot_pixels(labels, 3, ignore_index=2)[..., 2].any()


@pytest.mark.parametrize('shape', [(2, 4, 3, 5), (1, 2, 1, 1)])
def test_region_means(shape):
    feature, labels = random(*shape), label_map(shape[0], *shape[2:])
    labels[0, 0, 0] = 255
    means, counts = region_means(feature, labels, 3)
    assert means.dtype == torch.double
    for n in range(shape[0]):
        for k in range(3):
            expected, count = naive_means(feature, labels, n, k)
            assert counts[n, k] == count
            assert means[n, k].tolist() == pytest.approx(expected or [0.0] * shape[1], rel=1e-9)
