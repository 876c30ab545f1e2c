"""PatchMixSimulationKD is the sum of its parts."""

from __future__ import annotations

import pytest
import torch
from support.views import built, mixed_view, random

from mmkd.methods import FeatureMimic, LogitKD, PatchMixSimulationKD
from mmkd.utils import ConfigError


def test_patchmix_simulation_is_the_sum_of_its_parts():
    feature = dict(student='a', teacher='b', normalize='channel', weight=2.0)
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
