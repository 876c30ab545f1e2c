"""SideLearner: what learns beside the student, in nobody else's optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.runner import Runner
from support.runs import run_config, train
from support.tiny_models import make_student, preprocessed
from support.views import random
from torch import nn

from mmkd.methods.base import Method
from mmkd.models import SideLearner
from mmkd.registry import MODELS
from mmkd.utils import ConfigError

ADAM = dict(type='Adam', lr=0.1)


class Gain(nn.Module):
    """A vector that multiplies channels, and one that nothing uses."""

    def __init__(self, channels: int, start: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), start))
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain[:, None, None]


@MODELS.register_module()
class Stretch(Method):
    """A method with a learner that moves the student's map towards 1 by a gain."""

    def build(self, model: Any, student: Any, teacher: Any, teachers: Any) -> None:
        self.learner = SideLearner(Gain(student[0].shape[1]), ADAM, dict(gain=(0.5, 1.5)))

    def forward(self, student: Any, teacher: Any, view: Any) -> dict[str, torch.Tensor]:
        self.learner.step((self.learner(student[0].detach()) - 1).square().mean())
        with torch.no_grad():
            target = self.learner(student[0])
        return dict(stretch=(student[0] - target).square().mean())


DISTILL = dict(methods=dict(m=dict(type='Stretch', student='backbone')))


def steps(learner: SideLearner, data: torch.Tensor) -> list[torch.Tensor]:
    """Take a step for every batch; return the gains."""
    gains = []
    for x in data:
        learner.step((learner(x) - 0.3).square().mean())
        gains.append(learner.module.gain.detach().clone())
    return gains


def test_a_step_is_the_optimizers_own():
    data = random(5, 2, 3, 4, 4).float()
    twin = Gain(3)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    for x, gain in zip(data, steps(SideLearner(Gain(3), ADAM), data), strict=True):
        optimizer.zero_grad(set_to_none=False)
        twin.idle.grad = torch.zeros(2)
        (twin(x) - 0.3).square().mean().backward()
        optimizer.step()
        assert torch.equal(gain, twin.gain)


def test_nothing_else_changes():
    learner = SideLearner(Gain(3), ADAM)
    student = nn.Conv2d(3, 3, 1)
    student.weight.grad = torch.ones_like(student.weight)
    before = copy.deepcopy(student.state_dict())
    learner.step(student(learner(random(2, 3, 4, 4).float())).square().mean())
    assert torch.equal(student.weight.grad, torch.ones_like(student.weight))
    assert student.bias.grad is None
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())
    assert all(p.grad is None for p in learner.module.parameters())
    assert not torch.equal(learner.module.gain, torch.ones(3))
    assert torch.equal(learner.module.idle, torch.ones(2))  # a zero gradient


def test_bounds_hold_from_the_beginning():
    learner = SideLearner(Gain(3, start=9.0), dict(type='SGD', lr=50.0), dict(gain=(0.25, 2.0)))
    assert torch.equal(learner.module.gain, torch.full((3,), 2.0))
    for gain in steps(learner, random(6, 2, 3, 4, 4).float()):
        assert gain.min() >= 0.25 and gain.max() <= 2.0
    with pytest.raises(ValueError, match=r'gian.*nearest are: gain'):
        SideLearner(Gain(3), ADAM, dict(gian=(0, 1)))


def test_without_an_optimizer_nothing_moves():
    learner = SideLearner(Gain(3), None)
    assert all(torch.equal(g, torch.ones(3)) for g in steps(learner, random(2, 2, 3, 4, 4).float()))
    learner.load_state_dict(SideLearner(Gain(3, 0.5), ADAM).state_dict())
    assert torch.equal(learner.module.gain, torch.full((3,), 0.5))


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_gradient_that_is_not_finite_moves_nothing(value):
    learner = SideLearner(Gain(3), ADAM)
    x = torch.ones(1, 3, 2, 2)
    x[0, 1] = value
    learner.step(learner(x).sum())
    assert torch.equal(learner.module.gain, torch.ones(3))
    learner.step(learner(torch.ones(1, 3, 2, 2)).sum())
    assert (learner.module.gain < 1).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_steps_in_fp32_under_autocast(dtype):
    learner = SideLearner(nn.Conv2d(3, 2, 1), ADAM)
    before = learner.module.weight.detach().clone()
    with torch.autocast('cpu', dtype=dtype):
        out = learner(random(2, 3, 4, 4).float())
        assert out.dtype == dtype
        learner.step(out.float().square().mean())
    weight = learner.module.weight
    assert weight.dtype == torch.float32 and weight.isfinite().all()
    assert not torch.equal(weight, before)


