"""CrossKD against loops over priors, for every family of heads."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mmdet.models.losses import GIoULoss, IoULoss
from mmengine.registry import DefaultScope
from support import naive
from support.heads import (
    CLASSES,
    LEVELS,
    STRIDES,
    det_samples,
    detector_config,
    detector_of,
    naive_targets,
    pyramid,
    read,
    rows_of,
    teachers_of,
    view_of,
)
from support.helpers import build
from support.tiny_models import SCOPES, preprocessed
from support.views import random
from torch import nn

from mmkd.methods import CrossKD
from mmkd.methods.cross_kd import quality_focal_kd
from mmkd.models import distilled
from mmkd.utils import ConfigError

PREFIXES = dict(retina='retina', gfl='gfl', atss='atss', fcos='conv')
PUBLISHED = dict(gfl=(1, 4), retina=(1, 1), atss=(1, 1, 1), fcos=(0.4, 0.75))


def wired(family, student, teacher, features, **kwargs):
    """Return a method that was built for two detectors, and what its taps read."""
    method = CrossKD(head=family, **{'start': 1, **kwargs})
    sides = [
        read(method, side, model, maps)
        for side, model, maps in zip(('student', 'teacher'), (student, teacher), features)
    ]
    method.build(nn.Module(), *sides, teachers_of(teacher))
    return method.double(), *sides


def branch(convs, x, start, activated=True):
    """Return the feature behind conv `start`, behind or before its activation."""
    for index, conv in enumerate(convs, 1):
        x = conv(x, activate=False)
        if index == start:
            return x.clamp(min=0) if activated else x
        x = x.clamp(min=0)
    return x


def aligned(x, like):
    """Return x with the mean and deviation of another map, channel by channel."""
    result = torch.empty_like(like)
    for c in range(like.shape[1]):
        own, other = x[:, c], like[:, c]
        freedom = max(1, own.numel() - 1)
        deviation = [
            math.sqrt(float((v - v.mean()).square().sum()) / freedom) for v in (own, other)
        ]
        standard = (own - own.mean()) / (deviation[0] + 1e-6)
        result[:, c] = standard * deviation[1] + other.mean()
    return result


def predictions(method, student, teacher, features, family, start, activated=True):
    """Return the cross predictions and the teacher's, level by level."""
    head, cross, own = teacher.bbox_head, [], []
    for level in range(len(LEVELS)):
        crossed, plain = {}, {}
        for name in ('cls', 'reg'):
            s, t = (
                branch(getattr(m.bbox_head, f'{name}_convs'), f[level], start, activated)
                if start
                else f[level]
                for m, f in zip((student, teacher), features)
            )
            x = aligned(method.adapters[name].project(s), t)
            for side, value in ((crossed, x), (plain, t)):
                value = value.clamp(min=0) if start else value
                for conv in getattr(head, f'{name}_convs')[start:]:
                    value = conv(value)
                side[name] = value
        for side, out in ((crossed, cross), (plain, own)):
            maps = {k: getattr(head, f'{PREFIXES[family]}_{k}')(x) for k, x in side.items()}
            if family == 'atss':
                maps['center'] = head.atss_centerness(side['reg'])
            if hasattr(head, 'scales'):
                maps['reg'] = maps['reg'] * head.scales[level].scale
            out.append(maps)
    return cross, own


def distance(head, family, level, prior, cross, own):
    """Return the distance of two box predictions of one prior."""
    if family == 'gfl':
        bins = head.reg_max + 1
        pairs = zip(cross.view(4, bins).tolist(), own.view(4, bins).tolist())
        return sum(naive.kl(naive.softmax(o), c, 1.0) for c, o in pairs) / 4
    boxes = torch.stack([cross, own])
    if family == 'fcos' and head.norm_on_bbox:
        boxes = boxes.clamp(min=0) * STRIDES[level]
    elif family == 'fcos':
        boxes = boxes.exp()
    priors = torch.tensor([prior, prior]).double()
    boxes = head.bbox_coder.decode(priors, boxes)
    loss = IoULoss(mode='log') if family == 'fcos' else GIoULoss()
    return float(loss(boxes[:1], boxes[1:]))


