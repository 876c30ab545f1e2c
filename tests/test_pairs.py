"""Pairs of OpenMMLab models that mmkd does not ship, as a user writes them, made small.

Nothing but the taps is configured: neither ``probe_size`` nor adapters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from support.helpers import ROOT, TASKS, find, make_batch, read_config
from torch import nn

from mmkd.utils import ConfigError
from mmkd.utils.loading import build_plain


def mimic(student: Any, teacher: Any = None, **kwargs: Any) -> dict[str, Any]:
    """Return a method that compares maps."""
    return dict(type='mmkd.FeatureMimic', student=student, teacher=teacher or student, **kwargs)


def logits(student: str, teacher: str = 'head.fc', kind: str = 'LogitKD', **kwargs: Any) -> Any:
    """Return a method that compares logits."""
    return dict(type=f'mmkd.{kind}', student=student, teacher=teacher, **kwargs)


# Overrides that make models small: depth more than width, so that no argument has to follow.
R18 = {'backbone.depth': 18}
R18_C4 = {**R18, 'neck.in_channels': [64, 128, 256, 512]}
R18_C3 = {**R18, 'neck.in_channels': [128, 256, 512]}
SWIN = {'backbone.depths': [1, 1, 1, 1]}
MIT = {'backbone.num_layers': [1, 1, 1, 1], 'data_preprocessor.size': (128, 128)}
PSP = {'data_preprocessor.size': (128, 128)}
DINO = {'encoder.num_layers': 1, 'decoder.num_layers': 1}
MASK2FORMER = {
    'decode_head.pixel_decoder.encoder.num_layers': 1,
    'decode_head.transformer_decoder.num_layers': 1,
    'decode_head.num_queries': 10,
    'decode_head.train_cfg.num_points': 64,
    'data_preprocessor.size': (128, 128),
}
CONVNEXT = {'backbone.arch': dict(depths=[1, 1, 1, 1], channels=[96, 192, 384, 768])}
VIT_T = dict(embed_dims=192, num_layers=2, num_heads=3, feedforward_channels=192)
VIT_S = dict(embed_dims=384, num_layers=1, num_heads=6, feedforward_channels=384)
MOBILENET, MOBILE_LOGITS = 'mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py', 'head.layers.1.fc'
RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
SEGFORMER = 'mmseg::segformer/segformer_mit-b{}_8xb2-160k_ade20k-512x512.py'
MASK2FORMER_R50 = 'mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py'
PSPNET = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
ROW = tuple[str, dict[str, Any], str, dict[str, Any], int, dict[str, Any]]
# Student and teacher, each with its overrides, the side of the images, and the methods.
PAIRS: dict[str, ROW] = {
    'RTMDet-m → tiny': (
        RTMDET,
        {},
        'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py',
        {},
        64,
        dict(feature=mimic('neck'), pkd=dict(mimic('neck'), type='mmkd.PKD')),
    ),
    'SegFormer-B2 → B0': (
        SEGFORMER.format(0),
        MIT,
        SEGFORMER.format(2),
        MIT,
        128,
        dict(cwd=logits(*['decode_head.conv_seg'] * 2, kind='CWD'), feature=mimic('backbone')),
    ),
    'SegFormer-B2 → PSPNet-R18': (
        PSPNET,
        {**PSP, 'decode_head.num_classes': 150, 'auxiliary_head.num_classes': 150},
        SEGFORMER.format(2),
        MIT,
        128,
        dict(cwd=logits(*['decode_head.conv_seg'] * 2, kind='CWD', resize=True)),
    ),
    'ConvNeXt-T → MobileNetV3': (
        f'mmpretrain::{MOBILENET}',
        {},
        'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
        CONVNEXT,
        64,
        dict(kd=logits(MOBILE_LOGITS, tau=2.0), dist=logits(MOBILE_LOGITS, kind='DIST')),
    ),
    'DeiT-T → MobileNetV3': (
        f'mmpretrain::{MOBILENET}',
        {},
        'mmpretrain::deit/deit-tiny_4xb256_in1k.py',
        {'backbone.arch': VIT_T},
        224,
        dict(
            kd=logits(MOBILE_LOGITS, 'head.layers.head'),
            tokens=mimic('backbone.layer8', dict(module='backbone.layers.1', tokens=True)),
        ),
    ),
    'Mask R-CNN Swin-T → R50': (
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        {**R18_C4, 'train_cfg.rpn_proposal.nms_pre': 100, 'train_cfg.rcnn.sampler.num': 16},
        'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        SWIN,
        64,
        dict(feature=mimic('neck', normalize='channel')),
    ),
    'DINO-R50 → R18': (
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        {**R18_C3, **DINO},
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        DINO,
        224,
        dict(feature=mimic('neck')),
    ),
    'DINOv2-S → RTMDet-tiny': (
        RTMDET,
        {},
        'mmpretrain::dinov2/vit-small-p14_dinov2-pre_headless.py',
        {'backbone.arch': VIT_S},
        96,
        dict(
            feature=mimic(
                dict(module='neck', levels=(1,)),
                dict(module='backbone.ln1', tokens=True),
                resize=True,
            )
        ),
    ),
    'Swin-T → ResNet-18': (
        'mmpretrain::resnet/resnet18_8xb32_in1k.py',
        {},
        'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        {'backbone.arch': dict(embed_dims=96, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24])},
        224,
        dict(kd=logits('head.fc', tau=4.0)),
    ),
    'Mask2Former R50 → R18': (
        MASK2FORMER_R50,
        {
            **R18,
            **MASK2FORMER,
            'decode_head.in_channels': [64, 128, 256, 512],
        },
        MASK2FORMER_R50,
        MASK2FORMER,
        128,
        dict(pixel=mimic('decode_head.pixel_decoder.mask_feature'), stage=mimic('backbone')),
    ),
}


def merged(name: str, overrides: dict[str, Any]) -> Config:
    """Read a config and override keys of its model."""
    cfg = read_config(name, ROOT)
    cfg.default_scope = name.partition('::')[0]
    if cfg.get('data_preprocessor') is not None:  # as the Runner does
        cfg.model.setdefault('data_preprocessor', cfg.pop('data_preprocessor'))
    for key, value in overrides.items():
        node = cfg.model
        for part in key.split('.')[:-1]:
            node = node[part]
        node[key.rpartition('.')[2]] = value
    return cfg


def student_of(row: ROW, folder: Path, **overrides: Any) -> tuple[dict[str, Any], nn.Module]:
    """Return the config of a plain student, and the distilled student."""
    cfg, other = merged(*row[:2]), merged(*row[2:4])
    teacher = build_plain(other, 'teacher')
    checkpoint = str(folder / 'teacher.pth')
    torch.save(dict(state_dict=teacher.state_dict()), checkpoint)
    plain = cfg.model.to_dict()
    methods = {name: {**method, **overrides} for name, method in row[5].items()}
    config = dict(model=other.model.to_dict(), default_scope=other.default_scope)
    distill = dict(teacher=dict(config=config, checkpoint=checkpoint), methods=methods)
    cfg.model.update(type='mmkd.Distilled', student=cfg.model.type, distill=distill)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return plain, MODELS.build(ConfigDict(cfg.model))


def check_step(model: nn.Module, batch: dict[str, Any], methods: dict[str, Any]) -> None:
    """Take one step; every method has a finite loss and a gradient on the student."""
    data = model.train().data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    own = {n: p for n, p in model.named_parameters() if not n.startswith('distiller.')}
    weights = [p for p in own.values() if p.requires_grad]
    for name in methods:
        terms = [v for k, v in losses.items() if k.startswith(f'distill.{name}.loss_')]
        assert terms and all(torch.isfinite(term) for term in terms), losses
        found = torch.autograd.grad(sum(terms), weights, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in found), name
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)


@pytest.mark.slow
@pytest.mark.parametrize('name', PAIRS)
def test_a_pair_of_the_zoo_takes_a_step(name, tmp_path):
    row = PAIRS[name]
    plain, model = student_of(row, tmp_path)
    classes = find(plain, 'num_classes')
    masks = find(plain, 'mask_head') is not None
    batch = make_batch(
        TASKS[row[0].partition('::')[0]], size=row[4], num_classes=min(classes, 5), masks=masks
    )
    check_step(model, batch, row[5])


@pytest.mark.slow
def test_levels_that_do_not_correspond_are_named(tmp_path):
    """PSPNet's maps have half the size of SegFormer's."""
    with pytest.raises(ConfigError, match=r'methods\.cwd\.resize: .*16.*32'):
        student_of(PAIRS['SegFormer-B2 → PSPNet-R18'], tmp_path, resize=False)


LAZY = """
from mmpretrain.models import ClsDataPreprocessor, GlobalAveragePooling, ImageClassifier
from mmpretrain.models import LinearClsHead, MobileNetV2, ResNet_CIFAR
from mmpretrain.models.losses import CrossEntropyLoss
model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, num_classes=5),
    backbone={backbone},
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=5, in_channels={channels},
              loss=dict(type=CrossEntropyLoss)))
