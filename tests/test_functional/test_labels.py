"""Label maps against loops."""

from __future__ import annotations

import pytest
import torch

from mmkd.functional import one_hot_pixels, resize_labels


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