def expected_losses(head, family, cross, own, samples):
    """Return the terms, unweighted, prior by prior."""
    levels, number = naive_targets(head, samples)
    terms = dict(cls=0.0, reg=0.0, center=0.0)
    weights = 0.0
    for level, rows in enumerate(levels):
        sides = {
            'cls': [list(rows_of(m[level]['cls'], CLASSES)) for m in (cross, own)],
            'reg': [
                list(rows_of(m[level]['reg'], 4 * (head.reg_max + 1) if family == 'gfl' else 4))
                for m in (cross, own)
            ],
        }
        if family == 'atss':
            sides['center'] = [list(rows_of(m[level]['center'], 1)) for m in (cross, own)]
        for index, (prior, label, counts) in enumerate(rows):
            c, t = (side[index].tolist() for side in sides['cls'])
            for a, b in zip(map(naive.sigmoid, c), map(naive.sigmoid, t)):
                entropy = -b * math.log(a) - (1 - b) * math.log(1 - a)
                terms['cls'] += counts * abs(a - b) * entropy
            weight = (counts != 0) * max(map(naive.sigmoid, t))
            weights += weight
            boxes = (side[index] for side in sides['reg'])
            terms['reg'] += weight * distance(head, family, level, prior, *boxes)
            if family == 'atss' and label < CLASSES:
                a, b = (naive.sigmoid(float(side[index])) for side in sides['center'])
                terms['center'] -= b * math.log(a) + (1 - b) * math.log(1 - a)
    if family == 'fcos':
        points = head.prior_generator.grid_priors(LEVELS, dtype=torch.float, device='cpu')
        labels, boxes = head.get_targets(points, [s.gt_instances for s in samples])
        boxes = torch.cat(boxes)[torch.cat(labels) < CLASSES]
        ratios = [min(a, c) / max(a, c) * min(b, d) / max(b, d) for a, b, c, d in boxes.tolist()]
        number = sum(map(math.sqrt, ratios))
    return [
        terms['cls'] / number,
        terms['reg'] / (weights if family == 'gfl' else number),
        terms['center'] / number,
    ]


@pytest.mark.parametrize('beta', [1.0, 2.0])
def test_quality_focal_kd(beta):
    student, teacher = random(6, 3), random(6, 3, seed=1)
    expected = []
    for s_row, t_row in zip(student.tolist(), teacher.tolist()):
        total = 0.0
        for s, t in zip(map(naive.sigmoid, s_row), map(naive.sigmoid, t_row)):
            entropy = -t * math.log(s) - (1 - t) * math.log(1 - s)
            total += abs(s - t) ** beta * entropy
        expected.append(total)
    assert quality_focal_kd(student, teacher, beta).tolist() == pytest.approx(expected, rel=1e-6)
    assert not quality_focal_kd(teacher, teacher, beta).any()
    extreme = quality_focal_kd(torch.tensor([[1e3, -1e3]]), torch.tensor([[-1e3, 1e3]]))
    assert extreme.isfinite().all()


@pytest.mark.parametrize('activated', [True, False])
@pytest.mark.parametrize('start', [0, 1, 2])
@pytest.mark.parametrize('family', PREFIXES)
def test_equals_loops(family, start, activated):
    """Two images, one without objects; a crowd; padding; levels of one cell; narrower student."""
    student, teacher = detector_of(family, 4), detector_of(family, 8, seed=1)
    features = pyramid(4), pyramid(8, seed=1)
    options = dict(start=start, activated=activated)
    method, read_student, read_teacher = wired(family, student, teacher, features, **options)
    samples = det_samples()
    losses = method.compute(read_student, read_teacher, view_of(samples))
    with torch.no_grad():
        sides = predictions(method, student, teacher, features, family, **options)
        terms = expected_losses(teacher.bbox_head, family, *sides, samples)
    assert list(losses) == ['cls', 'reg', 'centerness'][: len(PUBLISHED[family])]
    for value, weight, expected in zip(losses.values(), PUBLISHED[family], terms):
        assert expected > 0
        assert float(value.detach()) == pytest.approx(weight * expected, rel=1e-6)


