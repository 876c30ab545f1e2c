"""Divergences against loops."""

from __future__ import annotations

import naive
import pytest
import torch

from mmkd.functional import class_rows, dense_binary_kl, disagreement, kl_divergence


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


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


@pytest.mark.parametrize('tau', [1.0, 2.0])
@pytest.mark.parametrize('shape', [(7, 3), (1, 1), (5, 1)])
def test_binary_kl_equals_loops(shape, tau):
    student, teacher = random(*shape), random(*shape, seed=1)
    total = weights = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist()):
        weight = max(naive.sigmoid(t) for t in t_row)
        divergence = sum(
            naive.binary_kl(naive.sigmoid(t / tau), naive.sigmoid(s / tau))
            for s, t in zip(s_row, t_row)
        )
        total += weight * divergence
        weights += weight
    loss = dense_binary_kl(student, teacher, tau)
    assert float(loss) == pytest.approx(tau**2 * total / weights, rel=1e-6)
    assert float(dense_binary_kl(teacher, teacher, tau)) == pytest.approx(0, abs=1e-12)


def test_binary_kl_is_finite_for_extreme_scores():
    student, teacher = torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]])
    assert dense_binary_kl(student, teacher).isfinite()
    assert dense_binary_kl(student, torch.full((1, 2), -1e4)).isfinite()


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


@pytest.mark.parametrize('shape', [(3, 2), (3, 5), (2, 4, 3, 2)])
def test_disagreement_is_the_divergence_of_every_image(shape):
    student, teacher = (
        torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(i))
        for i in (0, 1)
    )
    found = disagreement(student, teacher, 3.0)
    for n in range(len(student)):
        one = slice(n, n + 1)
        expected = kl_divergence(student[one], (teacher[one] / 3.0).softmax(1), 3.0)
        torch.testing.assert_close(found[n], expected, rtol=0, atol=1e-9)
    assert not disagreement(teacher, teacher).any()
    pair = student.requires_grad_(), teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: disagreement(s, t, 3.0), pair)


def test_disagreement_with_a_certain_teacher_has_a_finite_gradient():
    """Through probabilities it would be 0 / 0 where the softmax underflows."""
    teacher = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    disagreement(torch.zeros(1, 3), teacher).sum().backward()
    assert teacher.grad.isfinite().all()
