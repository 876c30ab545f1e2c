"""Mistakes of authors of methods and mixers are one clear error, in the first step or before."""

from __future__ import annotations

import re

import pytest
import torch
from support.tiny_models import LOGITS, make_student, preprocessed, teacher_config
from torch import nn

from mmkd.methods import Method
from mmkd.mixers import Mixer
from mmkd.utils import ConfigError

NECK = dict(student='backbone', teacher='backbone')


class Right(Method):
    """A method without a mistake."""

    def __init__(self, student, teacher, **kwargs):
        super().__init__(student, teacher, **kwargs)

    def build(self, model, student, teacher, teachers):
        self.adapters = self.build_adapters(student, teacher)

    def forward(self, student, teacher, view):
        aligned = self.adapters[0](student[0], teacher[0].shape[-2:])
        return dict(kept=(aligned - teacher[0]).square().mean())


class Bare(Right):
    def forward(self, student, teacher, view):
        return super().forward(student, teacher, view)['kept']


class Listed(Right):
    def forward(self, student, teacher, view):
        return list(super().forward(student, teacher, view).values())


class Vector(Right):
    def forward(self, student, teacher, view):
        return dict(each=super().forward(student, teacher, view)['kept'].repeat(3))


class Number(Right):
    def forward(self, student, teacher, view):
        return dict(kept=float(super().forward(student, teacher, view)['kept'].detach()))


class Prefixed(Right):
    def forward(self, student, teacher, view):
        return dict(loss_kept=super().forward(student, teacher, view)['kept'])


class NoSuper(Method):
    def __init__(self, student, teacher):
        self.tau = 4.0


class LateSuper(Method):
    def __init__(self, student, teacher):
        self.scale = nn.Parameter(torch.ones(()))
        super().__init__(student, teacher)


class Late(Right):
    def forward(self, student, teacher, view):
        self.late = nn.Linear(1, 1)
        losses = super().forward(student, teacher, view)
        return dict(kept=losses['kept'] + self.late.weight.sum())


class NoTeacher(Right):
    def forward(self, student, teacher, view):
        return dict(kept=self.adapters[0](student[0], (2, 2)).square().mean())


class NoStudent(Right):
    def forward(self, student, teacher, view):
        return dict(kept=teacher[0].square().mean() + 0.0 * self.zero_loss())


class OneOfTwo(Method):
    """Reads two taps of the student by name and uses one."""

    def forward(self, student, teacher, view):
        return dict(kept=student['used'][0].square().mean())


def step(method, frozen, mixer=None, **config):
    model = make_student(
        'cls',
        teacher=frozen,
        mixer=mixer,
        methods=dict(mine=dict(type=method, **{**NECK, **config})),
    )
    return model(*preprocessed(model, 'cls', num=4, size=32), mode='loss')


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    return teacher_config('cls', tmp_path_factory.mktemp('teacher'))


def test_a_right_method_steps(teacher):
    assert 'distill.mine.loss_kept' in step(Right, teacher)


@pytest.mark.parametrize(
    ('method', 'key', 'message'),
    [
        (Bare, '', 'must return a dict of scalar losses by name, .* got a Tensor'),
        (Listed, '', 'must return a dict of scalar losses by name, .* got a list'),
        (Vector, '', r"loss 'each' .* must be a scalar tensor, got shape \(3,\); reduce it"),
        (Number, '', "loss 'kept' .* must be a scalar tensor, got a float"),
        (Prefixed, '', "loss 'loss_kept' .* must not start with 'loss'"),
        (NoSuper, '', r'NoSuper\.__init__\(\) must call super\(\)\.__init__\(…\) first'),
        (LateSuper, '', r'LateSuper\.__init__\(\) must call super\(\)\.__init__\(…\) first'),
        (Late, '', r'forward\(\) created parameters, .* create them in build\('),
        (NoTeacher, 'teacher', "'backbone' is tapped and never used by forward"),
        (NoStudent, 'student', "'backbone' is tapped and never used by forward"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else '',
)
def test_mistakes_of_a_method(method, key, message, teacher):
    path = re.escape('.'.join(['model.distill.methods.mine', *([key] if key else [])]))
    with pytest.raises(ConfigError, match=f'^{path}: .*{message}'):
        step(method, teacher)


def test_one_of_several_taps_is_not_used(teacher):
    taps = dict(used='head.fc', spare='backbone')
    with pytest.raises(ConfigError, match=r"^model\.distill\.methods\.mine\.student\.spare: '"):
        step(OneOfTwo, teacher, student=taps, teacher=None)


class Drawn(Mixer):
    """A mixer that draws what it is given."""

    def __init__(self, sources, weights, **kwargs):
        super().__init__(**kwargs)
        self.drawn = list(zip(sources, weights))

    def draw(self, batch, size, generator):
        return [(torch.tensor(source), torch.tensor(weight)) for source, weight in self.drawn]


class BareMixer(Mixer):
    def __init__(self):
        self.prob = 1.0


ITSELF, OTHER = [0, 1, 2, 3], [1, 2, 3, 0]


@pytest.mark.parametrize(
    ('sources', 'weights', 'message'),
    [
        ([ITSELF, OTHER], [0.5, 0.25], 'must sum to one at every pixel, got sums from 0.75 to 0.7'),
        ([OTHER, ITSELF], [0.5, 0.5], r'must be each image itself, .* got \[1, 2, 3, 0\]'),
        ([ITSELF, OTHER], [[0.5] * 4, [0.5] * 4], r'must broadcast to \(N, 1, H, W\), got shape'),
    ],
)
def test_mistakes_of_a_mixer(sources, weights, message, teacher):
    mixer = dict(type=Drawn, sources=sources, weights=weights)
    config = {k: v for k, v in LOGITS['cls'].items() if k != 'type'}
    with pytest.raises(ConfigError, match=rf'^model\.distill\.mixer: .*{message}'):
        step('mmkd.LogitKD', teacher, mixer, **config)


def test_a_right_mixer_steps(teacher):
    mixer = dict(type=Drawn, sources=[ITSELF, OTHER], weights=[0.75, 0.25])
    config = {k: v for k, v in LOGITS['cls'].items() if k != 'type'}
    assert 'distill.mine.loss_kd' in step('mmkd.LogitKD', teacher, mixer, **config)


def test_a_mixer_that_does_not_initialize_its_base(teacher):
    with pytest.raises(ConfigError, match=r'^model\.distill\.mixer: BareMixer\.__init__\(\) must'):
        step(Right, teacher, dict(type=BareMixer))