def test_moves_with_its_owner_and_keeps_its_precision():
    owner = nn.Sequential(SideLearner(Gain(3), ADAM))
    steps(owner[0], random(1, 2, 3, 4, 4).float())
    owner.to('meta')
    state = owner[0].optimizer.state[owner[0].module.gain]
    assert owner[0].module.gain.is_meta and state['exp_avg'].is_meta
    half = nn.Sequential(SideLearner(Gain(3), ADAM)).half()
    assert half[0].module.gain.dtype == torch.float32
    assert not half.eval()[0].module.training and half.train()[0].module.training


def test_state_goes_on_exactly_and_loads_safely(tmp_path):
    data = random(6, 2, 3, 4, 4).float()
    whole = SideLearner(Gain(3), ADAM)
    expected = steps(whole, data)
    cut = SideLearner(Gain(3), ADAM)
    steps(cut, data[:3])
    torch.save(cut.state_dict(), tmp_path / 'state.pt')
    resumed = SideLearner(Gain(3, 7.0), dict(type='Adam', lr=5.0))
    resumed.load_state_dict(torch.load(tmp_path / 'state.pt', weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(steps(resumed, data[3:]), expected[3:]))


def test_bad_optimizers():
    for optimizer in (dict(type='Adamm'), dict(type='Adam', rate=1), dict(lr=1.0), 'Adam'):
        with pytest.raises(ConfigError, match=r"methods\.m\.optimizer.*dict\(type='Adam'"):
            SideLearner(Gain(3), optimizer, key='methods.m.optimizer')


def test_in_a_distilled_student():
    """In no optimizer and no file of the student, and an averaged copy does not disturb it."""
    model = make_student('cls', **DISTILL)
    plain = make_student('cls')
    learner = model.distiller.methods['m'].learner
    assert {n for n, _ in model.named_parameters()} == {n for n, _ in plain.named_parameters()}
    assert {n for n, _ in model.named_buffers()} == {n for n, _ in plain.named_buffers()}
    assert list(model.state_dict()) == list(plain.state_dict())
    inputs, samples = preprocessed(model, 'cls')
    twin = copy.deepcopy(model)
    losses = model(inputs, samples, mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert (learner.module.gain != 1).any()
    assert all(p.grad is None for p in learner.module.parameters())
    moved = learner.module.gain.detach().clone()
    model.load_state_dict(plain.state_dict(), strict=True)  # a student's file leaves it alone
    assert torch.equal(learner.module.gain, moved)
    other = twin.distiller.methods['m'].learner
    assert torch.equal(other.module.gain, torch.ones_like(moved))
    twin(inputs, samples, mode='loss')  # and steps its own parameters
    assert torch.equal(other.module.gain, moved)


def test_a_resumed_run_equals_one_that_never_stopped(shapes, tmp_path):
    def config(name):
        cfg = run_config('cls', shapes, tmp_path / name, DISTILL, epochs=3)
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform['type'] == 'RandomFlip':
                transform['prob'] = 0.0  # no OpenMMLab run restores the global generators
        return cfg

    whole = train(config('whole'))
    file = tmp_path / 'whole' / 'epoch_2.pth'
    cfg = config('cut')
    cfg.load_from, cfg.resume = str(file), True
    resumed = Runner.from_cfg(cfg)
    resumed.train()
    a, b = (run.model.distiller.methods['m'].learner for run in (whole, resumed))
    assert torch.equal(a.module.gain, b.module.gain) and (a.module.gain != 1).any()
    momenta = [run.optimizer.state[run.module.gain] for run in (a, b)]
    assert all(torch.equal(momenta[0][k], momenta[1][k]) for k in ('step', 'exp_avg'))
    assert int(momenta[1]['step']) == 12
    students = [run.model.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(v, students[1][k]) for k, v in students[0].items())
    kept = {id(p) for group in resumed.optim_wrapper.param_groups for p in group['params']}
    assert not kept & {id(p) for p in b.module.parameters()}
