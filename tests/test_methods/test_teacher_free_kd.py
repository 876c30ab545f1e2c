"""TeacherFreeKD: a designed teacher."""

from __future__ import annotations

import math

import pytest
import torch
from support.labels import class_view
from support.views import built, random

from mmkd.methods import TeacherFreeKD


def softmax(row, tau=1.0) -> list[float]:
    exponents = [math.exp(float(x) / tau) for x in row]
    return [e / sum(exponents) for e in exponents]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q))


@pytest.mark.parametrize('multiplier', [None, 7.0])
@pytest.mark.parametrize('classes', [2, 5])
@pytest.mark.parametrize('soft', [False, True])
def test_tf_kd_equals_loops(classes, soft, multiplier):
    logits = random(3, classes).requires_grad_()
    labels = (
        random(3, classes, seed=1).softmax(1) if soft else torch.eye(classes).double()[[1, 0, 1]]
    )
    method = TeacherFreeKD('head', alpha=0.3, tau=20.0, correct_prob=0.9, multiplier=multiplier)
    method = built(method, [logits], [])
    loss = method.compute([logits], [], class_view(labels if soft else labels.argmax(1)))['tf']
    expected = 0.0
    for row, label in zip(logits.detach(), labels):
        probs = softmax(row)
        designed = [
            sum(float(label[y]) * (0.9 if k == y else 0.1 / (classes - 1)) for y in range(classes))
            for k in range(classes)
        ]
        own = -sum(float(v) * math.log(p) for v, p in zip(label, probs))
        mean = kl(softmax(designed, 20.0), probs) / classes
        expected += 0.3 * ((multiplier or classes) * mean - own) / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    loss.backward()
    assert logits.grad.any()


def test_tf_kd_with_the_heads_own_loss_is_the_published_sum():
    logits, labels = random(4, 6), torch.tensor([0, 5, 2, 2])
    method = built(TeacherFreeKD('head'), [logits], [])
    added = method.compute([logits], [], class_view(labels))['tf']
    own = torch.nn.functional.cross_entropy(logits, labels)
    designed = torch.full((4, 6), 0.01 / 5).double()
    designed[range(4), labels] = 0.99
    target = (designed / 20).softmax(1)
    kl_mean = torch.nn.functional.kl_div(logits.log_softmax(1), target, reduction='batchmean')
    torch.testing.assert_close(own + added, 0.9 * own + 0.1 * kl_mean)
