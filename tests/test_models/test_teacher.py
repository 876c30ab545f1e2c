"""The teacher: frozen, out of sight, and no further than its deepest tap."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from support.helpers import build
from support.tiny_models import (
    LOGITS,
    MIMIC,
    TASKS,
    losses_of,
    make_student,
    model_config,
    preprocessed,
    random_model,
    teacher_config,
    weights_hash,
)
from torch import nn

from mmkd.models import Teacher, plain
from mmkd.utils import ConfigError
from mmkd.utils.loading import hash_of, without_pretrained


def distill(task, folder, **kwargs):
    return dict(
        teacher=teacher_config(task, folder, **kwargs),
        methods=dict(feature=MIMIC[task], logits=LOGITS[task]),
    )


def step(model, task, optimizer=None):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    losses = losses_of(model, *preprocessed(model, task))
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    optimizer.step()
    optimizer.zero_grad()
    return losses


@pytest.mark.parametrize('task', TASKS)
def test_weights_never_change(task, tmp_path):
    """Nor do BatchNorm statistics, whatever is done to the student's modes."""
    config = distill(task, tmp_path)
    model = make_student(task, **config)
    teacher = model.distiller.teachers[''].model
    before = weights_hash(teacher)
    student_before = weights_hash(model)
    for mode in (True, False, True):
        model.train(mode)
        step(model, task)
    assert weights_hash(teacher) == before == weights_hash(teacher.eval())
    assert weights_hash(model) != student_before
    as_loaded = Teacher(**config['teacher'])
    assert hash_of(as_loaded.model) == as_loaded.hash == model.distiller.teachers[''].hash


