"""The augmentor of two gloo ranks takes the mean of their steps and has one turn for both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.tiny_models import LOGITS, make_student, preprocessed, teacher_config
from support.two_ranks import as_rank, results_of

from mmkd.mixers.hard import hard_augment

STEPS = 4
RATE = 0.5


def student_of(folder: Path, seed: int = 0) -> torch.nn.Module:
    """Return a student whose augmentor starts with values of its own seed."""
    mixer = dict(
        type='mmkd.HardAugment',
        augmentor=dict(type='mmkd.ColourAugmentor', hidden=0),
        student='head.fc',
        teacher='head.fc',
        interval=2,
        thresholds=(0.0, 1e-9),  # it learns once, and pauses for ever
        optimizer=dict(type='SGD', lr=RATE),
    )
    teacher = teacher_config('cls', folder)
    model = make_student('cls', teacher=teacher, mixer=mixer, methods=dict(m=LOGITS['cls']))
    policy = model.distiller.mixer.learner.module.policy
    with torch.no_grad():
        policy.mean.copy_(torch.tensor([0.3, -0.2]) + seed)
        policy.std.fill_(0.1 + seed)
        for net in (model, model.distiller.teachers[''].model):
            net.head.fc.weight.mul_(50)
    return model


def learnt(model: torch.nn.Module) -> torch.Tensor:
    policy = model.distiller.mixer.learner.module.policy
    return torch.cat([policy.mean, policy.std]).detach().clone()


def work(rank: int, folder: Path):
    model = student_of(folder, seed=rank)
    wrapped = MMDistributedDataParallel(
        model, broadcast_buffers=False, find_unused_parameters=False
    )
    inputs, samples = preprocessed(model, 'cls', num=4, size=32)
    part = slice(2 * rank, 2 * rank + 2)
    torch.manual_seed(0)
    seen = []
    for iteration in range(STEPS):
        MessageHub.get_current_instance().update_info('iter', iteration)
        losses = wrapped(inputs[part], samples[part], mode='loss')
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        seen.append((learnt(model), model.distiller.mixer.learning))
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    return seen, gradients


@pytest.fixture(scope='module')
def both_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ddp')
    teacher_config('cls', folder)
    return results_of(__file__, folder), folder


@pytest.mark.ddp
def test_two_ranks_take_the_mean_step(both_ranks, monkeypatch):
    ((first, own), (second, other)), folder = both_ranks
    for (a, learning_a), (b, learning_b) in zip(first, second, strict=True):
        assert torch.equal(a, b) and learning_a is learning_b is False
    assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    assert all(torch.equal(first[0][0], later) for later, _ in first[1:])  # paused
    steps = []
    for rank in (0, 1):  # each rank alone, from the values of rank 0, with its own noise
        model = student_of(folder)
        inputs, samples = preprocessed(model, 'cls', num=4, size=32)
        monkeypatch.setattr(hard_augment, 'get_rank', lambda rank=rank: rank)
        part = slice(2 * rank, 2 * rank + 2)
        torch.manual_seed(0)
        model.distiller.mixer.learn(model, inputs[part], samples[part], 0)
        steps.append(learnt(model))
    torch.testing.assert_close(first[0][0], sum(steps) / 2, rtol=1e-4, atol=1e-6)
    assert (steps[0] - steps[1]).abs().max() > 1e-5


if __name__ == '__main__':
    as_rank(work)
