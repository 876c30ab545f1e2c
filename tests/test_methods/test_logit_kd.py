"""LogitKD against loops, for images, pixels and dense heads."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from support import naive
from support.tiny_models import make_student, teacher_config
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import DIST, LogitKD
from mmkd.methods.logit_kd import dense_binary_kl
from mmkd.mixers import MixUp, PatchMix
from mmkd.utils import ConfigError


@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_image_logits(tau):
    """With mixture: the teacher's distributions, weighted by area."""
    batch = 3
    mixer = PatchMix(grid=(4, 4), num_images=3)
    view = mixed_view(batch, mixer)
    share = naive.shares(naive.source_maps(mixer, batch, (16, 16)))
    student, teacher = random(batch, 5), random(batch, 5, seed=1)
    method = built(LogitKD('a', 'b', tau=tau), [student], [teacher])
    for seen, weights in ((view, share), (plain_view(batch), torch.eye(batch))):
        total = 0.0
        for i in range(batch):
            target = [0.0] * 5
            for j in range(batch):
                probs = naive.softmax([v / tau for v in teacher[j].tolist()])
                target = [a + float(weights[i, j]) * p for a, p in zip(target, probs)]
            total += naive.kl(target, student[i].tolist(), tau) / batch
        loss = method.compute([student], [teacher], seen)
        assert list(loss) == ['kd']
        assert float(loss['kd']) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize('shape', [(3, 5), (2, 4, 2, 3)])
def test_with_the_entropy_it_is_a_cross_entropy_with_the_same_gradient(shape):
    student, teacher = random(*shape).requires_grad_(), random(*shape, seed=1)
    losses = {}
    for entropy in (False, True):
        method = built(LogitKD('a', 'b', tau=2.0, entropy=entropy), [student], [teacher])
        losses[entropy] = method.compute([student], [teacher], plain_view(len(student)))['kd']
    rows, targets = ((x / 2).movedim(1, -1).reshape(-1, shape[1]) for x in (student, teacher))
    expected = [
        -sum(p * q for p, q in zip(t.softmax(0).tolist(), s.log_softmax(0).tolist()))
        for s, t in zip(rows.detach(), targets)
    ]
    assert float(losses[True].detach()) == pytest.approx(4 * sum(expected) / len(expected))
    gradients = [torch.autograd.grad(value, student)[0] for value in losses.values()]
    assert torch.equal(*gradients)


def test_the_entropy_is_not_for_sigmoids():
    with pytest.raises(ConfigError, match='entropy: must be False for a head of sigmoids'):
        LogitKD('a', 'b', activation='sigmoid', entropy=True)


def test_pixel_logits():
    batch = 2
    mixer = PatchMix(variant='permutation', grid=(2, 2))
    view = mixed_view(batch, mixer)
    maps = naive.source_maps(mixer, batch, (16, 16))
    student, teacher = random(batch, 4, 3, 8), random(batch, 4, 6, 8, seed=1)
    method = built(LogitKD('a', 'b', tau=2.0, resize=True), [student], [teacher])
    probs = naive.simulated((teacher / 2).softmax(1), maps)
    resized = F.interpolate(student, (6, 8), mode='bilinear', align_corners=False)
    total = [
        naive.kl(probs[n, :, y, x].tolist(), resized[n, :, y, x].tolist(), 2.0)
        for n in range(batch)
        for y in range(6)
        for x in range(8)
    ]
    loss = method.compute([student], [teacher], view)['kd']
    assert float(loss) == pytest.approx(sum(total) / len(total), rel=1e-6)


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_dense_head(activation):
    """Two anchors, three classes, two levels; the mean over the levels."""
    classes, tau = 3, 2.0
    student = [random(2, 6, 4, 4), random(2, 6, 1, 1, seed=1)]
    teacher = [random(2, 6, 4, 4, seed=2), random(2, 6, 1, 1, seed=3)]
    method = built(
        LogitKD('a', 'b', tau=tau, activation=activation, num_classes=classes), student, teacher
    )
    levels = []
    for s, t in zip(student, teacher):
        total = weights = 0.0
        for n in range(2):
            for a in range(2):
                for y in range(s.shape[2]):
                    for x in range(s.shape[3]):
                        rows = [v[n, 3 * a : 3 * a + 3, y, x].tolist() for v in (s, t)]
                        if activation == 'softmax':
                            probs = naive.softmax([v / tau for v in rows[1]])
                            total += naive.kl(probs, rows[0], tau)
                            weights += 1
                        else:
                            weight = max(naive.sigmoid(v) for v in rows[1])
                            weights += weight
                            total += (
                                weight
                                * tau**2
                                * sum(
                                    naive.binary_kl(naive.sigmoid(v / tau), naive.sigmoid(u / tau))
                                    for u, v in zip(*rows)
                                )
                            )
        levels.append(total / weights)
    loss = method.compute(student, teacher, plain_view())['kd']
    assert float(loss) == pytest.approx(sum(levels) / 2, rel=1e-6)


