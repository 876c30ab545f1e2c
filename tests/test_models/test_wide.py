"""The network that grows around a student."""

from __future__ import annotations

import copy

import pytest
import torch
from support.helpers import build
from support.tiny_models import make_student, model_config, preprocessed, random_model

from mmkd.functional import widen
from mmkd.models.wide import WideTwin


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
    wide = WideTwin(model, ratio)
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
    wide = WideTwin(model)
    inputs, samples = preprocessed(model, 'cls', num=3, size=32)
    optimizer = torch.optim.SGD([*model.parameters(), *wide.parameters()], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        wide(model, inputs, samples, 'loss')['loss'].backward()
        optimizer.step()
    assert all(p.any() for name, p in wide.named_parameters() if 'columns' in name)
    with torch.no_grad():
        both = [run(model, inputs, samples, 'tensor') for run in (wide, wide.narrow)]
    assert not torch.allclose(*both)


def test_statistics_of_the_student_stay_and_nothing_of_the_twin_is_registered():
    model = make_student('cls')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wide = WideTwin(model)
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
        WideTwin(build(config, 'mmpretrain'))
