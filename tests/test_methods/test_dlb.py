"""DLB: the batch before as the target of its second half."""

from __future__ import annotations

import math

import pytest
import torch
from support.labels import class_view
from support.runs import run_config
from support.runs import train as run
from support.tiny_models import make_student
from support.views import built, random

from mmkd.methods import DLB
from mmkd.utils import ConfigError


def softmax(row, tau=1.0) -> list[float]:
    exponents = [math.exp(float(x) / tau) for x in row]
    return [e / sum(exponents) for e in exponents]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q))


@pytest.mark.parametrize('classes', [2, 5])
def test_dlb_equals_loops(classes):
    method = built(DLB('head', tau=3.0), [random(2, classes)], [])
    batches = [[4, 5], [1, 2, 4, 5], [7, 1, 2], [0, 3, 7]]
    kept = None
    for step, numbers in enumerate(batches):
        logits = random(len(numbers), classes, seed=step).requires_grad_()
        view = class_view([0] * len(numbers), numbers)
        loss = method.compute([logits], [], view)['consistency']
        if kept is None:
            assert float(loss.detach()) == 0
            assert torch.autograd.grad(loss, logits)[0].eq(0).all()  # and yet it is in the graph
            kept = logits.detach()
            continue
        new = len(numbers) - len(kept)
        expected = 0.0
        for before, now in zip(kept, logits.detach()[new:]):
            expected += 9 * kl(softmax(before, 3.0), softmax(now, 3.0)) / len(kept)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert not gradient[:new].any() and gradient[new:].any()
        kept = logits.detach()[:new]


def test_dlb_is_zero_where_nothing_changed():
    method = built(DLB('head'), [random(2, 3)], [])
    old = random(2, 3)
    method.compute([old], [], class_view([0, 1], [0, 1]))
    both = torch.cat([random(2, 3, seed=1), old])
    loss = method.compute([both], [], class_view([0] * 4, [2, 3, 0, 1]))
    assert float(loss['consistency']) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('numbers', [[0, 1], [2, 3], [2, 3, 1, 0], [0, 1, 2, 3]])
def test_dlb_notices_a_loader_that_does_not_repeat(numbers):
    method = built(DLB('head'), [random(2, 3)], [])
    method.compute([random(2, 3)], [], class_view([0, 1], [0, 1]))
    with pytest.raises(ConfigError, match='PreviousBatchSampler'):
        method.compute([random(len(numbers), 3)], [], class_view([0] * len(numbers), numbers))


def test_dlb_trains_and_resumes(shapes, tmp_path):
    """The halves agree over the border of an epoch; a resumed run begins with cross-entropy."""

    def config(**overrides):
        distill = dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc')))
        cfg = run_config('cls', shapes, tmp_path, distill, epochs=2, **overrides)
        cfg.train_dataloader.batch_size = 4
        cfg.train_dataloader.batch_sampler = dict(type='mmkd.PreviousBatchSampler')
        return cfg

    runner = run(config())
    assert runner.iter == 8  # 8 images, 2 new ones in each step
    assert list(runner.model.state_dict()) == list(make_student('cls').state_dict())
    log = runner.message_hub.get_scalar('train/distill.last.loss_consistency').data[0]
    assert log[0] == 0 and all(value > 0 for value in log[1:])
    resumed = run(config(resume=True, load_from=str(tmp_path / 'epoch_1.pth')))
    assert resumed.iter == 8


@pytest.mark.parametrize('name', ['mmkd.CSKD', 'mmkd.DLB'])
def test_mixed_images_are_refused(name):
    methods = dict(m=dict(type=name, student='head.fc'))
    with pytest.raises(
        ConfigError, match=r"^model\.distill\.mixer: method 'm' .*supports no mixer"
    ):
        make_student('cls', mixer=dict(type='mmkd.MixUp'), methods=methods)
