"""Tiny models of the three tasks, alone or distilled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from support.helpers import build, make_batch
from torch import Tensor, nn

from mmkd.datasets.shapes_scene import CLASSES
from mmkd.models import distilled

SCOPES = dict(det='mmdet', seg='mmseg', cls='mmpretrain')
TASKS = tuple(SCOPES)
NORMALIZE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
# Taps of the tiny models that fit teachers of another width through adapters.
MIMIC = dict(
    det=dict(type='mmkd.FeatureMimic', student='neck', teacher='neck', levels=(0, 1, 2)),
    seg=dict(type='mmkd.FeatureMimic', student='backbone', teacher='backbone', levels=(2, 3)),
    cls=dict(type='mmkd.FeatureMimic', student='backbone', teacher='backbone'),
)
LOGITS = dict(
    det=dict(
        type='mmkd.LogitKD',
        student='bbox_head.retina_cls',
        teacher='bbox_head.retina_cls',
        activation='sigmoid',
        num_classes=len(CLASSES),
    ),
    seg=dict(
        type='mmkd.LogitKD', student='decode_head.conv_seg', teacher='decode_head.conv_seg', tau=2.0
    ),
    cls=dict(type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0),
)


SWAP = dict(type='mmkd.PatchSwap', prob=1.0, grid=(2, 2))


def model_config(task: str, width: int = 4, num_classes: int = len(CLASSES)) -> dict[str, Any]:
    """Return the config of a tiny model: RetinaNet, FCN with a PSP-like head, or ResNet."""
    return dict(det=detector, seg=segmenter, cls=classifier)[task](width, num_classes)


def detector(width: int, num_classes: int) -> dict[str, Any]:
    """Return a tiny RetinaNet with five pyramid levels."""
    return dict(
        type='RetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, **NORMALIZE),
        backbone=dict(
            type='ResNet',
            depth=18,
            base_channels=width,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type='BN'),
            norm_eval=False,
        ),
        neck=dict(
            type='FPN',
            in_channels=[width, 2 * width, 4 * width, 8 * width],
            out_channels=2 * width,
            start_level=1,
            add_extra_convs='on_input',
            num_outs=5,
        ),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=num_classes,
            in_channels=2 * width,
            feat_channels=2 * width,
            stacked_convs=1,
        ),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(
            nms_pre=100, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20
        ),
    )


def segmenter(width: int, num_classes: int) -> dict[str, Any]:
    """Return a tiny PSPNet with a dropout in front of its logits."""
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', size=(96, 96), pad_val=0, seg_pad_val=255, **NORMALIZE
        ),
        backbone=dict(
            type='ResNetV1c',
            depth=18,
            base_channels=width,
            stem_channels=width,
            strides=(1, 2, 2, 1),
            norm_cfg=dict(type='BN'),
        ),
        decode_head=dict(
            type='PSPHead',
            in_channels=8 * width,
            in_index=3,
            channels=4 * width,
            pool_scales=(1, 2),
            dropout_ratio=0.1,
            num_classes=num_classes + 1,
            norm_cfg=dict(type='BN'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def classifier(width: int, num_classes: int) -> dict[str, Any]:
    """Return a tiny ResNet classifier."""
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor',
            num_classes=num_classes,
            mean=NORMALIZE['mean'],
            std=NORMALIZE['std'],
            to_rgb=True,
        ),
        backbone=dict(
            type='ResNet_CIFAR',
            depth=18,
            base_channels=width,
            stem_channels=width,
            norm_cfg=dict(type='BN'),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=num_classes,
            in_channels=8 * width,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        ),
    )


def teacher_config(
    task: str, folder: Path, width: int = 8, seed: int = 1, **overrides: Any
) -> dict[str, Any]:
    """Save random weights of a teacher, statistics of its BatchNorm included.

    Returns:
        ``config`` and ``checkpoint``, to stand in ``model.distill.teacher``.
    """
    model = {**model_config(task, width), **overrides}
    checkpoint = Path(folder) / f'teacher_{task}_{width}_{seed}.pth'
    if not checkpoint.exists():
        torch.save(dict(state_dict=random_model(task, model, seed).state_dict()), checkpoint)
    return dict(config=dict(default_scope=SCOPES[task], model=model), checkpoint=str(checkpoint))


def random_model(task: str, model: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build and initialize a model whose BatchNorm statistics are those of no fresh model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = build(model, SCOPES[task])
        built.init_weights()
        for module in built.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return built


def make_student(task: str, seed: int = 0, width: int = 4, **distill: Any) -> nn.Module:
    """Return an initialized student in training mode, distilled if there are arguments."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(SCOPES[task]):
        model = build(model_config(task, width), SCOPES[task])
        if distill:
            distilled(model, **distill)
        model.init_weights()
    return model.train()


def preprocessed(model: nn.Module, task: str, num: int = 2, size: Any = 64, **kwargs: Any) -> Any:
    """Return inputs and samples as the model's own preprocessor makes them."""
    classes = len(CLASSES) + (task == 'seg')
    data = make_batch(task, num, size, num_classes=classes, **kwargs)
    data = model.data_preprocessor(data, True)
    return data['inputs'], data['data_samples']


def losses_of(model: nn.Module, inputs: Tensor, samples: Any) -> dict[str, Any]:
    """Return the losses of one step, summed where a head returns lists."""
    losses = model(inputs, samples, mode='loss')
    return {k: sum(v) if isinstance(v, list) else v for k, v in losses.items()}


def weights_hash(model: nn.Module) -> str:
    """Return a hash of all weights and buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def ips(task, **kwargs):
    """Return the distillation config of a tiny model."""
    method = {k: v for k, v in LOGITS[task].items() if k not in ('type', 'teacher')}
    return dict(mixer=dict(SWAP), methods=dict(ips=dict(method, type='mmkd.InstanceKD', **kwargs)))
