"""Queues against loops."""

from __future__ import annotations

import pytest
import torch
from support.views import random

from mmkd.functional import enqueue, pick_pixels, random_embeddings

CLASSES = 3


@pytest.mark.parametrize('count', [2, 5, 100])
def test_picked_pixels_are_those_of_their_class_with_the_highest_scores(count):
    feature = random(2, 4, 3, 4)
    generator = torch.Generator().manual_seed(0)
    labels = 2 * torch.randint(0, 2, (2, 3, 4), generator=generator)  # class 1 is absent
    labels[0, 0, :2] = 255
    scores = torch.rand(2, 12, generator=generator)
    pixels, valid = pick_pixels(feature, labels, scores, count, CLASSES)
    assert pixels.shape == (2, CLASSES, min(count, 12), 4)
    for n in range(2):
        for k in range(CLASSES):
            members = [p for p in range(12) if labels[n].flatten()[p] == k]
            members.sort(key=lambda p, n=n: -float(scores[n, p]))
            expected = [feature[n].flatten(1)[:, p].tolist() for p in members[:count]]
            assert pixels[n, k][valid[n, k]].tolist() == expected
    assert not valid[:, 1].any() and valid[:, 0].any()


@pytest.mark.parametrize('size', [4, 7, 50])
def test_enqueue_is_a_ring_buffer(size):
    """Over several steps, some with more entries than the buffer holds."""
    generator = torch.Generator().manual_seed(0)
    queue = random_embeddings(CLASSES, size, 2)
    pointer = torch.zeros(CLASSES, dtype=torch.long)
    expected, slots = queue.tolist(), [0] * CLASSES
    for _ in range(5):
        entries = torch.randn(2, CLASSES, 3, 2, generator=generator)
        valid = torch.rand(2, CLASSES, 3, generator=generator) < 0.6
        valid[:, 1] = False
        enqueue(queue, pointer, entries, valid)
        for k in range(CLASSES):
            for n in range(2):
                for v in range(3):
                    if valid[n, k, v]:
                        expected[k][slots[k]] = entries[n, k, v].tolist()
                        slots[k] = (slots[k] + 1) % size
        assert queue.tolist() == expected
        assert pointer.tolist() == slots
    assert slots[1] == 0


def test_random_embeddings_have_unit_length():
    torch.testing.assert_close(random_embeddings(2, 5, 3).norm(dim=2), torch.ones(2, 5))
