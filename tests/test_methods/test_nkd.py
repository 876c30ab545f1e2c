"""NKD against loops over images and classes."""

from __future__ import annotations

import pytest
import torch
from support import naive_logits
from support.labels import class_view
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import NKD
from mmkd.mixers import MixUp, PatchMix
from mmkd.utils import ConfigError

TAPS = dict(student='head.fc', teacher='head.fc')


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('classes', [2, 3, 7])
def test_equals_loops(classes, soft):
    """Of a soft label the largest entry is the target, wherever it stands."""
    student, teacher = 3 * random(4, classes), 3 * random(4, classes, seed=1)
    targets = [0, 1, classes - 1, 1]
    labels = 0.7 * torch.eye(classes).double()[targets]
    labels[:, 0] += 0.3  # the other one is in front of the target
    method = built(NKD(**TAPS, tau=3.0, gamma=3.5), [student], [teacher])
    losses = method.compute([student], [teacher], class_view(labels if soft else targets))
    own, rest = naive_logits.nkd(student.tolist(), teacher.tolist(), targets, 3.0)
    assert float(losses['target']) == pytest.approx(own, rel=1e-9)
    assert float(losses['non_target']) == pytest.approx(3.5 * rest, rel=1e-9, abs=1e-12)


def test_the_target_term_has_temperature_one():
    student, teacher = random(3, 4), random(3, 4, seed=1)
    view = class_view([0, 1, 2])
    terms = [
        built(NKD(**TAPS, tau=tau), [student], [teacher]).compute([student], [teacher], view)
        for tau in (1.0, 4.0)
    ]
    assert float(terms[0]['target']) == float(terms[1]['target'])
    assert float(terms[0]['non_target']) != float(terms[1]['non_target'])


@pytest.mark.parametrize('mixer', [PatchMix(grid=(4, 4), num_images=2), MixUp()])
def test_mixed_images(mixer):
    """A teacher that saw the clean images: its distributions are mixed, at each temperature."""
    view = mixed_view(4, mixer)
    student, teacher = random(4, 4), 3 * random(4, 4, seed=1)
    losses = built(NKD(**TAPS, tau=2.0), [student], [teacher]).compute([student], [teacher], view)
    targets = [int(sample.gt_score.argmax()) for sample in view.data_samples]
    terms = []
    for tau in (1.0, 2.0):
        logits = teacher
        if not mixer.teacher_on_mixed:
            logits = tau * view.mixture((teacher / tau).softmax(1)).log()
        terms.append(naive_logits.nkd(student.tolist(), logits.tolist(), targets, tau))
    assert float(losses['target']) == pytest.approx(terms[0][0], rel=1e-6)
    assert float(losses['non_target']) == pytest.approx(1.5 * terms[1][1], rel=1e-6)


def test_images_without_a_label_are_refused():
    rows = [random(2, 3)]
    with pytest.raises(ConfigError, match='one class label each'):
        built(NKD(**TAPS), rows, rows).compute(rows, rows, plain_view())
