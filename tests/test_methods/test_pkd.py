"""PKD: FeatureMimic under the paper's name, with its weight."""

from __future__ import annotations

import pytest
import torch
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import PKD, FeatureMimic
from mmkd.registry import build
from mmkd.utils import ConfigError


@pytest.mark.parametrize('channels', [3, 5])
def test_equals_one_minus_the_correlation_of_the_channels(channels):
    student = [random(2, 3, 4, 5), random(2, 3, 2, 2, seed=1)]
    teacher = [random(2, channels, 4, 5, seed=2), random(2, channels, 2, 2, seed=3)]
    method = built(PKD('a', 'b'), student, teacher)
    assert len(list(method.parameters())) == (4 if channels == 5 else 0)
    expected = 0.0
    for adapter, s, t in zip(method.adapters, student, teacher):
        s = adapter(s, t.shape[-2:]).detach()
        rows = [torch.stack((s[:, k].flatten(), t[:, k].flatten())) for k in range(channels)]
        size = rows[0].shape[1]  # the sample deviation divides by one less
        level = sum(1 - float(torch.corrcoef(r)[0, 1]) for r in rows) / channels
        expected += level * (size - 1) / size
    loss = method.compute(student, teacher, plain_view())['mimic']
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)  # ε = 1e-6 beside the std


@pytest.mark.parametrize('interior_only', [0, 1])
def test_is_feature_mimic_with_the_papers_weight(interior_only):
    student, teacher, view = [random(2, 3, 8, 8)], [random(2, 3, 8, 8, seed=1)], mixed_view(2)
    ours = built(PKD('a', 'b', interior_only=interior_only), student, teacher)
    same = FeatureMimic('a', 'b', normalize='channel', interior_only=interior_only)
    assert torch.equal(
        ours.compute(student, teacher, view)['mimic'],
        built(same, student, teacher).compute(student, teacher, view)['mimic'],
    )
    assert ours.schedule.value == 6


def test_standardisation_is_not_optional():
    from mmkd.methods import Method

    config = dict(type='mmkd.PKD', student='neck', teacher='neck', normalize=False)
    with pytest.raises(ConfigError, match=r'^methods\.m.*normalize'):
        build(config, Method, 'methods.m')
