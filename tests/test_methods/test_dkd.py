"""DKD against loops over images and classes."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub
from support import naive_logits
from support.labels import class_view
from support.tiny_models import make_student, preprocessed, teacher_config
from support.views import built, mixed_view, random

from mmkd.methods import DKD, Schedule
from mmkd.mixers import PatchMix

TAPS = dict(student='head.fc', teacher='head.fc')


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('classes', [2, 3, 7])
def test_equals_loops(classes, soft):
    student, teacher = 3 * random(4, classes), 3 * random(4, classes, seed=1)
    targets = [0, 1, classes - 1, 1]
    labels = 0.7 * torch.eye(classes).double()[targets]
    labels[:, 0] += 0.3  # the other one is in front of the target
    method = built(DKD(**TAPS, tau=4.0, alpha=0.5, beta=2.0), [student], [teacher])
    losses = method.compute([student], [teacher], class_view(labels if soft else targets))
    tckd, nckd = naive_logits.dkd(student.tolist(), teacher.tolist(), targets, 4.0)
    assert float(losses['target']) == pytest.approx(0.5 * tckd, rel=1e-9)
    assert float(losses['non_target']) == pytest.approx(2.0 * nckd, rel=1e-9, abs=1e-12)


def test_mixed_images():
    """A teacher that saw the clean images: its distributions are mixed by area."""
    view = mixed_view(4, PatchMix(grid=(4, 4), num_images=2))
    student, teacher = random(4, 4), 3 * random(4, 4, seed=1)
    losses = built(DKD(**TAPS), [student], [teacher]).compute([student], [teacher], view)
    logits = 4 * view.mixture((teacher / 4).softmax(1)).log()
    targets = [int(sample.gt_score.argmax()) for sample in view.data_samples]
    tckd, nckd = naive_logits.dkd(student.tolist(), logits.tolist(), targets, 4.0)
    assert float(losses['target']) == pytest.approx(tckd, rel=1e-6)
    assert float(losses['non_target']) == pytest.approx(8 * nckd, rel=1e-6)


def test_warm_up():
    """min(e / 20, 1) at the end of epoch e, here of 7 iterations."""
    schedule = Schedule.parse(dict(value=1.0, warmup_iters=20 * 7))
    for epoch in range(1, 31):
        assert schedule.at(7 * epoch - 1) == pytest.approx(min(epoch / 20, 1))
        assert schedule.at(7 * epoch) >= min(epoch / 20, 1)


def test_the_warm_up_scales_both_terms(tmp_path):
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path),
        methods=dict(m=dict(type='mmkd.DKD', weight=dict(value=1.0, warmup_iters=10), **TAPS)),
    ).eval()
    inputs, samples = preprocessed(model, 'cls')
    seen = []
    for iteration in (0, 9, 100):
        MessageHub.get_current_instance().update_info('iter', iteration)
        losses = model(inputs, samples, mode='loss')
        seen.append(
            [float(losses[f'distill.m.loss_{k}'].detach()) for k in ('target', 'non_target')]
        )
    assert seen[1] == seen[2] and min(seen[1]) > 0
    assert seen[0] == pytest.approx([v / 10 for v in seen[1]], rel=1e-5)
