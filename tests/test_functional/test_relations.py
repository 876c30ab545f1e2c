"""Relations between cells against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.functional import cross_image_loss, memory_loss, pairwise_loss


def cells_of(feature):
    """Return the cells of every image as lists of unit length."""
    images = []
    for image in feature.flatten(2).transpose(1, 2).tolist():
        norms = [math.sqrt(sum(v * v for v in cell)) for cell in image]
        images.append([[v / norm for v in cell] for cell, norm in zip(image, norms)])
    return images


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


@pytest.mark.parametrize('shapes', [((2, 4, 2, 3), (2, 6, 2, 3)), ((1, 3, 1, 1), (1, 3, 1, 1))])
def test_pairwise_loss(shapes):
    student, teacher = random(*shapes[0]), random(*shapes[1], seed=1)
    squares = []
    for s, t in zip(cells_of(student), cells_of(teacher)):
        for p in range(len(s)):
            for q in range(len(s)):
                squares.append((dot(s[p], s[q]) - dot(t[p], t[q])) ** 2)
    expected = sum(squares) / len(squares)
    assert float(pairwise_loss(student, teacher)) == pytest.approx(expected, rel=1e-6, abs=1e-15)
    assert pairwise_loss(teacher, teacher) == 0


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