@pytest.mark.parametrize('activated', [True, False])
@pytest.mark.parametrize('family', PREFIXES)
def test_gradient_equals_differences_of_loops(family, activated):
    """Along a random direction of all of the student's maps."""
    student, teacher = detector_of(family, 4), detector_of(family, 8, seed=1)
    maps = [x.requires_grad_() for x in pyramid(4)], pyramid(8, seed=1)
    method, *sides = wired(family, student, teacher, maps, activated=activated)
    losses = method.compute(*sides, view_of(det_samples()))
    gradients = torch.autograd.grad(sum(losses.values()), maps[0])
    direction = pyramid(4, seed=2)
    values = []
    for step in (1e-6, -1e-6):
        moved = [x.detach() + step * d for x, d in zip(maps[0], direction)]
        with torch.no_grad():
            pair = predictions(method, student, teacher, (moved, maps[1]), family, 1, activated)
            terms = expected_losses(teacher.bbox_head, family, *pair, det_samples())
        values.append(sum(w * term for w, term in zip(PUBLISHED[family], terms)))
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_distances_in_strides():
    """FCOS with normalized distances, which the cross head may cut off at zero."""
    student, teacher = (detector_of('fcos', 8, seed=i, norm_on_bbox=True) for i in (0, 1))
    features = pyramid(8), pyramid(8, seed=1)
    method, *sides = wired('fcos', student, teacher, features)
    losses = method.compute(*sides, view_of(det_samples()))
    with torch.no_grad():
        cross, own = predictions(method, student, teacher, features, 'fcos', 1)
        terms = expected_losses(teacher.bbox_head, 'fcos', cross, own, det_samples())
    assert float(losses['reg'].detach()) == pytest.approx(0.75 * terms[1], rel=1e-6)


@pytest.mark.parametrize('family', PREFIXES)
def test_equal_channels_need_no_adapter_and_equal_features_no_loss(family):
    teacher = detector_of(family)
    features = pyramid(8)
    method, *sides = wired(family, teacher, teacher, (features, features))
    assert not list(method.parameters())
    same = method.compute(*sides, view_of(det_samples()))
    method, *sides = wired(family, teacher, teacher, (pyramid(8, seed=1), features))
    other = method.compute(*sides, view_of(det_samples()))
    for term in ('cls', 'reg'):  # up to the 1e-6 beside the deviation, and the smallest area
        assert float(same[term].detach()) < 1e-3 * float(other[term].detach())


def test_gradients_pass_through_the_teacher_and_leave_it_alone():
    student, teacher = detector_of('gfl', 4), detector_of('gfl', 8, seed=1)
    method, *sides = wired('gfl', student, teacher, (pyramid(4), pyramid(8, seed=1)))
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    sum(method.compute(*sides, view_of(det_samples())).values()).backward()
    head = student.bbox_head
    for convs in (head.cls_convs, head.reg_convs):
        assert convs[0].conv.weight.grad.any()
        assert convs[1].conv.weight.grad is None  # behind the tap
    assert head.gfl_cls.weight.grad is None
    assert all(p.grad.any() for p in method.parameters() if p.ndim > 1)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not [k for k in method.state_dict() if not k.startswith('adapters')]


@pytest.mark.parametrize('family', PREFIXES)
def test_images_without_objects(family):
    """The teacher still has predictions; only terms normalized by objects could explode."""
    student, teacher = detector_of(family), detector_of(family, seed=1)
    method, *sides = wired(family, student, teacher, (pyramid(8), pyramid(8, seed=1)))
    losses = method.compute(*sides, view_of([det_samples()[1]] * 2))
    limit = 100 * sum(v.detach() for v in method.compute(*sides, view_of(det_samples())).values())
    assert all(value.isfinite() and value < limit for value in losses.values())
    assert losses['cls'] > 0 and losses['reg'] > 0


@pytest.mark.parametrize('family', PREFIXES)
def test_least_sum_of_centerness(family):
    """Without objects the sum is 0, and FCOS's terms are divided by the floor alone."""
    student, teacher = detector_of(family), detector_of(family, seed=1)
    features, samples = (pyramid(8), pyramid(8, seed=1)), [det_samples()[1]] * 2
    ours, official = (
        sum(method.compute(*sides, view_of(samples)).values())
        for method, *sides in (
            wired(family, student, teacher, features, min_centerness=m) for m in (1.0, 1e-6)
        )
    )
    assert float((official / ours).detach()) == pytest.approx(1e6 if family == 'fcos' else 1.0)


