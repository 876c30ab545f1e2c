"""The terms of the target and of the other classes in NKD and DKD against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive, naive_logits
from support.views import random

from mmkd.functional import kl_divergence
from mmkd.methods.dkd import dkd_terms
from mmkd.methods.nkd import nkd_non_target_loss, nkd_target_loss


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
