"""Backbones of the CIFAR distillation literature: their sizes, shapes and taps."""

from __future__ import annotations

import pytest
import torch
from support.helpers import build
from torch import nn

from mmkd.models import CIFARResNet, CIFARWideResNet
from mmkd.taps import Tap, TapReader
from mmkd.utils import ConfigError

# Parameters with a linear layer of 100 classes, and in millions as published, where they are.
RESNETS = {
    '8': (83892, None),
    '14': (181108, None),
    '20': (278324, 0.28),
    '32': (472756, None),
    '44': (667188, None),
    '56': (861620, 0.86),
    '110': (1736564, None),
    '8x4': (1233540, 1.23),
    '32x4': (7433860, 7.43),
}
WIDE_RESNETS = {'16-2': (703284, 0.70), '40-1': (569780, None), '40-2': (2255156, 2.26)}
BACKBONES = [
    *((CIFARResNet, depth, *sizes) for depth, sizes in RESNETS.items()),
    *((CIFARWideResNet, depth, *sizes) for depth, sizes in WIDE_RESNETS.items()),
]


@pytest.mark.parametrize(('kind', 'depth', 'exact', 'published'), BACKBONES)
def test_size_and_shapes(kind, depth, exact, published):
    widening = int(depth[-1]) if '-' in depth else 4 if 'x4' in depth else 1
    widths = [16 * widening, 32 * widening, 64 * widening]
    backbone = kind(depth, out_indices=(0, 1, 2)).eval()
    count = sum(p.numel() for p in backbone.parameters()) + 100 * widths[2] + 100
    assert count == exact
    assert published is None or round(count / 1e6, 2) == published
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 32, 32))
    shapes = [(2, width, 32 // 2**i, 32 // 2**i) for i, width in enumerate(widths)]
    assert [tuple(m.shape) for m in maps] == shapes


def count_by_hand(depth: int, stem: int, widths: list[int]) -> int:
    """Return the parameters of a ResNet with 100 classes: convolutions, norms, shortcuts, head."""
    total = 3 * 9 * stem + 2 * stem
    before = stem
    for width in widths:
        for _ in range((depth - 2) // 6):
            total += 9 * before * width + 9 * width * width + 4 * width
            total += (before * width + 2 * width) if before != width else 0
            before = width
    return total + 100 * before + 100


@pytest.mark.parametrize('depth', RESNETS)
def test_sizes_by_hand(depth):
    layers, wide = int(depth.partition('x')[0]), 'x' in depth
    widths = [64, 128, 256] if wide else [16, 32, 64]
    assert RESNETS[depth][0] == count_by_hand(layers, 32 if wide else 16, widths)


def test_outputs_are_behind_the_activation():
    """All stages of a ResNet; the last of a Wide ResNet, whose other stages end in a sum."""
    images = torch.randn(2, 3, 32, 32)
    assert all((m >= 0).all() for m in CIFARResNet(8, out_indices=(0, 1, 2))(images))
    first, second, third = CIFARWideResNet('16-2', out_indices=(0, 1, 2))(images)
    assert first.min() < 0 and second.min() < 0 and third.min() == 0


def test_initialization():
    backbone = CIFARResNet('20')
    backbone.init_weights()
    conv = backbone.layer3[1].conv1.weight  # 64 x 64 x 3 x 3
    assert conv.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)


def classifier(kind: str, depth: str, channels: int) -> nn.Module:
    head = dict(type='LinearClsHead', num_classes=5, in_channels=channels, init_cfg=None)
    return build(
        dict(
            type='ImageClassifier',
            backbone=dict(type=kind, depth=depth),
            neck=dict(type='GlobalAveragePooling'),
            head=head,
        ),
        'mmpretrain',
    )


@pytest.mark.parametrize(
    ('kind', 'depth', 'channels', 'before'),
    [
        ('mmkd.CIFARResNet', '8', 64, dict(module='backbone.layer3.0.relu2', source='input')),
        ('mmkd.CIFARWideResNet', '16-2', 128, 'backbone.norm1'),
    ],
)
def test_taps_before_and_behind_the_activation(kind, depth, channels, before):
    """No activation overwrites its input."""
    pytest.importorskip('mmpretrain')
    model = classifier(kind, depth, channels)
    taps = [*Tap.parse(before, None, 'before'), *Tap.parse('backbone', None, 'behind')]
    reader = TapReader(model, dict.fromkeys(taps, 'tap'))
    _, read = reader.read(model, torch.randn(2, 3, 32, 32), None)
    first, second = (read[tap][0] for tap in taps)
    assert first.min() < 0
    assert torch.equal(first.relu(), second)


def test_trains():
    pytest.importorskip('mmpretrain')
    from mmpretrain.structures import DataSample

    model = classifier('mmkd.CIFARResNet', '8', 64)
    samples = [DataSample().set_gt_label(i) for i in (0, 3)]
    model(torch.randn(2, 3, 32, 32), samples, mode='loss')['loss'].backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('kind', 'arguments', 'message'),
    [
        (CIFARResNet, dict(depth=18), "depth: must be one of '8', '14', .*, got '18'"),
        (CIFARWideResNet, dict(depth='28-10'), "depth: must be one of '16-2', .*, got '28-10'"),
        (CIFARResNet, dict(depth=8, out_indices=(3,)), 'out_indices: must be some of 0, 1, 2'),
        (CIFARResNet, dict(depth=8, out_indices=(1, 0)), 'out_indices: must be some of 0, 1, 2'),
        (CIFARResNet, dict(depth=8, out_indices=()), 'out_indices: must be some of 0, 1, 2'),
    ],
)
def test_errors(kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        kind(**arguments)
