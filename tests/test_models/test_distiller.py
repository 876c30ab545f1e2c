"""The distiller: skipped methods, inheritance, its place in the student, adapters."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from support.tiny_models import MIMIC, TASKS, losses_of, make_student, preprocessed, teacher_config
from torch import nn

from mmkd.models import Adapter
from mmkd.utils import ConfigError


def at(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize(
    'interval', [dict(weight=dict(value=2.0, every=2)), dict(weight=2.0, every=2)], ids=str
)
def test_a_method_without_weight_is_skipped(task, interval, tmp_path):
    """Its adapters stay in the graph for DDP; the teacher runs only if somebody reads it."""
    model = make_student(
        task,
        teacher=teacher_config(task, tmp_path),
        mixer=dict(type='mmkd.PatchMix', variant='permutation'),
        methods=dict(feature=dict(MIMIC[task], **interval)),
    )
    teacher = model.distiller.teachers['']
    runs = []
    teacher.model.backbone.register_forward_hook(lambda *_: runs.append(1))
    inputs, samples = preprocessed(model, task)
    at(0)
    losses = losses_of(model, inputs, samples)
    assert 'distill.feature.loss_mimic' in losses and len(runs) == 1
    at(1)
    seen = []
    model.backbone.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    losses = losses_of(model, inputs, samples)
    off = losses.pop('distill.feature.loss_off')
    assert float(off) == 0 and len(runs) == 1
    assert seen[0] is inputs  # nothing is mixed when nothing is distilled
    assert not any('distill' in k for k in losses)
    model.zero_grad()
    off.backward()
    for parameter in model.distiller.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_the_weight_multiplies_the_loss(tmp_path):
    values = []
    for weight in (1.0, dict(value=3.0, warmup_iters=6)):
        model = make_student(
            'cls',
            teacher=teacher_config('cls', tmp_path),
            methods=dict(feature=dict(MIMIC['cls'], weight=weight)),
        )
        at(3)
        losses = losses_of(model, *preprocessed(model, 'cls'))
        values.append(float(losses['distill.feature.loss_mimic']))
    assert values[1] == pytest.approx(2.0 * values[0], rel=1e-5)


def test_other_modes_go_straight_to_the_student(tmp_path):
    model = make_student(
        'cls', teacher=teacher_config('cls', tmp_path), methods=dict(feature=MIMIC['cls'])
    ).eval()
    reference = make_student('cls').eval()
    reference.load_state_dict(model.state_dict())
    model.distiller.step = None  # would fail
    inputs, samples = preprocessed(reference, 'cls')
    assert torch.equal(model(inputs, samples, 'tensor')[0], reference(inputs, samples, 'tensor')[0])
    predictions = [m(inputs, copy.deepcopy(samples), 'predict') for m in (model, reference)]
    for a, b in zip(*predictions):
        assert torch.equal(a.pred_score, b.pred_score)


def test_inherit_copies_equal_entries_after_initialization(tmp_path):
    config = teacher_config('cls', tmp_path, width=4)
    teacher = torch.load(config['checkpoint'])['state_dict']
    model = make_student('cls', teacher=config, inherit=('head', 'backbone.layer1'))
    alone = make_student('cls')
    for name, value in model.state_dict().items():
        if name.startswith(('head', 'backbone.layer1')):
            assert torch.equal(value, teacher[name])
        else:
            assert torch.equal(value, alone.state_dict()[name])


def test_inherit_leaves_other_shapes_as_they_are(tmp_path):
    config = teacher_config('cls', tmp_path, width=8)
    teacher = torch.load(config['checkpoint'])['state_dict']
    model = make_student('cls', teacher=config, inherit='head')
    assert torch.equal(model.head.fc.bias, teacher['head.fc.bias'])
    assert torch.equal(model.head.fc.weight, make_student('cls').head.fc.weight)
    with pytest.raises(ConfigError, match=r'model\.distill\.inherit.*backbone\.conv1'):
        make_student('cls', teacher=config, inherit='backbone.conv1')


def test_adapters_survive_init_weights(tmp_path):
    """An initialization of all convolutions of the student must not reach them."""
    model = make_student(
        'det', teacher=teacher_config('det', tmp_path), methods=dict(feature=MIMIC['det'])
    )
    before = copy.deepcopy(model.distiller.state_dict())
    assert before
    model._is_init = False
    model.init_cfg = dict(type='Constant', layer='Conv2d', val=0.5)
    model.init_weights()
    assert (model.neck.fpn_convs[0].conv.weight == 0.5).all()
    for name, value in model.distiller.state_dict().items():
        assert torch.equal(value, before[name])
    assert list(model._modules)[-1] == 'distiller'


def test_adapters_project_and_resize_only_where_they_must():
    same = Adapter(3, 3)
    assert not list(same.parameters())
    x = torch.randn(2, 3, 4, 5)
    assert same(x, (4, 5)) is x
    assert same(x, (8, 10)).shape == (2, 3, 8, 10)
    other = Adapter(3, 7)
    assert other(x, (1, 1)).shape == (2, 7, 1, 1)
    assert isinstance(other.project, nn.Conv2d) and other.project.kernel_size == (1, 1)
    assert isinstance(Adapter(3, 3, 'conv').project, nn.Conv2d)


def test_its_own_state_dict_is_complete_and_loads(tmp_path):
    config = dict(teacher=teacher_config('det', tmp_path), methods=dict(feature=MIMIC['det']))
    model = make_student('det', **config)
    state = model.distiller.state_dict()
    names = [name for name, _ in model.distiller.named_parameters()]
    assert list(state) == names and names
    other = make_student('det', seed=3, **config)
    other.distiller.load_state_dict(state)
    for name, value in other.distiller.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_plain_state_dict_loads_strictly_and_leaves_adapters_alone(tmp_path):
    config = dict(teacher=teacher_config('det', tmp_path), methods=dict(feature=MIMIC['det']))
    model = make_student('det', **config)
    adapters = copy.deepcopy(model.distiller.state_dict())
    plain = make_student('det', seed=9)
    result = model.load_state_dict(plain.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(model.backbone.conv1.weight, plain.backbone.conv1.weight)
    for name, value in model.distiller.state_dict().items():
        assert torch.equal(value, adapters[name])
    incomplete = plain.state_dict()
    incomplete.pop('backbone.conv1.weight')
    with pytest.raises(RuntimeError, match=r'Missing key.*backbone\.conv1\.weight'):
        model.load_state_dict(incomplete, strict=True)


def test_mixing_without_a_method(tmp_path):
    """A mixer alone is an augmentation; no teacher is needed."""
    model = make_student('seg', mixer=dict(type='mmkd.CutMix'))
    inputs, samples = preprocessed(model, 'seg')
    seen = []
    model.backbone.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    losses = losses_of(model, inputs, samples)
    assert not torch.equal(seen[0], inputs)
    assert not any('distill' in k for k in losses)


def test_an_exception_in_a_step_leaves_no_hooks(tmp_path):
    model = make_student(
        'cls', teacher=teacher_config('cls', tmp_path), methods=dict(feature=MIMIC['cls'])
    )
    inputs, samples = preprocessed(model, 'cls')
    broken = model.backbone.layer3.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(inputs, samples, mode='loss')
    broken.remove()
    for owner in (model, model.distiller.teachers[''].model):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in owner.modules())
    assert 'distill.feature.loss_mimic' in losses_of(model, inputs, samples)


def test_what_a_method_monitors_is_logged_and_not_summed(tmp_path):
    model = make_student(
        'cls', teacher=teacher_config('cls', tmp_path), methods=dict(feature=MIMIC['cls'])
    )
    inputs, samples = preprocessed(model, 'cls')
    before, _ = model.parse_losses(model(inputs, samples, mode='loss'))
    model.distiller.methods['feature'].monitored = dict(area=torch.tensor(7.0))
    total, log = model.parse_losses(model(inputs, samples, mode='loss'))
    assert log['distill.feature.area'] == 7.0
    assert torch.equal(total, before)


@pytest.mark.parametrize('name', ['loss_kd', 'a.b'])
def test_names_that_the_log_would_misread(name, tmp_path):
    with pytest.raises(ConfigError, match=name):
        make_student('cls', teacher=teacher_config('cls', tmp_path), methods={name: MIMIC['cls']})
