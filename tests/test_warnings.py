"""Settings in which a part of a method or mixer does nothing: one warning each."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import LOGITS, losses_of, make_student, preprocessed, teacher_config
from torch import nn

from mmkd.methods.adapters import Adapter, BatchNorm
from mmkd.mixers import base


@pytest.fixture
def said(monkeypatch):
    """Return the list of warnings, which grows."""
    texts = []
    for place in ('mmkd.methods.base', 'mmkd.methods.adapters', 'mmkd.mixers.base'):
        monkeypatch.setattr(f'{place}.log_warning', texts.append)
    return texts


@pytest.mark.parametrize(('images', 'gamma', 'warnings'), [(2, 1.0, 1), (4, 1.0, 0), (2, 0.0, 0)])
def test_dist_with_few_images(images, gamma, warnings, said, tmp_path):
    method = dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', gamma=gamma)
    model = make_student('cls', teacher=teacher_config('cls', tmp_path), methods=dict(kd=method))
    for _ in range(2):
        losses_of(model, *preprocessed(model, 'cls', num=images, size=32))
    assert len(said) == warnings
    for text in said:
        assert text.startswith('model.distill.methods.kd.gamma: a batch has 2 images')


def test_batch_normalization_of_one_value(said):
    adapter = Adapter(3, 5, 'regressor').train()
    norm = adapter.project[1]
    torch.testing.assert_close(
        norm(x := torch.randn(2, 5, 3, 3)), nn.BatchNorm2d(5)(x), rtol=0, atol=0
    )
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    for _ in range(2):
        found = adapter(torch.randn(1, 3, 1, 1), (1, 1))
    assert found.isfinite().all() and found.requires_grad
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())
    assert len(said) == 1 and 'a single value in a channel' in said[0]
    x = torch.randn(1, 5, 1, 1)
    torch.testing.assert_close(norm(x), norm.eval()(x))
    assert isinstance(norm, BatchNorm) and set(before) == set(nn.BatchNorm2d(5).state_dict())


@pytest.mark.parametrize(
    ('mixer', 'warnings'),
    [
        (dict(type='mmkd.PatchMix', prob=0.0), 1),
        (dict(type='mmkd.PatchMix', prob=1e-9), 1),
        (dict(type='mmkd.PatchMix', prob=1.0), 0),
        (dict(type='mmkd.PatchSwap', prob=0.0), 0),
        (dict(type='mmkd.PatchSwap', prob=1.0), 1),
    ],
    ids=lambda value: f'{value["type"][5:]}-{value["prob"]}' if isinstance(value, dict) else None,
)
def test_a_mixer_that_never_mixes(mixer, warnings, said, tmp_path, monkeypatch):
    monkeypatch.setattr(base, 'PATIENCE', 3)
    model = make_student(
        'det',
        teacher=teacher_config('det', tmp_path),
        methods=dict(kd=dict(LOGITS['det'])),
        mixer=mixer,
    )
    inputs, samples = preprocessed(model, 'det')
    for sample in samples[1:]:  # no object has a partner
        sample.gt_instances = sample.gt_instances[:0]
    for _ in range(5):
        losses_of(model, inputs, samples)
    assert len(said) == warnings, said
    assert all(
        text.startswith('model.distill.mixer: ') and 'has mixed none' in text for text in said
    )
