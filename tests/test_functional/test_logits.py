"""Divergences between class scores against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive, naive_logits

from mmkd.functional import (
    class_rows,
    dense_binary_kl,
    disagreement,
    dkd_terms,
    kl_divergence,
    nkd_non_target_loss,
    nkd_target_loss,
    pearson_distance,
    unit_std,
)


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


# Target and non-target classes --------------------------------------------------------------------


def rows_of(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits of student and teacher (5, K), far from uniform, and targets (5,)."""
    target = torch.arange(5) * 3 % classes
    return 3 * random(5, classes, seed=seed), 3 * random(5, classes, seed=seed + 1), target


@pytest.mark.parametrize('tau', [1.0, 0.5, 4.0])
@pytest.mark.parametrize('classes', [2, 3, 11])
def test_nkd_equals_loops(classes, tau):
    student, teacher, target = rows_of(classes)
    own, rest = naive_logits.nkd(student.tolist(), teacher.tolist(), target.tolist(), tau)
    assert float(nkd_target_loss(student, teacher, target)) == pytest.approx(own, rel=1e-9)
    loss = float(nkd_non_target_loss(student, teacher, target, tau))
    assert loss == pytest.approx(rest, rel=1e-9, abs=1e-12)
    assert (loss == 0) == (classes == 2)


@pytest.mark.parametrize('tau', [1.0, 0.5, 4.0])
@pytest.mark.parametrize('classes', [2, 3, 11])
def test_dkd_equals_loops(classes, tau):
    student, teacher, target = rows_of(classes)
    tckd, nckd = naive_logits.dkd(student.tolist(), teacher.tolist(), target.tolist(), tau)
    losses = dkd_terms(student, teacher, target, tau)
    assert float(losses[0]) == pytest.approx(tckd, rel=1e-9)
    assert float(losses[1]) == pytest.approx(nckd, rel=1e-9, abs=1e-12)


def test_dkd_is_a_decomposition_of_kl():
    """Image by image, KL = TCKD + (1 - p_t,y) NCKD: it catches a wrong direction on either part."""
    student, teacher, target = rows_of(7)
    for s, t, y in zip(student, teacher, target):
        tckd, nckd = dkd_terms(s[None], t[None], y[None], 2.0)
        probs = (t[None] / 2).softmax(1)
        expected = float(kl_divergence(s[None], probs, 2.0))
        assert float(tckd + (1 - probs[0, y]) * nckd) == pytest.approx(expected, rel=1e-9)
        other_way = float(kl_divergence(t[None], (s[None] / 2).softmax(1), 2.0))
        assert abs(other_way - expected) > 1e-3


@pytest.mark.parametrize('classes', [2, 5])
def test_minima(classes):
    """DKD is 0 where student and teacher agree; NKD's non-target term is the teacher's entropy."""
    _, teacher, target = rows_of(classes)
    assert [float(v) for v in dkd_terms(teacher, teacher, target, 4.0)] == pytest.approx([0, 0])
    student = teacher.clone().requires_grad_()
    loss = nkd_non_target_loss(student, teacher, target, 2.0)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    entropy = 0.0
    for t, y in zip(teacher.tolist(), target.tolist()):
        t_hat = naive.softmax([v / 2 for v in naive_logits.others(t, y)])
        entropy -= 4 * sum(p * math.log(p) for p in t_hat) / 5
    assert float(loss.detach()) == pytest.approx(entropy, rel=1e-9, abs=1e-12)


def test_the_target_is_absent_from_the_other_classes():
    """Neither its value nor its gradient plays a part, however certain the two models are."""
    student, teacher, target = rows_of(5)
    moved = [x.scatter(1, target[:, None], 500.0) for x in (student, teacher)]
    for x in (student, moved[0]):
        x.requires_grad_()
    pairs = ((student, teacher), tuple(moved))
    nkd = [nkd_non_target_loss(s, t, target, 0.5) for s, t in pairs]
    dkd = [dkd_terms(s, t, target, 0.5)[1] for s, t in pairs]
    for terms in (nkd, dkd):
        torch.testing.assert_close(terms[1], terms[0])
        gradients = [torch.autograd.grad(v, p[0])[0] for v, p in zip(terms, pairs)]
        torch.testing.assert_close(gradients[1], gradients[0])
        assert not gradients[0].gather(1, target[:, None]).any()
        assert gradients[0].any()


