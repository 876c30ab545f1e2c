"""CIRKD's queues and relations against loops."""

from __future__ import annotations

import pytest
import torch
from support import naive
from support.naive import cells_of, dot
from support.views import random

from mmkd.methods.cirkd import (
    cross_image_loss,
    enqueue,
    memory_loss,
    pick_pixels,
    random_embeddings,
)

CLASSES = 3


@pytest.mark.parametrize('own', [True, False])
@pytest.mark.parametrize('count', [2, 5, 100])
def test_picked_pixels_are_those_with_the_highest_scores(count, own):
    """Of their class, or of as many locations at the start of the image."""
    feature = random(2, 4, 3, 4)
    generator = torch.Generator().manual_seed(0)
    labels = 2 * torch.randint(0, 2, (2, 3, 4), generator=generator)  # class 1 is absent
    labels[0, 0, :2] = 255
    scores = torch.rand(2, 12, generator=generator)
    pixels, valid = pick_pixels(feature, labels, scores, count, CLASSES, own=own)
    assert pixels.shape == (2, CLASSES, min(count, 12), 4)
    for n in range(2):
        for k in range(CLASSES):
            members = [p for p in range(12) if labels[n].flatten()[p] == k]
            members = members if own else list(range(len(members)))
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


@pytest.mark.parametrize('tau', [0.1, 1.0])
@pytest.mark.parametrize('shapes', [((2, 4, 2, 3), (2, 6, 2, 3)), ((3, 4, 1, 2), (3, 4, 1, 2))])
def test_cross_image_loss(shapes, tau):
    student, teacher = random(*shapes[0]), random(*shapes[1], seed=1)
    s, t = cells_of(student), cells_of(teacher)
    pairs = []
    for i in range(len(s)):
        for j in range(len(s)):
            rows = []
            for p in range(len(s[i])):
                target = naive.softmax([dot(t[i][p], q) / tau for q in t[j]])
                logits = [dot(s[i][p], q) / tau for q in s[j]]
                rows.append(naive.kl(target, logits, 1.0))
            pairs.append(sum(rows) / len(rows))
    expected = sum(pairs) / len(pairs)
    assert float(cross_image_loss(student, teacher, tau)) == pytest.approx(expected, rel=1e-6)
    assert cross_image_loss(teacher, teacher, tau) == 0


def test_cross_image_loss_of_one_pixel_is_zero():
    """One cell has one relation, whose softmax is 1."""
    assert cross_image_loss(random(2, 4, 1, 1), random(2, 4, 1, 1, seed=1)) == 0


def test_memory_loss():
    cells = [random(5, 4, seed=i) for i in range(2)]
    student, teacher = (x / x.norm(dim=1, keepdim=True) for x in cells)
    memory = random(7, 4, seed=2)
    valid = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]).double()
    rows = []
    for p in (0, 2, 3):
        target = naive.softmax([dot(teacher[p].tolist(), m) / 0.1 for m in memory.tolist()])
        logits = [dot(student[p].tolist(), m) / 0.1 for m in memory.tolist()]
        rows.append(naive.kl(target, logits, 1.0))
    loss = memory_loss(student, teacher, memory, valid)
    assert float(loss) == pytest.approx(sum(rows) / 3, rel=1e-6)
    assert memory_loss(teacher, teacher, memory, valid) == 0
    assert memory_loss(student, teacher, memory, valid * 0) == 0
