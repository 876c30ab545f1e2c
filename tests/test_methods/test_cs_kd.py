"""CS-KD: partners of the same class."""

from __future__ import annotations

import math

import pytest
import torch
from support.labels import class_view
from support.runs import run_config
from support.runs import train as run
from support.tiny_models import make_student
from support.views import built, random

from mmkd.methods import CSKD
from mmkd.utils import ConfigError


def softmax(row, tau=1.0) -> list[float]:
    exponents = [math.exp(float(x) / tau) for x in row]
    return [e / sum(exponents) for e in exponents]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q))


@pytest.mark.parametrize('classes', [2, 5])
def test_cs_kd_equals_loops(classes):
    logits = random(6, classes).requires_grad_()
    method = built(CSKD('head'), [logits], [])
    loss = method.compute([logits], [], class_view([0, 1, 1, 0, 1, 1]))['class_wise']
    expected = 0.0
    for own, partner in zip(logits.detach()[:3], logits.detach()[3:]):
        expected += 16 * kl(softmax(partner, 4.0), softmax(own, 4.0)) / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:3].any() and not gradient[3:].any()
    same = torch.cat([logits.detach()[:3]] * 2)
    assert float(method.compute([same], [], class_view([0] * 6))['class_wise']) == pytest.approx(
        0, abs=1e-12
    )


@pytest.mark.parametrize('labels', [[0, 1, 0], [0, 1, 1, 0]])
def test_cs_kd_notices_a_loader_without_pairs(labels):
    method = built(CSKD('head'), [random(2, 3)], [])
    with pytest.raises(ConfigError, match='SameClassPairBatchSampler'):
        method.compute([random(len(labels), 3)], [], class_view(labels))


def test_cs_kd_trains(shapes, tmp_path):
    distill = dict(methods=dict(pairs=dict(type='mmkd.CSKD', student='head.fc')))
    cfg = run_config('cls', shapes, tmp_path, distill, epochs=1)
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.batch_sampler = dict(type='mmkd.SameClassPairBatchSampler')
    runner = run(cfg)
    assert list(runner.model.state_dict()) == list(make_student('cls').state_dict())
    log = runner.message_hub.get_scalar('train/distill.pairs.loss_class_wise').data[0]
    assert len(log) and all(value >= 0 for value in log) and any(value > 0 for value in log)