"""
LAZY_DISTILLED = """
from mmengine.config import read_base
with read_base():
    from .student import *
from mmkd.methods import LogitKD
from mmkd.models import build_distilled
model.update(
    type=build_distilled, student=model['type'],
    distill=dict(
        teacher=dict(config={config!r}, checkpoint={checkpoint!r}),
        methods=dict(kd=dict(type=LogitKD, student='head.fc', teacher='head.fc'))))
"""


def test_a_pure_python_pair_takes_a_step(tmp_path):
    resnet = 'dict(type=ResNet_CIFAR, depth=18, base_channels=4, stem_channels=4)'
    mobilenet = 'dict(type=MobileNetV2, widen_factor=0.1)'
    config, checkpoint = tmp_path / 'teacher.py', tmp_path / 'teacher.pth'
    config.write_text(LAZY.format(backbone=resnet, channels=32))
    (tmp_path / 'student.py').write_text(LAZY.format(backbone=mobilenet, channels=1280))
    torch.save(build_plain(Config.fromfile(config), 'teacher').state_dict(), checkpoint)
    (tmp_path / 'kd.py').write_text(
        LAZY_DISTILLED.format(config=str(config), checkpoint=str(checkpoint))
    )
    model = MODELS.build(Config.fromfile(tmp_path / 'kd.py').model)
    assert type(model).__name__ == 'DistilledImageClassifier'
    check_step(model, make_batch('cls', size=32, num_classes=5), dict(kd=1))
