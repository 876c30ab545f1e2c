"""Divergences between class scores against loops."""

from __future__ import annotations

import pytest
import torch
from support import naive
from support.views import random

from mmkd.cli.timing import saved_bytes
from mmkd.functional import class_rows, kl_divergence, softmax_kl
from mmkd.methods.cwd import channel_kl


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('is_log', [False, True])
def test_softmax_kl_equals_loops(dim, is_log):
    logits, target = random(2, 4, 3), random(2, 4, 3, seed=1).softmax(dim)
    result = softmax_kl(logits, target.log() if is_log else target, dim, is_log)
    rows = [x.movedim(dim, -1).reshape(-1, x.shape[dim]).tolist() for x in (logits, target)]
    expected = [naive.kl(t, s, 1.0) for s, t in zip(*rows)]
    assert result.shape == logits.sum(dim).shape
    assert result.flatten().tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('is_log', [False, True])
def test_gradient(is_log):
    """Also of rows that do not sum to one, and with a different weight for each row."""
    logits = random(3, 5).requires_grad_()
    target = random(3, 5, seed=1).softmax(1) * torch.tensor([[1.0], [0.5], [2.0]]).double()
    given = target.log() if is_log else target
    assert torch.autograd.gradcheck(lambda x: softmax_kl(x, given, 1, is_log), logits)
    certain = torch.eye(5, dtype=torch.double)[:3]
    if not is_log:
        assert torch.autograd.gradcheck(lambda x: softmax_kl(x, certain, 1), logits)


def test_equal_distributions_are_exactly_zero_with_logarithms():
    logits = random(3, 5)
    assert not softmax_kl(logits, logits.log_softmax(1), 1, is_log=True).any()


@pytest.mark.parametrize('function', [channel_kl, lambda s, t: kl_divergence(s, t.softmax(1))])
def test_one_map_is_kept(function):
    student = torch.randn(2, 8, 16, 16, requires_grad=True)
    teacher = torch.randn(2, 8, 16, 16)
    kept = saved_bytes(lambda: function(student, teacher))[1]
    assert student.nbytes <= kept < 1.1 * student.nbytes


@pytest.mark.parametrize('is_log', [False, True])
def test_a_target_that_learns_gets_its_gradient(is_log):
    """Augmentations of the teacher are learned through the target."""
    logits, given = random(2, 5, 3).requires_grad_(), random(2, 5, 3, seed=1).requires_grad_()

    def divergence(x, y):
        return softmax_kl(x, y.log_softmax(1) if is_log else y.softmax(1), 1, is_log)

    assert torch.autograd.gradcheck(divergence, (logits, given))
    plain = softmax_kl(logits, given.detach().softmax(1), 1)
    torch.testing.assert_close(divergence(logits, given), plain)


@pytest.mark.parametrize('tau', [1.0, 0.5, 4.0])
@pytest.mark.parametrize('shape', [(3, 5), (2, 4, 3, 5), (1, 2, 1, 1)])
def test_kl_equals_loops(shape, tau):
    student, teacher = random(*shape), random(*shape, seed=1)
    rows = [t.movedim(1, -1).reshape(-1, shape[1]).tolist() for t in (student, teacher)]
    expected = [naive.kl(naive.softmax([v / tau for v in t]), s, tau) for s, t in zip(*rows)]
    loss = kl_divergence(student, (teacher / tau).softmax(1), tau)
    assert float(loss) == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_kl_is_zero_for_equal_distributions_and_finite_for_certain_ones():
    logits = random(3, 5) * 20
    assert float(kl_divergence(logits, logits.softmax(1))) == pytest.approx(0, abs=1e-12)
    certain = torch.eye(5, dtype=torch.double)[:3]  # log 0
    student = random(3, 5).requires_grad_()
    loss = kl_divergence(student, certain)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_class_rows():
    """Channel a K + k of a dense head is class k of anchor a."""
    classes, anchors, h, w = 3, 2, 4, 5
    logits = random(2, anchors * classes, h, w)
    rows = iter(class_rows(logits, classes).tolist())
    for n in range(2):
        for a in range(anchors):
            for y in range(h):
                for x in range(w):
                    expected = [float(logits[n, a * classes + k, y, x]) for k in range(classes)]
                    assert next(rows) == expected
    assert next(rows, None) is None
