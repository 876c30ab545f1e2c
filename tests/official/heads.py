"""Detection heads: LD, CrossKD, BCKD, KD-DETR."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from support.heads import ONE_ANCHOR, TYPES, read, teachers_of, view_of
from support.helpers import build
from torch import Tensor, nn

from mmkd.methods import LD, CrossKD
from mmkd.methods.detection import DenseTargets
from mmkd.methods.ld import valuable_region
from official.cases import Case, Result, official, waiting

waiting('mmkd has no BCKD yet', 'bckd_*')
waiting('mmkd has no KD-DETR yet', 'kddetr_*')

STRIDE = 8


def targets_of(case: Case, boxes: Tensor | None = None) -> tuple[list[DenseTargets], Tensor]:
    """Return the targets of the only level, and the number of positives."""
    cells = case.params['cells']
    rows = {
        'label_weights': torch.ones(cells, dtype=torch.double),
        'labels': torch.full((cells,), case.params['num_classes']),
        **{key: case[key].flatten() for key in ('label_weights', 'labels') if key in case.inputs},
    }
    priors = next((case[key] for key in ('anchors', 'points') if key in case.inputs), None)
    target = DenseTargets(
        priors=None if priors is None else priors.repeat(cells // len(priors), 1),
        labels=rows['labels'],
        weights=rows['label_weights'],
        boxes=boxes,
        positive=rows['labels'] < case.params['num_classes'],
        inside=torch.ones(cells, dtype=torch.bool),
    )
    return [target], torch.tensor(case.params.get('avg_factor', 1.0), dtype=torch.double)


def detector(case: Case, family: str, side: str) -> nn.Module:
    """Return a model of a head with the recorded weights, as far as they are recorded."""
    params = case.params
    anchors = dict(ONE_ANCHOR, strides=[STRIDE])
    head: dict[str, Any] = dict(
        type=TYPES[family].replace('RetinaNet', 'Retina') + 'Head',
        num_classes=params['num_classes'],
        in_channels=4,
        feat_channels=4,
        stacked_convs=2,
        norm_cfg=None,
    )
    if family == 'gfl':
        head.update(anchor_generator=anchors, reg_max=params['reg_max'])
    elif family == 'fcos':
        head.update(strides=[STRIDE], regress_ranges=((-1, 1e8),))
        head.update(norm_on_bbox=params['norm_on_bbox'])
    else:
        coder = dict(type='DeltaXYWHBBoxCoder', target_stds=params['target_stds'])
        head.update(anchor_generator=anchors, bbox_coder=coder)
    if family == 'atss':
        head['loss_bbox'] = dict(type='GIoULoss')
    model = nn.Module()
    model.bbox_head = built = build(head, 'mmdet').double().eval()
    built.assigner = None  # the targets are recorded
    prefix = dict(retina='retina', gfl='gfl', atss='atss', fcos='conv')[family]
    modules = {
        **{f'{b}{i}': getattr(built, f'{b}_convs')[i].conv for b in ('cls', 'reg') for i in (0, 1)},
        'cls_predictor': getattr(built, f'{prefix}_cls'),
        'reg_predictor': getattr(built, f'{prefix}_reg'),
        'center_predictor': getattr(built, f'{prefix}_centerness', None),
    }
    for key, tensor in case.inputs.items():
        owner, _, name = key.partition('_')
        if owner == side and name:
            module, _, parameter = name.rpartition('_')
            getattr(modules[module], parameter).data.copy_(tensor)
    for scale in getattr(built, 'scales', ()):
        scale.scale.data.fill_(params['scale'])
    return model


@official('crosskd_*')
def crosskd(case: Case) -> Result:
    """The class on heads of the recorded weights; targets and their number as recorded."""
    family, params = case.name.split('_')[1], case.params
    method = CrossKD(
        head=family,
        start=params['start'],
        activated=params['inplace'],
        cls_weight=params['cls_weight'],
        reg_weight=params['reg_weight'],
        centerness_weight=params.get('centerness_weight'),
        min_centerness=1e-6,
    )
    sides = {}
    for side in ('student', 'teacher'):
        model = detector(case, family, side)
        sides[side] = read(method, side, model, [case[side]])
    method.build(nn.Module(), sides['student'], sides['teacher'], teachers_of(model))
    params['cells'] = case['student'][:, 0].numel()
    targets, number = targets_of(case)
    if family == 'fcos':  # objects around their points: each has centerness 1
        target = targets[0]
        target.positive[: int(number)] = True
        target.boxes = torch.ones(params['cells'], 4, dtype=torch.double)
    method.targets = lambda maps, view: (targets, number)
    return method.double().compute(sides['student'], sides['teacher'], view_of([]))


@official('ld_main', 'ld_valuable', 'ld_cls', 'ld_total', 'ld_without_positives')
def ld(case: Case) -> Result:
    """The class on recorded predictions; assignment and valuable region as recorded."""
    params = case.params
    params['cells'] = case['labels'].numel()
    weights = {f'{term}_weight': params.get(f'{term}_weight', 0.0) for term in TERMS}
    if 'loss_weight' in params:
        weights[f'{case.name.removeprefix("ld_")}_weight'] = params['loss_weight']
    method = LD(tau=params['tau'], cls_tau=params['cls_tau'], **weights)
    head = SimpleNamespace(cls_out_channels=params['num_classes'], reg_max=params['reg_max'])
    model = SimpleNamespace(get_submodule=lambda path: head)
    method._teacher = [SimpleNamespace(model=model)]
    method.targets = lambda maps, view: targets_of(case)
    method.valuable = lambda targets, view: [case['region'].flatten()]
    sides = (
        dict(box=[case[f'{side}_box']], cls=[case[f'{side}_cls']])
        for side in ('student', 'teacher')
    )
    return method(*sides, view_of([]))


TERMS = ('main', 'valuable', 'cls')


@official('ld_region_*')
def ld_region(case: Case) -> Result:
    sizes = case['level_sizes'].tolist()
    return valuable_region(
        case['anchors'], case['boxes'], sizes, case.params['topk'], case.params['gamma']
    )