@pytest.mark.parametrize('classes', [2, 4])
def test_gradients_of_target_and_others(classes):
    student, teacher, target = rows_of(classes)
    student.requires_grad_()
    for function in (
        lambda s: nkd_target_loss(s, teacher, target),
        lambda s: nkd_non_target_loss(s, teacher, target, 2.0),
        lambda s: dkd_terms(s, teacher, target, 2.0),
    ):
        assert torch.autograd.gradcheck(function, student)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_finite_in_low_precision_and_for_extreme_scores(dtype):
    student = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 1.0]], dtype=dtype)
    teacher, target = student.flip(0), torch.tensor([0, 2])
    student.requires_grad_()
    losses = [
        nkd_target_loss(student, teacher, target),
        nkd_non_target_loss(student, teacher, target, 0.5),
        *dkd_terms(student, teacher, target, 0.5),
    ]
    sum(losses).backward()
    assert all(loss.isfinite() for loss in losses) and student.grad.isfinite().all()


# Correlations -------------------------------------------------------------------------------------


@pytest.mark.parametrize('classes', [2, 3, 11])
def test_pearson_distance_equals_loops(classes):
    student, teacher = (x.softmax(1) for x in rows_of(classes)[:2])
    for s, t in ((student, teacher), (student.T, teacher.T)):
        expected = [1 - naive_logits.pearson(u, v) for u, v in zip(s.tolist(), t.tolist())]
        assert float(pearson_distance(s, t)) == pytest.approx(
            sum(expected) / len(expected), rel=1e-9
        )
    assert torch.autograd.gradcheck(
        lambda x: pearson_distance(x.softmax(1).T, teacher.T), random(5, classes).requires_grad_()
    )


def test_pearson_distance_does_not_ask_for_equal_values():
    student, teacher = random(4, 6), random(4, 6, seed=1)
    rising = 0.1 * teacher + random(4, 1, seed=2)
    assert float(pearson_distance(rising, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(pearson_distance(-teacher, teacher)) == pytest.approx(2)
    assert 0 < float(pearson_distance(student, teacher)) < 2


def test_constant_rows_do_not_blow_up_the_gradient():
    """A head that starts from zeros says the same of all classes."""
    student = torch.zeros(3, 4).requires_grad_()
    teacher = random(3, 4).float().softmax(1)
    loss = pearson_distance(student.softmax(1), teacher)
    loss.backward()
    assert float(loss.detach()) == 1 and not student.grad.any()
    half = torch.stack([teacher[0], torch.full((4,), 0.25)])
    assert float(pearson_distance(half, teacher[:2])) == pytest.approx(0.5, abs=1e-6)


# Rescaled logits ----------------------------------------------------------------------------------


@pytest.mark.parametrize('classes', [2, 3, 11])
def test_unit_std_equals_loops(classes):
    logits = rows_of(classes)[0]
    for row, rescaled in zip(logits.tolist(), unit_std(logits).tolist()):
        assert rescaled == pytest.approx(naive_logits.unit_std(row), rel=1e-9)
    assert torch.autograd.gradcheck(unit_std, logits.requires_grad_())


def test_gradients_flow_through_the_deviation():
    """The scale of the logits cannot change the loss, so the gradient is orthogonal to them.

    With a detached deviation it would not be.
    """
    student, teacher, _ = rows_of(5)
    student.requires_grad_()
    loss = kl_divergence(unit_std(student), unit_std(teacher).softmax(1))
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.any()
    torch.testing.assert_close((gradient * student).sum(1), torch.zeros(5, dtype=torch.double))
    detached = student / student.std(1, keepdim=True).detach()
    loss = kl_divergence(detached, unit_std(teacher).softmax(1))
    (other,) = torch.autograd.grad(loss, student)
    assert ((other * student).sum(1).abs() > 1e-3).any()


def test_two_classes_teach_nothing_once_rescaled():
    student = random(4, 2).requires_grad_()
    gap = unit_std(student)[:, 0] - unit_std(student)[:, 1]
    torch.testing.assert_close(gap.abs(), torch.full((4,), 2**0.5, dtype=torch.double))
    (gradient,) = torch.autograd.grad(gap.sum(), student)
    assert gradient.abs().max() < 1e-12


def test_unit_std_of_equal_logits_is_finite():
    logits = torch.zeros(2, 3).requires_grad_()
    unit_std(logits).square().sum().backward()
    assert logits.grad.isfinite().all()


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