def test_positives_are_averaged_over_the_processes_as_published(monkeypatch):
    """RetinaNet divides by the positives of its own process."""
    seen = []
    monkeypatch.setattr('mmkd.methods.cross_kd.all_reduce', lambda x, op: seen.append(op))
    for family in PREFIXES:
        student, teacher = detector_of(family), detector_of(family, seed=1)
        method, *sides = wired(family, student, teacher, (pyramid(8), pyramid(8, seed=1)))
        seen.clear()
        method.compute(*sides, view_of(det_samples()))
        assert seen == ([] if family == 'retina' else ['mean'])


def test_weights_of_priors():
    """A prior's weight scales its class term; its box term counts or does not."""
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    teacher.bbox_head.train_cfg['pos_weight'] = 0.5
    features = pyramid(8), pyramid(8, seed=1)
    method, *sides = wired('gfl', student, teacher, features)
    losses = method.compute(*sides, view_of(det_samples()))
    with torch.no_grad():
        pair = predictions(method, student, teacher, features, 'gfl', 1)
        terms = expected_losses(teacher.bbox_head, 'gfl', *pair, det_samples())
    for value, weight, expected in zip(losses.values(), PUBLISHED['gfl'], terms):
        assert float(value.detach()) == pytest.approx(weight * expected, rel=1e-6)


def test_another_head_is_described_by_a_dict():
    student, teacher = detector_of('gfl'), detector_of('gfl', seed=1)
    features = pyramid(8), pyramid(8, seed=1)
    known, *sides = wired('gfl', student, teacher, features, reg_weight=2.0)
    described = dict(cls='gfl_cls', reg='gfl_reg', box='distribution', start=1, reg_weight=2.0)
    other, *same = wired(described, student, teacher, features, start=None)
    assert known.compute(*sides, view_of(det_samples())) == other.compute(
        *same, view_of(det_samples())
    )
    assert [m.shape for m in known.masks(*sides, None)] == [(2, 1, *size) for size in LEVELS]


def test_heads_that_do_not_fit():
    teacher = detector_of('gfl')
    half = [f[:, :, ::2, ::2] for f in pyramid(8)]
    with pytest.raises(ConfigError, match='priors'):
        wired('gfl', detector_of('gfl'), teacher, (half, pyramid(8)))
    with pytest.raises(ConfigError, match='retina_cls'):
        wired('retina', detector_of('gfl'), teacher, (pyramid(8), pyramid(8)))
    del teacher.bbox_head.assigner
    with pytest.raises(ConfigError, match='train_cfg'):
        wired('gfl', detector_of('gfl'), teacher, (pyramid(8), pyramid(8)))


def test_a_teacher_in_half_precision_and_a_copy_of_the_student(tmp_path):
    config = detector_config('gfl', 8)
    teacher = build(config, 'mmdet')
    teacher.init_weights()
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    with DefaultScope.overwrite_default_scope(SCOPES['det']):
        model = distilled(
            build(detector_config('gfl', 4), 'mmdet'),
            teacher=dict(
                config=dict(default_scope='mmdet', model=config),
                checkpoint=str(tmp_path / 'teacher.pth'),
                precision='bf16',
            ),
            mixer=dict(type='mmkd.PatchMix'),
            methods=dict(crosskd=dict(type='mmkd.CrossKD', head='gfl', start=1)),
        )
        model.init_weights()
    inputs, samples = preprocessed(model.train(), 'det')
    for sample in samples:
        sample.gt_instances.labels %= CLASSES
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(inputs, samples, mode='loss')
    kd = {k: v for k, v in losses.items() if k.startswith('distill.')}
    assert len(kd) == len(PUBLISHED['gfl'])
    assert all(v.dtype == torch.float32 and v.isfinite() for v in kd.values())
    sum(kd.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.distiller.parameters())
    assert model.backbone.conv1.weight.grad.any()
    frozen = model.distiller.teachers[''].model
    assert all(p.grad is None for p in frozen.parameters()) and not frozen.training
    assert copy.deepcopy(model).distiller.methods['crosskd'].head is frozen.bbox_head