@pytest.mark.parametrize('kwargs', [{}, dict(activation='sigmoid', num_classes=2)])
@pytest.mark.parametrize('shape', [(2, 4), (2, 4, 8, 8)])
def test_logits_zero_where_equal(kwargs, shape):
    teacher = random(*shape)
    if len(shape) == 2 and kwargs:
        kwargs = dict(activation='sigmoid')
    method = built(LogitKD('a', 'b', tau=2.0, **kwargs), [teacher], [teacher])
    loss = method.compute([teacher.clone()], [teacher], plain_view())['kd']
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_pooled_is_the_teachers_own_neck_and_head_on_the_simulated_map(tmp_path):
    """Also of one linear head: the sum over the kept cells of every source."""
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path),
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher=dict(module='backbone', levels=(-1,)),
                logit_sim='pooled',
                tau=2.0,
            )
        ),
    )
    teacher = model.distiller.teachers[''].model
    mixer = PatchMix(grid=(2, 2), num_images=2)
    view = mixed_view(3, mixer, (32, 32))
    maps = naive.source_maps(mixer, 3, (32, 32))
    feature, student = random(3, 64, 4, 4).float(), random(3, 5, seed=1).float()
    method = model.distiller.methods['logits']
    loss = method.compute([student], [feature], view)['kd']
    logits = naive.simulated(feature, maps).mean((2, 3)) @ teacher.head.fc.weight.T
    logits = (logits + teacher.head.fc.bias).detach()
    expected = [
        naive.kl(naive.softmax([v / 2 for v in t]), s, 2.0)
        for s, t in zip(student.tolist(), logits.tolist())
    ]
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-4)
    # Evidence that is cut away adds nothing: cells of the teacher's map that no patch shows.
    hidden = feature.clone()
    for j in range(3):
        for y in range(4):
            for x in range(4):
                shown = any(maps[i][y * 8 + 1][x * 8 + 1] == j for i in range(3))
                hidden[j, :, y, x] += 0 if shown else 100
    assert not torch.equal(hidden, feature)
    torch.testing.assert_close(method.compute([student], [hidden], view)['kd'], loss)
    # A copy with averaged weights shares the teacher.
    copied = copy.deepcopy(model).distiller.methods['logits']
    assert copied._classifier[0] is model.distiller.teachers['']


def test_mixup_of_sigmoid_scores_is_finite():
    view = mixed_view(2, MixUp(teacher_on_mixed=False))
    student, teacher = [random(2, 4, 8, 8)], [random(2, 4, 8, 8, seed=1)]
    method = built(LogitKD('a', 'b', activation='sigmoid', num_classes=2), student, teacher)
    assert method.compute(student, teacher, view)['kd'].isfinite()


def test_logits_of_regions_are_refused():
    """A two-stage detector's classifier sees hundreds of rows, and others in the teacher."""
    rows = [random(6, 4)]
    method = built(LogitKD('a', 'b'), rows, rows)
    with pytest.raises(ConfigError, match='6 rows of logits for 2 images'):
        method.compute(rows, rows, plain_view(2))


def test_one_prior_in_each_cell():
    """GFL, ATSS and FCOS have one; all channels are classes then, with `num_classes` or without."""
    student, teacher = [random(2, 3, 4, 4)], [random(2, 3, 4, 4, seed=1)]
    losses = [
        float(built(m, student, teacher).compute(student, teacher, plain_view())['kd'])
        for m in (
            LogitKD('a', 'b', activation='sigmoid'),
            LogitKD('a', 'b', activation='sigmoid', num_classes=3),
        )
    ]
    assert losses[0] == losses[1] > 0


@pytest.mark.parametrize('tau', [1.0, 2.0])
@pytest.mark.parametrize('shape', [(7, 3), (1, 1), (5, 1)])
def test_binary_kl_equals_loops(shape, tau):
    student, teacher = random(*shape), random(*shape, seed=1)
    total = weights = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist()):
        weight = max(naive.sigmoid(t) for t in t_row)
        divergence = sum(
            naive.binary_kl(naive.sigmoid(t / tau), naive.sigmoid(s / tau))
            for s, t in zip(s_row, t_row)
        )
        total += weight * divergence
        weights += weight
    loss = dense_binary_kl(student, teacher, tau)
    assert float(loss) == pytest.approx(tau**2 * total / weights, rel=1e-6)
    assert float(dense_binary_kl(teacher, teacher, tau)) == pytest.approx(0, abs=1e-12)


def test_binary_kl_is_finite_for_extreme_scores():
    student, teacher = torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]])
    assert dense_binary_kl(student, teacher).isfinite()
    assert dense_binary_kl(student, torch.full((1, 2), -1e4)).isfinite()


@pytest.mark.parametrize(
    ('model', 'shape', 'what'),
    [
        (SimpleNamespace(num_queries=100), (6, 2, 100, 5), 'queries'),
        (SimpleNamespace(decode_head=SimpleNamespace(num_queries=100)), (2, 5, 8, 8), 'queries'),
        (SimpleNamespace(), (2, 100, 5), 'queries'),
        (make_student('det'), (40, 5), 'proposals'),
    ],
)
@pytest.mark.parametrize('method', [LogitKD, DIST])
def test_logits_that_do_not_correspond(method, model, shape, what):
    logits = [torch.zeros(shape)]
    with pytest.raises(ConfigError, match=rf'^student: yields logits of {what}: .*do not corresp'):
        method('head', 'head').build(model, logits, logits, {})