@pytest.mark.parametrize('task', TASKS)
def test_out_of_sight(task, tmp_path):
    model = make_student(task, **distill(task, tmp_path))
    teacher = model.distiller.teachers[''].model
    own = {id(p) for p in (*teacher.parameters(), *teacher.buffers())}
    assert own
    assert not own & {id(p) for p in (*model.parameters(), *model.buffers())}
    assert not {id(m) for m in teacher.modules()} & {id(m) for m in model.modules()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert not own & {id(p) for group in optimizer.param_groups for p in group['params']}
    assert list(model.state_dict()) == list(make_student(task).state_dict())
    assert all('teacher' not in name for name, _ in model.named_modules())
    assert all('distiller' not in name for name in model.state_dict())
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize('task', TASKS)
def test_eval_mode_and_no_dropout(task, tmp_path):
    """Also when somebody holds a reference and has called train() on the teacher."""
    model = make_student(task, **distill(task, tmp_path))
    teacher = model.distiller.teachers['']
    teacher.model.train()
    modes = []
    for module in teacher.model.modules():
        module.register_forward_hook(lambda m, *_: modes.append(m.training))
    inputs, samples = preprocessed(model, task)
    model.train()
    first = teacher(inputs, samples)
    second = teacher(inputs, samples)
    assert modes and not any(modes)
    for tap, kept in first.items():
        for a, b in zip(kept, second[tap]):
            assert torch.equal(a, b) and not a.requires_grad
    if task == 'seg':
        assert any(isinstance(m, nn.Dropout2d) for m in teacher.model.modules())


@pytest.mark.parametrize('task', TASKS)
def test_stops_behind_its_deepest_tap(task, tmp_path):
    model = make_student(
        task,
        teacher=teacher_config(task, tmp_path),
        methods=dict(
            feature=dict(type='mmkd.FeatureMimic', student='backbone', teacher='backbone')
        ),
    )
    teacher = model.distiller.teachers['']
    calls = {}
    for name, module in teacher.model.named_modules():
        calls[name] = 0

        def count(*_, name=name):
            calls[name] += 1

        module.register_forward_pre_hook(count)
    step(model, task)
    assert calls['backbone'] == 1
    behind = dict(det='bbox_head', seg='decode_head', cls='head')[task]
    assert not any(n for name, n in calls.items() if name.split('.')[0] in (behind, 'neck'))
    for module in (model, teacher.model):
        for child in module.modules():
            assert not child._forward_hooks
            if module is model:
                assert not child._forward_pre_hooks


def test_copies_share_it(tmp_path):
    model = make_student('det', **distill('det', tmp_path))
    twin = copy.deepcopy(model)
    assert twin.distiller.teachers[''] is model.distiller.teachers['']
    assert type(twin) is type(model)
    step(twin, 'det')
    average = ExponentialMovingAverage(model, momentum=0.5)
    assert average.module.distiller.teachers[''] is model.distiller.teachers['']
    before = weights_hash(model.distiller.teachers[''].model)
    for _ in range(3):
        step(model, 'det')
        average.update_parameters(model)
    assert weights_hash(model.distiller.teachers[''].model) == before
    assert not any('distiller' in name for name in average.state_dict())
    plain_average = ExponentialMovingAverage(make_student('det'))
    assert list(average.state_dict()) == list(plain_average.state_dict())
    average.load_state_dict(plain_average.state_dict(), strict=True)


def test_moves_with_the_student_and_keeps_its_precision(tmp_path):
    model = make_student('cls', **distill('cls', tmp_path))
    teacher = model.distiller.teachers[''].model
    assert model.double() is model
    assert next(model.parameters()).dtype == torch.double
    assert next(teacher.parameters()).dtype == torch.float
    model.float()
    model.to('meta')  # the only other device of every machine
    assert next(teacher.parameters()).device.type == 'meta'


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
@pytest.mark.parametrize('task', TASKS)
def test_precision_of_the_teacher_alone(task, precision, tmp_path):
    exact = distill(task, tmp_path)
    rough = copy.deepcopy(exact)
    rough['teacher']['precision'] = precision
    models = [make_student(task, **config) for config in (exact, rough)]
    inputs, samples = preprocessed(models[0], task)
    expected, got = (m.distiller.teachers[''](inputs, samples) for m in models)
    for tap, kept in expected.items():
        for a, b in zip(kept, got[tap]):
            assert b.dtype == torch.float32
            assert not torch.equal(a, b)
            assert (a - b).norm() < 0.05 * a.norm()
    assert next(models[1].parameters()).dtype == torch.float32
    step(models[1], task)


@pytest.mark.parametrize('faster', ['fuse_conv_bn', 'channels_last'])
def test_faster_forms_give_the_same_up_to_rounding(faster, tmp_path):
    exact = distill('cls', tmp_path)
    other = copy.deepcopy(exact)
    other['teacher'][faster] = True
    models = [make_student('cls', **config) for config in (exact, other)]
    inputs, samples = preprocessed(models[0], 'cls')
    expected, got = (m.distiller.teachers[''](inputs, samples) for m in models)
    for tap, kept in expected.items():
        for a, b in zip(kept, got[tap]):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            if faster == 'channels_last' and a.ndim == 4:
                assert b.is_contiguous(memory_format=torch.channels_last)


def test_several_teachers(tmp_path):
    config = dict(
        teacher=dict(
            big=teacher_config('cls', tmp_path, width=8),
            small=teacher_config('cls', tmp_path, width=4, seed=2),
        ),
        methods=dict(
            a=dict(LOGITS['cls'], teacher='big:head.fc'),
            b=dict(LOGITS['cls'], teacher='small:head.fc', weight=0.0),
        ),
    )
    model = make_student('cls', **config)
    runs = []
    for name, teacher in model.distiller.teachers.items():
        teacher.model.backbone.register_forward_hook(lambda *_, name=name: runs.append(name))
    losses = step(model, 'cls')
    assert runs == ['big']  # the other's only method has no weight
    assert 'distill.a.loss_kd' in losses and 'distill.b.loss_kd' not in losses


def test_the_load_report_counts(tmp_path):
    """Averaged copies and parts that the model lacks are reported and harmless."""
    config = teacher_config('cls', tmp_path)
    content = torch.load(config['checkpoint'])
    state = dict(content['state_dict'])
    entries = len(state)
    state['ema_backbone_conv1_weight'] = torch.zeros(1)
    state['auxiliary_head.fc.weight'] = torch.zeros(1)
    torch.save(dict(state_dict={f'module.{k}': v for k, v in state.items()}), config['checkpoint'])
    teacher = Teacher(**config)
    assert teacher.load_report == dict(matched=entries, missing=0, unexpected=2)
    for name, value in content['state_dict'].items():
        assert torch.equal(teacher.model.state_dict()[name], value)


def test_building_leaves_the_students_random_numbers_alone(tmp_path):
    distilled = make_student('seg', seed=5, **distill('seg', tmp_path))
    after = torch.rand(3)
    alone = make_student('seg', seed=5)
    assert torch.equal(torch.rand(3), after)
    for (name, a), b in zip(alone.state_dict().items(), distilled.state_dict().values()):
        assert torch.equal(a, b), name


def test_plain_undoes_it(tmp_path):
    model = make_student('cls', **distill('cls', tmp_path))
    names = list(model.state_dict())
    assert type(model).__name__ == 'DistilledImageClassifier'
    assert plain(model) is model
    reference = make_student('cls')
    assert type(model) is type(reference)
    assert list(model.state_dict()) == names
    assert list(model._modules) == list(reference._modules)
    assert not any(k.startswith('distill') for k in step(model, 'cls'))


def test_a_distilled_student_can_teach(tmp_path):
    """Its config names mmkd.Distilled; its checkpoint is a plain one."""
    config = teacher_config('cls', tmp_path)
    model = config['config']['model']
    model.update(type='mmkd.Distilled', student=model['type'], distill=dict(teacher=None))
    teacher = Teacher(**config)
    assert type(teacher.model).__name__ == 'ImageClassifier'


def test_a_module_that_a_checkpoint_holds_under_two_names(tmp_path):
    """DDQ shares modules of its head with its decoder when it runs, and saves them twice."""
    model = random_model('cls', model_config('cls'))
    path = str(tmp_path / 'shared.pth')
    model.backbone.again = model.backbone.conv1
    torch.save(dict(state_dict=model.state_dict()), path)
    config = dict(model=model_config('cls'), default_scope='mmpretrain')
    assert Teacher(config, path).load_report['unexpected'] == 1
    model.backbone.again = torch.nn.Conv2d(3, 4, 3, bias=False)
    torch.save(dict(state_dict=model.state_dict()), path)
    with pytest.raises(ConfigError, match='no place in it'):
        Teacher(config, path)


def test_a_model_that_drops_entries_as_they_are_loaded(tmp_path):
    """SwinV2 computes constants anew, and torch takes them for missing."""
    backbone = dict(
        type='SwinTransformerV2',
        arch=dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, extra_norm_every_n_blocks=0),
        img_size=64,
        window_size=2,
    )
    model = dict(type='ImageClassifier', backbone=backbone)
    built = build(model, 'mmpretrain')
    torch.save(built.state_dict(), tmp_path / 'swin.pth')
    config = dict(model=model, default_scope='mmpretrain')
    teacher = Teacher(config, str(tmp_path / 'swin.pth'))
    assert teacher.load_report['matched'] == len(built.state_dict())
    assert weights_hash(teacher.model) == weights_hash(built)


def test_weights_that_would_be_downloaded_are_left_out():
    """PVT names a checkpoint without a type."""
    for init in dict(type='Pretrained', checkpoint='https://a'), dict(checkpoint='https://a'):
        model = dict(backbone=dict(type='PVT', init_cfg=init, pretrained='https://b'))
        assert without_pretrained(model)['backbone'] == dict(
            type='PVT', init_cfg=None, pretrained=None
        )
    kept = dict(init_cfg=dict(type='Normal', std=0.01))
    assert without_pretrained([kept]) == [kept]
