"""DAM against loops, what it learns, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from support.steps import autocast_step
from support.tiny_models import MIMIC, make_student, preprocessed, teacher_config
from support.views import random
from torch import nn

from mmkd.methods import PKD, FeatureMimic
from mmkd.methods.dam import (
    DAM,
    box_area,
    center_cells,
    center_focal_loss,
    center_heatmap,
    peak_boxes,
)
from mmkd.methods.plugins import build_method
from mmkd.mixers import View
from mmkd.utils import ConfigError

SIZES = ((8, 8), (4, 4))
BOXES = (torch.tensor([[4.0, 4, 20, 16], [20, 18, 31, 30]]), torch.zeros(0, 4))
LABELS = (torch.tensor([2, 0]), torch.zeros(0, dtype=torch.long))
DETECTOR = SimpleNamespace(bbox_head=SimpleNamespace(num_classes=3))


def view_of(boxes=BOXES, labels=LABELS) -> View:
    samples = [
        DetDataSample(gt_instances=InstanceData(bboxes=b, labels=c)) for b, c in zip(boxes, labels)
    ]
    return View.plain(torch.zeros(len(boxes), 3, 32, 32), samples)


def maps(channels: int, seed: int = 0) -> list[torch.Tensor]:
    return [random(2, channels, *size, seed=seed + i) for i, size in enumerate(SIZES)]


def wrapped(method: type = FeatureMimic, channels: int = 4, **region: Any) -> Any:
    """Return a built method with DAM, in fp64."""
    torch.manual_seed(0)
    region = dict(type='mmkd.DAM', channels=8, **region)
    config = dict(type=f'mmkd.{method.__name__}', student='a', teacher='b', region=region)
    made = build_method(config, 'm')
    probes = [[x.float() for x in side] for side in (maps(channels), maps(4))]
    made.build(DETECTOR, *probes, {})
    return made.double()


def head_loss_by_loops(output, size) -> float:
    """Return the loss of one head on one map, not yet divided by the number of objects."""
    heatmap, sizes, offsets = output
    scale = size[0] / 32
    total = 0.0
    for i, (boxes, labels) in enumerate(zip(BOXES, LABELS)):
        boxes = boxes.double() * scale
        target = torch.zeros(1, 3, *size).double()
        if len(boxes):
            present = torch.ones(1, len(boxes), dtype=torch.bool)
            target = center_heatmap(boxes[None], labels[None], present, 3, size)
        total += float(center_focal_loss(heatmap[i : i + 1], target).detach())
        for box in boxes:
            x, y = center_cells(box, size).tolist()
            cx, cy = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
            total += 0.1 * abs(float(sizes[i, 0, y, x]) - float(box[2] - box[0]))
            total += 0.1 * abs(float(sizes[i, 1, y, x]) - float(box[3] - box[1]))
            total += abs(float(offsets[i, 0, y, x]) - (cx - x))
            total += abs(float(offsets[i, 1, y, x]) - (cy - y))
    return total


@pytest.mark.parametrize('area', ['union', 'intersection', 'soft'])
@pytest.mark.parametrize('method', [FeatureMimic, PKD])
def test_losses_equal_loops(method, area):
    made = wrapped(method, channels=3, area=area, peaks=3, region_weight=2.0, head_weight=0.25)
    student, teacher = maps(3), maps(4, seed=5)
    losses = made.compute(student, teacher, view_of())
    plain = made.method(student, teacher, view_of())
    region = dam = 0.0
    with torch.no_grad():
        pairs = made.compared(student, teacher, view_of())
        for head, (s, t), size in zip(made.plugins['region'].heads, pairs, SIZES):
            outputs = [head(x) for x in (s, t)]
            dam += sum(head_loss_by_loops(output, size) for output in outputs) / 2 / 2
            heats = [output[0].sigmoid() for output in outputs]
            areas = [
                box_area(peak_boxes(heat, output[1], output[2], 3), size)
                for heat, output in zip(heats, outputs)
            ]
            top = bottom = 0.0
            for n in range(2):
                for y in range(size[0]):
                    for x in range(size[1]):
                        both = [float(a[n, 0, y, x]) for a in areas]
                        a = max(both) if area == 'union' else min(both)
                        if area == 'soft':
                            a = max(float(heat[n, :, y, x].max()) for heat in heats)
                        bottom += a
                        for c in range(4):
                            top += a * float(s[n, c, y, x] - t[n, c, y, x]) ** 2
            region += top / max(4 * bottom, 1.0)
    assert list(losses) == ['mimic', 'region', 'dam']
    assert torch.equal(losses['mimic'], plain['mimic'])
    assert float(losses['region'].detach()) == pytest.approx(2.0 * region, rel=1e-9)
    assert float(losses['dam'].detach()) == pytest.approx(0.25 * dam, rel=1e-9)
    assert region > 0 and 0 < float(made.monitored['mutual_area']) < 1


def test_gradients_reach_student_and_heads_but_not_the_area():
    made = wrapped(channels=3)
    student = [x.requires_grad_() for x in maps(3)]
    losses = made.compute(student, maps(4, seed=5), view_of())
    heads = list(made.plugins['region'].heads.parameters())
    through_area = torch.autograd.grad(
        losses['region'], heads, retain_graph=True, allow_unused=True
    )
    assert all(g is None for g in through_area)
    gradients = torch.autograd.grad(losses['dam'], [*heads, *student], retain_graph=True)
    assert all(g.any() for g in gradients)
    assert torch.autograd.grad(losses['region'], student[0])[0].any()


def test_one_head_reads_both_models():
    """Equal maps give equal boxes, and their union equals their intersection."""
    made = wrapped(channels=4)
    same = maps(4)
    region = made.plugins['region']
    outputs = [region.heads[0](same[0])] * 2
    masks = []
    for area in ('union', 'intersection'):
        region.area = area
        masks.append(region.mutual_area(outputs))
    assert torch.equal(*masks)
    assert len(region.heads) == len(SIZES)
    assert float(made.compute(same, same, view_of())['region']) == 0


def test_the_area_comes_to_lie_on_the_objects():
    """The maps encode centers and sizes; after some steps the head decodes boxes from them."""
    region = DAM(peaks=1, channels=16)
    torch.manual_seed(0)
    method = FeatureMimic('a', 'b')
    optimizer = None
    for _ in range(250):
        corner = 2 * torch.randint(1, 7, (4, 2))
        extent = 2 * torch.randint(4, 9, (4, 2))
        boxes = torch.cat((corner, corner + extent), 1).float()
        size = (16, 16)
        cells = boxes[:, None] / 2
        one = torch.ones(4, 1, dtype=torch.bool)
        x = 0.05 * torch.randn(4, 3, *size)
        x[:, :1] += center_heatmap(cells, one.long(), one, 2, size)[:, 1:]
        x[:, 1:] += extent[:, :, None, None] / 16 * box_area(cells, size)
        if optimizer is None:
            method.build(nn.Module(), [x], [x], {})
            region.build(method, DETECTOR, [x], [x], view_of())
            optimizer = torch.optim.Adam(region.parameters(), lr=0.02)
        view = view_of(list(boxes[:, None].unbind()), [torch.tensor([1])] * 4)
        losses = region(method, [x], [x], view)
        optimizer.zero_grad()
        losses['dam'].backward()
        optimizer.step()
    output = region.heads[0](x)
    area = region.mutual_area([output, output]).bool()
    true = box_area(cells, size).bool()
    iou = (area & true).sum((1, 2, 3)) / (area | true).sum((1, 2, 3))
    assert iou.mean() > 0.5


def test_every_parameter_of_the_heads_is_trained_with_the_student(tmp_path):
    """With DAFA beside it."""
    method = dict(
        MIMIC['det'], refine=dict(type='mmkd.DAFA'), region=dict(type='mmkd.DAM', channels=8)
    )
    model = autocast_step('det', method, torch.bfloat16, tmp_path)
    heads = model.distiller.methods['m'].plugins['region'].heads
    assert heads[0].heatmap.out_channels == model.bbox_head.num_classes
    assert all(p.grad.any() for p in heads.parameters())
    assert any('region.heads' in name for name, _ in model.named_parameters())
    assert not any('distiller' in name for name in model.state_dict())


def test_images_without_objects_and_without_a_region(tmp_path):
    made = wrapped(region_weight=0.0)
    view = view_of((BOXES[1],) * 2, (LABELS[1],) * 2)
    losses = made.compute(maps(4), maps(4, seed=5), view)
    assert list(losses) == ['mimic', 'dam'] and losses['dam'].isfinite() and losses['dam'] > 0
    losses['dam'].backward()
    assert all(p.grad is not None for p in made.parameters())


def test_number_of_classes_of_other_detectors():
    def classes_of(model):
        region, same = DAM(channels=8), [x.float() for x in maps(4)]
        method = FeatureMimic('a', 'b')
        method.build(nn.Module(), same, same, {})
        region.build(method, model, same, same, view_of())
        return region.heads[0].heatmap.out_channels

    two_stage = SimpleNamespace(
        rpn_head=SimpleNamespace(num_classes=1),
        roi_head=SimpleNamespace(bbox_head=SimpleNamespace(num_classes=7)),
    )
    assert classes_of(two_stage) == 7
    head = nn.Identity()
    head.num_classes = 5
    cascade = SimpleNamespace(roi_head=SimpleNamespace(bbox_head=nn.ModuleList([head])))
    assert classes_of(cascade) == 5


@pytest.mark.parametrize(
    ('task', 'method', 'key', 'message'),
    [
        ('cls', dict(region=dict(type='mmkd.DAM')), r'region\.num_classes', 'for detectors'),
        ('seg', dict(region=dict(type='mmkd.DAM')), r'region\.num_classes', 'for detectors'),
        ('det', dict(type='mmkd.AT', region=dict(type='mmkd.DAM')), 'region', 'AT aligns no maps'),
        ('det', dict(region=dict(type='mmkd.DAFA')), r'region\.type', 'is not a region'),
    ],
)
def test_bad_configs(task, method, key, message, tmp_path):
    method = {**MIMIC[task], **method}
    with pytest.raises(ConfigError, match=rf'{key}: .*{message}'):
        make_student(task, teacher=teacher_config(task, tmp_path), methods=dict(m=method))


def test_needs_boxes_in_every_step(tmp_path):
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path),
        methods=dict(m=dict(MIMIC['cls'], region=dict(type='mmkd.DAM', num_classes=5))),
    )
    inputs, samples = preprocessed(model, 'cls')
    with pytest.raises(ConfigError, match=r'methods\.m: needs boxes'):
        model(inputs, samples, mode='loss')
