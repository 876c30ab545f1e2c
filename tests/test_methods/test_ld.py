"""LD against loops over priors."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData
from support import naive
from support.heads import (
    CLASSES,
    LEVELS,
    det_samples,
    detector_of,
    naive_targets,
    pyramid,
    read,
    teachers_of,
    view_of,
)
from support.views import random
from torch import nn

from mmkd.methods import LD
from mmkd.methods.ld import valuable_region
from mmkd.utils import ConfigError


def wired(student, teacher, seed=1, **kwargs):
    """Return a method that was built for two detectors, and what its taps read."""
    method = LD(**kwargs)
    sides = [
        read(method, side, model, pyramid(8, seed=s))
        for side, model, s in (('student', student, 0), ('teacher', teacher, seed))
    ]
    method.build(nn.Module(), *sides, teachers_of(teacher))
    return method, *sides


def predictions(model, seed):
    """Return the predictions of the head for a pyramid: class logits and distributions."""
    with torch.no_grad():
        return model.bbox_head(pyramid(8, seed=seed))


def cells(maps):
    """Return the values of every cell of a map (2, D, H, W) in the order of the priors."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).tolist()


def overlaps(a, b):
    """Return the intersection of two boxes over the area of the first, and over their union."""
    common = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    both = common[0] * common[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return dict(iof=both / areas[0], iou=both / (sum(areas) - both))


def remoteness(a, b):
    """Return the squared distance of two centers, in diagonals of the enclosing box."""
    width, height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    dx, dy = ((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1))
    return (dx**2 + dy**2) / (width**2 + height**2)


def naive_region(priors, sizes, boxes, topk, overlap='iof', ignored=()):
    """Return the weights of the valuable region, box by box."""
    weights = [0.0] * len(priors)
    for box in boxes:
        distances = [
            math.hypot(*((p[i] + p[i + 2] - box[i] - box[i + 2]) / 2 for i in (0, 1)))
            if index not in ignored
            else math.inf
            for index, p in enumerate(priors)
        ]
        ious, start = [], 0
        for size in sizes:
            order = sorted(range(start, start + size), key=lambda p: distances[p])[:topk]
            ious += [overlaps(priors[p], box)['iou'] for p in order]
            start += size
        mean = sum(ious) / len(ious)
        threshold = mean + math.sqrt(sum((v - mean) ** 2 for v in ious) / (len(ious) - 1))
        for p, prior in enumerate(priors):
            found = overlaps(prior, box)
            if 0.25 * threshold <= found[overlap] - remoteness(prior, box) < threshold:
                weights[p] = max(weights[p], found['iou'])
    return weights


def naive_image_region(head, sample, anchors, rows, sizes, overlap):
    """Return the weights of all anchors of an image; those in its padding have none."""
    seen = torch.cat(head.prior_generator.valid_flags(LEVELS, sample.pad_shape, 'cpu')).tolist()
    kept = [index for index, inside in enumerate(seen) if inside]
    inside = [sum(level) for level in torch.tensor(seen).split(sizes)]
    ignored = [new for new, old in enumerate(kept) if rows[old][2] == 0]
    boxes, topk = boxes_of(sample), head.assigner.topk
    found = naive_region([anchors[i] for i in kept], inside, boxes, topk, overlap, ignored)
    weights = [0.0] * len(anchors)
    for index, weight in zip(kept, found):
        weights[index] = weight
    return weights


def boxes_of(sample):
    return sample.gt_instances.bboxes.tolist()


def expected_losses(student, teacher, samples, seed=1, tau=10.0, overlap='iof'):
    """Return the terms, weighted as published."""
    head = teacher.bbox_head
    (s_cls, s_box), (t_cls, t_box) = predictions(student, 0), predictions(teacher, seed)
    levels, _ = naive_targets(head, samples)
    counts = [h * w for h, w in LEVELS]
    anchors = [row[0] for rows, n in zip(levels, counts) for row in rows[:n]]
    images = [
        [row for rows, n in zip(levels, counts) for row in rows[i * n : (i + 1) * n]]
        for i in range(len(samples))
    ]
    regions = [
        naive_image_region(head, sample, anchors, rows, counts, overlap)
        for sample, rows in zip(samples, images)
    ]
    terms, start = dict(main=0.0, valuable=0.0, cls=0.0), 0
    for level, rows in enumerate(levels):
        inside = [w for region in regions for w in region[start : start + counts[level]]]
        start += counts[level]
        divergences = []
        columns = (cells(x[level]) for x in (s_box, t_box, s_cls, t_cls))
        for (_, label, counted), weight, s, t, s_row, t_row in zip(rows, inside, *columns):
            bins = head.reg_max + 1
            edges = [
                naive.kl(
                    naive.softmax([v / tau for v in t[e * bins : (e + 1) * bins]]),
                    s[e * bins : (e + 1) * bins],
                    tau,
                )
                / bins
                for e in range(4)
            ]
            if label < CLASSES:
                confidence = max(map(naive.sigmoid, s_row))
                terms['main'] += 0.25 * confidence * sum(edges) / 4
                target = naive.softmax([v / 2 for v in t_row])
                divergences.append(counted * naive.kl(target, s_row, 2.0) / CLASSES)
            terms['valuable'] += 0.25 * weight * sum(edges) / 16
        if divergences:
            terms['cls'] += 10 * sum(divergences) / len(divergences)
    return terms


@pytest.mark.parametrize('ignore_iof_thr', [-1, 0.3])
@pytest.mark.parametrize('overlap', ['iof', 'iou'])
def test_equals_loops(overlap, ignore_iof_thr):
    """A crowd; an object whose neighborhood reaches into the padding; levels of one cell."""
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    teacher.bbox_head.assigner.ignore_iof_thr = ignore_iof_thr
    teacher.bbox_head.train_cfg['pos_weight'] = 0.5
    method, *sides = wired(student, teacher, cls_weight=10.0, overlap=overlap)
    assert not list(method.parameters()) and not method.state_dict()
    samples = det_samples()
    samples[1].gt_instances = InstanceData(
        bboxes=torch.tensor([[16.0, 20, 38, 36]]), labels=torch.tensor([1])
    )
    losses = method.compute(*sides, view_of(samples))
    expected = expected_losses(student, teacher, samples, overlap=overlap)
    assert list(losses) == list(expected)
    for name, value in losses.items():
        assert expected[name] > 0
        assert float(value.detach()) == pytest.approx(expected[name], rel=1e-6)


def test_gradient_equals_differences_of_loops():
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    method, *sides = wired(student, teacher)
    losses = method.compute(*sides, view_of(det_samples()))
    weight = student.bbox_head.gfl_reg.weight
    (gradient,) = torch.autograd.grad(sum(losses.values()), weight)
    direction, values = random(*weight.shape, seed=3), []
    for step in (1e-3, -2e-3):  # there, and as far to the other side; the head returns fp32
        weight.data += step * direction
        terms = expected_losses(student, teacher, det_samples())
        values.append(terms['main'] + terms['valuable'])
    slope = float((gradient * direction).sum())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-4)


