"""GPD: the dynamic teacher contains the student, learns with it, and teaches it."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from support.helpers import build
from support.tiny_models import (
    make_student,
    model_config,
    preprocessed,
    random_model,
    teacher_config,
)
from support.views import random
from torch import nn

from mmkd.functional import kl_divergence
from mmkd.methods.gpd import DynamicTeacher, smoothed_cross_entropy, widen
from mmkd.models import distilled
from mmkd.utils import ConfigError

LOGITS = dict(type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=2.0)


def student_of(mixer=None, teacher=None, **arguments) -> nn.Module:
    method = dict(type='mmkd.GPD', student='head.fc', **arguments)
    return make_student(
        'cls',
        methods=dict(gpd=method),
        **(dict(mixer=dict(type=mixer)) if mixer else {}),
        **(dict(teacher=teacher) if teacher else {}),
    )


def plain_twin(model: nn.Module) -> nn.Module:
    """Return a plain student with the same weights."""
    twin = make_student('cls')
    twin.load_state_dict(model.state_dict(), strict=True)
    return twin


def test_the_first_step_is_that_of_two_students():
    model = student_of(kd_weight=2.0)
    twin = plain_twin(model)
    inputs, samples = preprocessed(model, 'cls', num=3)
    expected = twin(inputs, samples, mode='loss')['loss']
    logits = copy.deepcopy(twin)(inputs, mode='tensor')
    losses = model(inputs, samples, mode='loss')
    torch.testing.assert_close(losses['loss'], expected)
    torch.testing.assert_close(losses['distill.gpd.loss_wide'], expected)
    kd = 2.0 * smoothed_cross_entropy(logits, logits.softmax(1))
    torch.testing.assert_close(losses['distill.gpd.loss_kd'], kd)


def test_the_target_carries_no_gradient_and_the_wide_loss_trains_the_student():
    model = student_of()
    inputs, samples = preprocessed(model, 'cls', num=3)
    losses = model(inputs, samples, mode='loss')
    added = list(model.distiller.parameters())
    gradients = torch.autograd.grad(
        losses['distill.gpd.loss_kd'], added, retain_graph=True, allow_unused=True
    )
    assert all(g is None for g in gradients)
    own = model.head.fc.weight
    (shared,) = torch.autograd.grad(losses['distill.gpd.loss_wide'], own, retain_graph=True)
    (plain,) = torch.autograd.grad(losses['loss'], own, retain_graph=True)
    torch.testing.assert_close(shared, plain)  # one network, in the beginning
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_smoothing_equals_loops(smoothing):
    logits, target = random(3, 4), random(3, 4, seed=1).softmax(1)
    expected = 0.0
    for z, t in zip(logits.tolist(), target.tolist()):
        total = math.log(sum(math.exp(x) for x in z))
        for x, share in zip(z, t):
            expected += ((1 - smoothing) * share + smoothing / 4) * (total - x) / 3
    assert float(smoothed_cross_entropy(logits, target, smoothing)) == pytest.approx(expected)


def test_smoothing_is_a_key():
    model = student_of(smoothing=0.0)
    inputs, samples = preprocessed(model, 'cls', num=3)
    logits = plain_twin(model)(inputs, mode='tensor')
    expected = 3.0 * smoothed_cross_entropy(logits, logits.softmax(1), 0.0)
    losses = model(inputs, samples, mode='loss')
    torch.testing.assert_close(losses['distill.gpd.loss_kd'], expected)


def train(model: nn.Module, steps: int, start: int = 0, optimizer=None) -> list[float]:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for step in range(start, start + steps):
        inputs, samples = preprocessed(model, 'cls', num=4, size=32, seed=step)
        losses = model(inputs, samples, mode='loss')
        total = sum(v for k, v in losses.items() if 'loss' in k)
        seen.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return seen


def test_what_is_saved_is_the_plain_student_and_resuming_has_the_rest():
    model = student_of()
    train(model, 3)
    state, rest = copy.deepcopy(model.state_dict()), copy.deepcopy(model.distiller.state_dict())
    assert list(state) == list(make_student('cls').state_dict())
    assert rest and all('growths' in name for name in rest)
    expected = train(model, 2, start=3)
    resumed = student_of()
    resumed.load_state_dict(state, strict=True)
    without = train(copy.deepcopy(resumed), 2, start=3)
    resumed.distiller.load_state_dict(rest, strict=True)
    assert train(resumed, 2, start=3) == expected
    assert without != expected
    # Two networks that have parted: the wide one is no copy of the student any more.
    inputs, samples = preprocessed(model, 'cls', num=4, size=32)
    losses = model(inputs, samples, mode='loss')
    assert not torch.isclose(losses['loss'], losses['distill.gpd.loss_wide'])


def test_the_students_optimizer_moves_what_was_added():
    model = student_of()
    before = {k: v.clone() for k, v in model.distiller.state_dict().items()}
    train(model, 3)
    after = model.distiller.state_dict()
    assert all(not torch.equal(v, after[k]) for k, v in before.items())


def test_both_networks_learn_from_an_ordinary_teacher(tmp_path):
    static = dict(LOGITS, weight=0.5)
    model = student_of(teacher=teacher_config('cls', tmp_path), static=static)
    inputs, samples = preprocessed(model, 'cls', num=3)
    own = copy.deepcopy(plain_twin(model))(inputs, mode='tensor')
    teacher = model.distiller.teachers[''].model(inputs, mode='tensor')
    expected = 0.5 * kl_divergence(own, (teacher / 2).softmax(1), 2.0)
    losses = model(inputs, samples, mode='loss')
    for name in ('static_kd', 'wide_static_kd'):
        torch.testing.assert_close(losses[f'distill.gpd.loss_{name}'], expected)
    assert len(losses) == 5


def refused(backbone: dict, match: str) -> None:
    config = model_config('cls')
    config['backbone'] = backbone
    with torch.no_grad():
        features = build(backbone, 'mmpretrain')(torch.zeros(2, 3, 64, 64))[-1]
    config['head']['in_channels'] = features.shape[1]
    model = build(config, 'mmpretrain')
    with pytest.raises(ConfigError, match=rf'model\.backbone: GPD widens .*{match}'):
        distilled(model, methods=dict(gpd=dict(type='mmkd.GPD', student='head.fc')))


def test_networks_that_cannot_be_widened_are_refused():
    refused(dict(type='MobileNetV2', widen_factor=0.25), 'with groups')
    # Its layers are fine, but what is concatenated is not in the order that widening needs.
    arch = dict(growth_rate=4, depths=[1, 1, 1, 1], init_channels=8)
    refused(dict(type='DenseNet', arch=arch), '')


def test_widen_puts_the_weight_into_the_corner():
    weight = torch.arange(4.0).reshape(2, 2)
    wide = widen(weight, rows=torch.full((1, 3), 7.0), columns=torch.zeros(2, 1))
    assert wide.tolist() == [[0, 1, 0], [2, 3, 0], [7, 7, 7]]
    assert widen(weight).tolist() == weight.tolist()


def resnet(**backbone) -> torch.nn.Module:
    config = model_config('cls')
    config['backbone'].update(backbone)
    return random_model('cls', config)


TWO_STAGES = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))


@pytest.mark.parametrize(
    ('backbone', 'ratio'),
    [(dict(), 2), (dict(depth=50), 2), (dict(type='ResNetV1d'), 2), (TWO_STAGES, 3)],
)
def test_it_starts_as_the_student_and_shares_its_weights(backbone, ratio):
    config = model_config('cls')
    config['backbone'].update(backbone, zero_init_residual=False)
    with torch.no_grad():
        channels = build(config['backbone'], 'mmpretrain')(torch.zeros(2, 3, 32, 32))[-1].shape[1]
    config['head']['in_channels'] = channels
    model = random_model('cls', config).train()
    wide = DynamicTeacher(model, ratio)
    inputs, samples = preprocessed(model, 'cls', num=3, size=32)
    found = wide(model, inputs, samples, 'loss')['loss']
    torch.testing.assert_close(found, copy.deepcopy(model)(inputs, samples, mode='loss')['loss'])
    # Twice as wide: what is added is about ratio² - 1 times what was there.
    own = sum(p.numel() for p in model.parameters())
    added = sum(p.numel() for p in wide.parameters())
    assert 0.9 * (ratio**2 - 1) * own < added < (ratio**2 - 1) * own
    # A change of the student's weights is a change of the wide network's, and training them too.
    found.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is not None for p in wide.parameters())
    assert model.backbone.layer1[0].conv1.weight.grad.any()
    with torch.no_grad():
        model.head.fc.weight += 0.1
        found = wide(model, inputs, samples, 'loss')['loss']
        expected = copy.deepcopy(model)(inputs, samples, mode='loss')['loss']
    torch.testing.assert_close(found, expected)


def test_the_added_channels_take_part_after_a_step():
    model = resnet().train()
    wide = DynamicTeacher(model)
    inputs, samples = preprocessed(model, 'cls', num=3, size=32)
    optimizer = torch.optim.SGD([*model.parameters(), *wide.parameters()], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        wide(model, inputs, samples, 'loss')['loss'].backward()
        optimizer.step()
    assert all(p.any() for name, p in wide.named_parameters() if 'columns' in name)
    with torch.no_grad():
        both = [run(model, inputs, samples, 'tensor') for run in (wide, partial(wide, wide=False))]
    assert not torch.allclose(*both)


def test_statistics_of_the_student_stay_and_nothing_of_the_twin_is_registered():
    model = make_student('cls')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wide = DynamicTeacher(model)
    inputs, samples = preprocessed(model, 'cls')
    wide(model, inputs, samples, 'loss')
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all('growths' in name for name in wide.state_dict())
    assert not list(wide.buffers())


@pytest.mark.parametrize(
    ('backbone', 'what'),
    [
        (dict(type='MobileNetV2'), 'with groups'),
        (dict(type='ResNeXt', depth=50, groups=4, width_per_group=4), 'with groups'),
        (dict(type='VisionTransformer', arch='deit-tiny'), 'VisionTransformer'),
        (dict(type='VGG', depth=11, num_classes=4), 'one linear classifier'),
    ],
)
def test_other_networks_are_refused(backbone, what):
    config = model_config('cls')
    config['backbone'] = backbone
    with pytest.raises(ValueError, match=what):
        DynamicTeacher(build(config, 'mmpretrain'))
