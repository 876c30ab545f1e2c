"""PatchMixSimulationKD, and whole steps of all methods under all mixers."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import DefaultScope
from support.tiny_models import LOGITS, MIMIC, TASKS, make_student, preprocessed, teacher_config
from support.views import built, mixed_view, random

from mmkd.methods import FeatureMimic, LogitKD, PatchMixSimulationKD
from mmkd.utils import ConfigError


def test_patchmix_simulation_is_the_sum_of_its_parts():
    feature = dict(student='a', teacher='b', normalize=True, weight=2.0)
    logits = dict(student='c', teacher='d', tau=3.0, weight=0.25)
    student = dict(feature=[random(2, 3, 8, 8)], logits=[random(2, 4)])
    teacher = dict(feature=[random(2, 3, 8, 8, seed=1)], logits=[random(2, 4, seed=1)])
    whole = built(PatchMixSimulationKD(feature, logits), student, teacher)
    view = mixed_view(2)
    losses = whole.compute(student, teacher, view)
    mimic = built(FeatureMimic(**feature), student['feature'], teacher['feature'])
    kd = built(LogitKD(**logits), student['logits'], teacher['logits'])
    expected = dict(
        feature_mimic=2.0 * mimic.compute(student['feature'], teacher['feature'], view)['mimic'],
        logits_kd=0.25 * kd.compute(student['logits'], teacher['logits'], view)['kd'],
    )
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_schedules_of_parts_are_refused_instead_of_ignored():
    part = dict(student='a', teacher='b', weight=dict(value=1.0, warmup_iters=10))
    with pytest.raises(ConfigError, match=r'feature\.weight'):
        PatchMixSimulationKD(feature=part)
    part = dict(student='a', teacher='b', warmup_iters=10)
    with pytest.raises(ConfigError, match=r'logits\.weight'):
        PatchMixSimulationKD(logits=part)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_finite_under_autocast(task, dtype, tmp_path):
    methods = dict(
        feature=dict(MIMIC[task], normalize=True), plain=MIMIC[task], logits=LOGITS[task]
    )
    model = make_student(
        task,
        teacher=teacher_config(task, tmp_path),
        mixer=dict(type='mmkd.PatchMix', variant='permutation'),
        methods=methods,
    )
    inputs, samples = preprocessed(model, task)
    with torch.autocast('cpu', dtype=dtype):
        losses = model(inputs, samples, mode='loss')
    kd = {k: v for k, v in losses.items() if k.startswith('distill.')}
    assert len(kd) == 3
    for value in kd.values():
        assert value.dtype == torch.float32 and value.isfinite() and value > 0
    sum(kd.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('mixer', ['mmkd.PatchMix', 'mmkd.MixUp', 'mmkd.CutMix'])
@pytest.mark.parametrize('teacher_on_mixed', [False, True])
def test_every_mixer_with_every_method(task, mixer, teacher_on_mixed, tmp_path):
    """And no gradient reaches the teacher, while the student and the adapters get some."""
    model = make_student(
        task,
        teacher=teacher_config(task, tmp_path),
        mixer=dict(type=mixer, teacher_on_mixed=teacher_on_mixed),
        methods=dict(
            whole=dict(
                type='mmkd.PatchMixSimulationKD',
                feature={k: v for k, v in MIMIC[task].items() if k != 'type'},
                logits={k: v for k, v in LOGITS[task].items() if k != 'type'},
            )
        ),
    )
    inputs, samples = preprocessed(model, task, num=3)
    with DefaultScope.overwrite_default_scope('mmengine'):
        losses = model(inputs, samples, mode='loss')
    kd = sum(v for k, v in losses.items() if k.startswith('distill.'))
    kd.backward()
    teacher = model.distiller.teachers[''].model
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(p.grad.any() for p in model.distiller.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