@pytest.mark.parametrize('overlap', ['iof', 'iou'])
@pytest.mark.parametrize('seed', range(3))
def test_valuable_region(seed, overlap):
    generator = torch.Generator().manual_seed(seed)
    sizes = [30, 12, 1]
    corners = 40 * torch.rand(sum(sizes), 2, generator=generator).double()
    extent = 5 + 30 * torch.rand(sum(sizes), 2, generator=generator).double()
    priors = torch.cat([corners, corners + extent], 1)
    boxes = priors[[3, 20, 40]] + 3
    ignored = torch.zeros(sum(sizes), dtype=torch.bool)
    ignored[[3, 20, 42]] = True
    weights = valuable_region(priors, boxes, sizes, 4, overlap=overlap, ignored=ignored)
    rows = priors.tolist()
    expected = naive_region(rows, sizes, boxes.tolist(), 4, overlap, [3, 20, 42])
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)
    weights = valuable_region(priors, boxes, sizes, 4, overlap=overlap)
    expected = naive_region(rows, sizes, boxes.tolist(), 4, overlap)
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)
    assert weights.any() and not weights.all()
    assert not valuable_region(priors, boxes[:0], sizes).any()


def test_terms_and_levels_without_weight():
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    method, *sides = wired(student, teacher)
    assert list(method.compute(*sides, view_of(det_samples()))) == ['main', 'valuable']
    method, *sides = wired(student, teacher, valuable_weight=0.0)
    assert list(method.compute(*sides, view_of(det_samples()))) == ['main']


def test_zero_where_student_equals_teacher_and_without_objects():
    head = detector_of('gfl')
    method, *sides = wired(head, head, seed=0, cls_weight=1.0)
    assert all(v == 0 for v in method.compute(*sides, view_of(det_samples())).values())
    student = detector_of('gfl', seed=1)
    method, *sides = wired(student, head, cls_weight=1.0)
    losses = method.compute(*sides, view_of([det_samples()[1]] * 2))
    assert all(v == 0 for v in losses.values())
    sum(losses.values()).backward()
    assert not student.bbox_head.gfl_reg.weight.grad.any()


def test_gradients():
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    method, *sides = wired(student, teacher)
    sum(method.compute(*sides, view_of(det_samples())).values()).backward()
    assert student.bbox_head.gfl_reg.weight.grad.any()
    assert student.bbox_head.scales[0].scale.grad.any()
    # The confidence is a weight only.
    weight = student.bbox_head.gfl_cls.weight
    assert weight.grad is None or not weight.grad.any()
    assert all(p.grad is None for p in teacher.parameters())


def test_heads_that_do_not_fit():
    with pytest.raises(ConfigError, match='bins'):
        wired(detector_of('gfl', reg_max=8), detector_of('gfl'))
    with pytest.raises(ConfigError, match=r'^levels:'):
        wired(detector_of('gfl'), detector_of('gfl'), levels=(0, 1))
    other = SimpleNamespace(model=detector_of('atss'))
    with pytest.raises(ConfigError, match=r"^student: ATSSHead has no 'reg_max': .* distributions"):
        LD(cls='atss_cls').check_models(other.model, {'': other})
    one = [detector_of('gfl', num_classes=1) for _ in range(2)]
    with pytest.raises(ConfigError, match=r'^cls_weight:'):
        wired(*one, cls_weight=1.0)
    other = detector_of('gfl')
    other.bbox_head.assigner = detector_of('retina').bbox_head.assigner
    with pytest.raises(ConfigError, match=r'^valuable_weight:'):
        wired(detector_of('gfl'), other)
    with pytest.raises(ConfigError, match=r'^main_weight: all weights are 0'):
        LD(main_weight=0, valuable_weight=0)
