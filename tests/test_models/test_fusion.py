"""Convolutions fused with their BatchNorm read the same."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import (
    teacher_config,
)
from torch import nn

from mmkd.models import Teacher
from mmkd.models.fusion import conv_bn_pairs, fuse
from mmkd.probe import probe_batch
from mmkd.taps import Tap

SLOW = dict(fuse_conv_bn=False)


def teacher_of(folder, taps, task='cls', **keys):
    """Return a probed teacher with these taps, and what they yield on a batch."""
    teacher = Teacher(**teacher_config(task, folder), **keys)
    teacher.open_taps({Tap(**tap): 'key' for tap in taps})
    inputs, samples = probe_batch(teacher.model, (64, 64))
    teacher.probe(inputs, samples)
    teacher.speed_up()
    inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    return teacher, teacher(inputs, samples)


@pytest.fixture
def said(monkeypatch):
    """Return the list of what is logged."""
    texts = []
    monkeypatch.setattr('mmkd.utils.errors.print_log', lambda text, **_: texts.append(text))
    return texts


def assert_same(expected, found, rtol):
    assert expected.keys() == found.keys() and expected
    for tap, kept in expected.items():
        assert len(kept) == len(found[tap])
        for a, b in zip(kept, found[tap]):
            assert b.dtype == torch.float32 and not b.requires_grad
            assert float((a - b).norm()) <= rtol * float(a.norm())


EVERYWHERE = [
    dict(module='backbone.conv1'),
    dict(module='backbone.bn1', source='input', clone=True),
    dict(module='backbone.layer1.0.bn1', source='output', clone=True),
    dict(module='backbone.layer2.0.conv2', source='output', clone=True),
    dict(module='backbone.layer3.1.conv1', source='input', clone=True),
    dict(module='head.fc'),
]


def test_taps_inside_a_pair_stay_right(tmp_path):
    slow, expected = teacher_of(tmp_path, EVERYWHERE, **SLOW)
    fast, found = teacher_of(tmp_path, EVERYWHERE)
    assert_same(expected, found, 1e-5)
    assert not slow.fused
    fused = dict(fast.fused)
    assert len(fused) > 10 and fused['backbone.layer1.0.conv1'] == 'backbone.layer1.0.bn1'
    assert not {'backbone.conv1', 'backbone.layer2.0.conv2'} & set(fused)
    everything, _ = teacher_of(tmp_path, [dict(module='head.fc')])
    assert len(everything.fused) == len(fused) + 2


class Odd(nn.Module):
    """Convolutions and BatchNorms that are no pairs, and one that is."""

    def __init__(self):
        super().__init__()
        self.shared, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), None
        self.second = nn.BatchNorm2d(3)
        self.norm, self.after = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.conv, self.relu, self.late = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)
        self.good, self.bn = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3, affine=False)
        self.eval()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.first(self.shared(x)) + self.second(self.shared(x))
        x = self.after(self.norm(x))
        x = self.late(self.relu(self.conv(x)))
        return self.bn(self.good(x)) + self.bn(self.good(x.flip(2)))


@torch.no_grad()
def test_only_what_is_called_as_a_pair_is_fused():
    model, x = Odd(), torch.randn(2, 3, 5, 5)
    expected = model(x)
    pairs = conv_bn_pairs(model, lambda: model(x))
    assert pairs == [('good', 'bn')]
    undo = fuse(model, pairs)
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(model.bn, nn.Identity) and model.good.bias is not None
    undo()
    assert torch.equal(model(x), expected)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_fusion_that_is_not_exact_is_undone_and_said(tmp_path, said):
    """Here something happens between the two that no hook can see."""
    tap = [dict(module='head.fc')]
    for bent in (False, True):
        teacher = Teacher(**teacher_config('cls', tmp_path))
        if bent:
            teacher.model.backbone.conv1.register_forward_hook(lambda m, a, out: out.mul_(1.5))
        teacher.open_taps({Tap(**tap[0]): 'key'})
        inputs, samples = probe_batch(teacher.model, (64, 64))
        teacher.probe(inputs, samples)
        teacher.speed_up()
        assert bool(teacher.fused) != bent
        assert any('fuse_conv_bn: folding' in text for text in said) == bent
    assert isinstance(teacher.model.backbone.bn1, nn.BatchNorm2d)
