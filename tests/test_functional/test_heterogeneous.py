"""Losses between networks of different kinds against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.functional import adaptive_target_loss, cosine_distance, similarity_error


@pytest.mark.parametrize('eps', [1.0, 1.5, 3.0])
@pytest.mark.parametrize('classes', [2, 6])
def test_adaptive_target_loss(classes, eps):
    logits, teacher = random(4, classes), random(4, classes, seed=1)
    labels = torch.tensor([0, 1, classes - 1, 0])
    expected = 0.0
    for own, other, label in zip(logits.tolist(), teacher.tolist(), labels.tolist()):
        student_probs, teacher_probs = naive.softmax(own), naive.softmax(other)
        for k in range(classes):
            right = 1.0 if k == label else 0.0
            weight = (teacher_probs[k] + right) ** eps - right
            expected -= weight * math.log(student_probs[k]) / 4
    probs = teacher.softmax(1)
    found = adaptive_target_loss(logits, probs, labels, eps)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: adaptive_target_loss(x, probs, labels, eps), logits.requires_grad_()
    )


def test_eps_of_one_is_the_cross_entropy_with_the_teacher_whatever_the_label():
    logits, probs = random(3, 4), random(3, 4, seed=1).softmax(1)
    losses = [adaptive_target_loss(logits, probs, torch.tensor(y)) for y in ([0, 1, 2], [3, 3, 3])]
    torch.testing.assert_close(losses[0], losses[1])
    own = logits.softmax(1)
    entropy = -(own * own.log()).sum(1).mean()
    torch.testing.assert_close(adaptive_target_loss(logits, own, torch.zeros(3).long()), entropy)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_similarity_error(count):
    mapped, original = random(count, 3), random(count, 6, seed=1)
    squares = [
        (cosine(mapped[i].tolist(), mapped[j].tolist()) - cosine(a.tolist(), b.tolist())) ** 2
        for i, a in enumerate(original)
        for j, b in enumerate(original)
        if i != j
    ]
    expected = sum(squares) / max(len(squares), 1)
    assert float(similarity_error(mapped, original)) == pytest.approx(expected, rel=1e-9)
    assert similarity_error(3 * original, original) == pytest.approx(0, abs=1e-15)
    assert torch.autograd.gradcheck(
        lambda x: similarity_error(x, original), mapped.requires_grad_(), atol=1e-6
    )


def test_cosine_distance():
    student, teacher = random(4, 5), random(4, 5, seed=1)
    rows = [1 - cosine(s, t) for s, t in zip(student.tolist(), teacher.tolist())]
    assert float(cosine_distance(student, teacher)) == pytest.approx(sum(rows) / 4, rel=1e-9)
    assert cosine_distance(2 * teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert cosine_distance(-teacher, teacher) == pytest.approx(2)
    assert torch.autograd.gradcheck(lambda x: cosine_distance(x, teacher), student.requires_grad_())
