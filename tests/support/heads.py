"""Tiny dense heads of every family in fp64, samples for them, and their targets by loops."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from support.helpers import build
from support.tiny_models import model_config
from support.views import View
from torch import Tensor, nn

from mmkd.taps import TapReader

SIZE = 64
CLASSES = 3
LEVELS = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
STRIDES = [8, 16, 32, 64, 128]
TYPES = dict(retina='RetinaNet', gfl='GFL', atss='ATSS', fcos='FCOS')
ONE_ANCHOR = dict(
    type='AnchorGenerator', ratios=[1.0], octave_base_scale=4, scales_per_octave=1, strides=STRIDES
)
ATSS = dict(assigner=dict(type='ATSSAssigner', topk=4), allowed_border=-1, pos_weight=-1)
FOCAL = dict(type='FocalLoss', use_sigmoid=True)


def detector_config(family: str, width: int = 8, **head: Any) -> dict[str, Any]:
    """Return the config of a tiny detector whose head has two convs in each branch."""
    model = model_config('det', 4, CLASSES)
    model['type'] = TYPES[family]
    model['neck']['out_channels'] = width
    common = dict(
        num_classes=CLASSES,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=2),
    )
    if family == 'retina':
        generator = dict(ONE_ANCHOR, ratios=[0.5, 1.0])
        own = dict(type='RetinaHead', anchor_generator=generator, norm_cfg=None)
        model['train_cfg']['assigner']['ignore_iof_thr'] = 0.5
    elif family == 'gfl':
        loss = dict(type='QualityFocalLoss', use_sigmoid=True)
        own = dict(type='GFLHead', anchor_generator=ONE_ANCHOR, reg_max=4, loss_cls=loss)
        own['loss_bbox'] = dict(type='GIoULoss')
    elif family == 'atss':
        coder = dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])
        own = dict(type='ATSSHead', anchor_generator=ONE_ANCHOR, bbox_coder=coder, loss_cls=FOCAL)
        own['loss_bbox'] = dict(type='GIoULoss')
    else:
        own = dict(type='FCOSHead', strides=STRIDES, loss_cls=FOCAL)
    model['bbox_head'] = {**common, **own, **head}
    if family in ('gfl', 'atss'):
        model['train_cfg'] = ATSS
    elif family == 'fcos':
        model.pop('train_cfg')
    return model


def detector_of(family: str, width: int = 8, seed: int = 0, **head: Any) -> nn.Module:
    """Return a detector in fp64 and eval mode whose predictions are far from uniform."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(detector_config(family, width, **head), 'mmdet').double().eval()
        for name, parameter in model.bbox_head.named_parameters():
            nn.init.normal_(parameter, 0.0, 0.3)
            if name.endswith('.scale'):
                parameter.data += 1
            if '_cls' in name and name.endswith('bias'):
                parameter.data -= 1
    return model


def det_samples() -> list[DetDataSample]:
    """Return an image with three objects and a crowd, and a smaller one without any."""
    boxes = [[4.0, 6, 30, 40], [20, 20, 60, 62], [40, 2, 52, 16]], [0, 2, 1]
    crowd = [[30.0, 0, 64, 20]], [0]
    samples = []
    for objects, ignored, side in ((boxes, crowd, SIZE), (([], []), ([], []), 40)):
        meta = dict(img_shape=(side, side), pad_shape=(side, side), batch_input_shape=(SIZE, SIZE))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances, sample.ignored_instances = (
            InstanceData(
                bboxes=torch.tensor(b, dtype=torch.float).reshape(-1, 4),
                labels=torch.tensor(labels, dtype=torch.long),
            )
            for b, labels in (objects, ignored)
        )
        samples.append(sample)
    return samples


def naive_targets(head: nn.Module, samples: Any) -> tuple[list[list[tuple]], float]:
    """Return (prior, label, weight) of every prior, level by level and image by image.

    And the number of positives by which the head divides its loss.
    """
    counts = [h * w * head.num_base_priors for h, w in LEVELS]
    levels: list[list[tuple]] = [[] for _ in LEVELS]
    total = 0.0
    for sample in samples:
        if hasattr(head, 'get_anchors'):
            priors = torch.cat(head.prior_generator.grid_priors(LEVELS, device='cpu'))
            flags = head.prior_generator.valid_flags(LEVELS, sample.pad_shape, device='cpu')
            valid = torch.cat(flags)
            inside = [
                int(f.sum()) for f in valid.split(counts)
            ]  # the assigner sees priors in the image only
            instances = InstanceData(priors=priors[valid])
            extra = dict(num_level_priors=inside) if 'ATSS' in type(head.assigner).__name__ else {}
            assigned = head.assigner.assign(
                instances,
                gt_instances=sample.gt_instances,
                gt_instances_ignore=sample.ignored_instances,
                **extra,
            )
            positive = max(head.train_cfg['pos_weight'], 0) or 1.0
            found = iter(zip(assigned.gt_inds.tolist(), assigned.labels.tolist()))
            rows = []
            for prior, seen in zip(priors.tolist(), valid.tolist()):
                index, label = next(found) if seen else (-1, -1)
                weight = positive if index > 0 else float(index == 0)
                rows.append((prior, label if index > 0 else CLASSES, weight))
            total += max(sum(row[1] < CLASSES for row in rows), 1)
        else:
            points = head.prior_generator.grid_priors(LEVELS, dtype=torch.float, device='cpu')
            labels, _ = head.get_targets(points, [sample.gt_instances])
            rows = [
                (p, k, 1.0) for p, k in zip(torch.cat(points).tolist(), torch.cat(labels).tolist())
            ]
        start = 0
        for level, count in enumerate(counts):
            levels[level] += rows[start : start + count]
            start += count
    return levels, total


def read(method: Any, side: str, model: nn.Module, features: list[Tensor]) -> dict[str, Any]:
    """Return what a method's taps read of a head, as the distiller gathers it."""
    taps = getattr(method, f'{side}_taps')
    reader = TapReader(model, {tap: 'key' for kept in taps.values() for tap in kept})
    _, taken = reader.read(model, features, None, run=lambda x, samples: model.bbox_head(x))
    return {name: [t for tap in kept for t in taken[tap]] for name, kept in taps.items()}


def teachers_of(model: nn.Module) -> dict[str, Any]:
    """Return a frozen model as the teachers that ``build`` gets."""
    return {'': SimpleNamespace(model=model.requires_grad_(False))}


def pyramid(width: int, seed: int = 0) -> list[Tensor]:
    """Return the maps (2, width, H, W) of five levels."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, width, *size) for size in LEVELS]
    return [torch.randn(*s, dtype=torch.double, generator=generator) for s in shapes]


def view_of(samples: Any) -> View:
    """Return a plain view of two samples."""
    return View.plain(torch.zeros(2, 3, SIZE, SIZE), samples)


def rows_of(maps: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the values of every prior of a map (2, A·size, H, W) in the order of the priors."""
    for image in maps:
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                for a in range(maps.shape[1] // size):
                    yield image[a * size : (a + 1) * size, y, x]
