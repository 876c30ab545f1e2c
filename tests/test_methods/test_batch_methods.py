"""DLB, CS-KD and Tf-KD against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support.labels import class_view
from support.runs import run_config
from support.runs import train as run
from support.tiny_models import make_student
from support.views import built, random

from mmkd.methods import CSKD, DLB, TeacherFreeKD
from mmkd.utils import ConfigError


def softmax(row, tau=1.0) -> list[float]:
    exponents = [math.exp(float(x) / tau) for x in row]
    return [e / sum(exponents) for e in exponents]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q))


# DLB ----------------------------------------------------------------------------------------------


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


# CS-KD --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize('name', ['mmkd.CSKD', 'mmkd.DLB'])
def test_mixed_images_are_refused(name):
    methods = dict(m=dict(type=name, student='head.fc'))
    with pytest.raises(
        ConfigError, match=r"^model\.distill\.mixer: method 'm' .*supports no mixer"
    ):
        make_student('cls', mixer=dict(type='mmkd.MixUp'), methods=methods)


# Tf-KD --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('classes', [2, 5])
@pytest.mark.parametrize('soft', [False, True])
def test_tf_kd_equals_loops(classes, soft):
    logits = random(3, classes).requires_grad_()
    labels = (
        random(3, classes, seed=1).softmax(1) if soft else torch.eye(classes).double()[[1, 0, 1]]
    )
    method = built(TeacherFreeKD('head', alpha=0.3, tau=20.0, correct_prob=0.9), [logits], [])
    loss = method.compute([logits], [], class_view(labels if soft else labels.argmax(1)))['tf']
    expected = 0.0
    for row, label in zip(logits.detach(), labels):
        probs = softmax(row)
        designed = [
            sum(float(label[y]) * (0.9 if k == y else 0.1 / (classes - 1)) for y in range(classes))
            for k in range(classes)
        ]
        own = -sum(float(v) * math.log(p) for v, p in zip(label, probs))
        expected += 0.3 * (kl(softmax(designed, 20.0), probs) - own) / 3
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


# All ----------------------------------------------------------------------------------------------
