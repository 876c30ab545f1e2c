"""ACAM against loops, and its ablations."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import ACAM
from mmkd.methods.acam import MAX_CELLS, activation_masks, area_balance

ABLATIONS = {
    'default': {},
    'spatial': dict(masks_from='spatial'),
    'channel': dict(masks_from='channel'),
    'teacher': dict(fusion='teacher'),
    'reversed': dict(fusion='reversed'),
    'fixed': dict(fusion='fixed'),
    'fixed-spatial': dict(fusion='fixed', masks_from='spatial'),
    'detached': dict(detach_student_in_mask=True),
    'literal': dict(reduction='literal'),
    'weighted': dict(reduction='weighted_mean'),
    'pooled': dict(pool=2),
    'checkpoint': dict(checkpoint=True),
    'one-mask': dict(num_masks=1),
    'no-diversity': dict(diversity=0.0),
    'no-area': dict(area=0.0),
    'difference': dict(seek='difference'),
}


def acam(student, teacher, seed=5, **arguments):
    """Return a built ACAM whose masks are far from ½."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = built(ACAM('a', 'b', **arguments), student, teacher)
        for unit in method.units:
            for weight in (unit.spatial, unit.channel):
                if weight is not None:
                    torch.nn.init.normal_(weight, std=1.0)
    return method


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive_masks(unit, query, key):
    """Return spatial masks (M, P) and channel masks (M, C) of one image as lists, by loops."""
    wq, wk, wv = (w.weight[:, :, 0, 0].detach() for w in (unit.query, unit.key, unit.value))
    channels, cells, others = query.shape[0], query[0].numel(), key[0].numel()
    query, key = query.flatten(1), key.flatten(1)
    fused = []
    for p in range(cells):
        scores = [
            float((wq @ query[:, p]) @ (wk @ key[:, s])) / math.sqrt(channels // 2)
            for s in range(others)
        ]
        weights = [math.exp(score) for score in scores]
        values = [wv @ key[:, s] for s in range(others)]
        fused.append(sum(w / sum(weights) * v for w, v in zip(weights, values)))
    spatial = [
        [sigmoid(float(token @ fused[p])) for p in range(cells)] for token in unit.spatial.detach()
    ]
    mean = sum(fused) / cells
    channel = [
        [sigmoid(float(token[0] * mean[c])) for c in range(channels)]
        for token in unit.channel.detach()
    ]
    return spatial, channel


def naive_dice(masks):
    pairs = []
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            if i != j:
                squares = sum(x * x for x in a) + sum(x * x for x in b)
                pairs.append(2 * sum(x * y for x, y in zip(a, b)) / squares)
    return sum(pairs) / len(pairs)


def naive_acam(method, student, teacher):
    """Return the losses, image by image, mask by mask, cell by cell."""
    losses = dict(spatial=0.0, channel=0.0, diversity=0.0, area=0.0)
    literal = method.reduction == 'literal'
    for adapter, unit, s_map, t_map in zip(method.adapters, method.units, student, teacher):
        s_map = adapter(s_map, t_map.shape[-2:]).detach()
        n, c, h, w = t_map.shape
        found = [naive_masks(unit, t, s) for s, t in zip(s_map, t_map)]
        for kind in zip(*found):  # the masks of all images, by kind
            for same in zip(*kind):
                entries = [value for mask in same for value in mask]
                area = sum(entries) / len(entries)
                balance = -math.log(2 * math.sqrt(area * (1 - area)))
                losses['area'] += method.area * balance / method.num_masks
        for (spatial, channel), s, t in zip(found, s_map, t_map):
            d = (t - s).flatten(1)
            terms = dict(spatial=0.0, channel=0.0)
            for mask in spatial:
                norm = sum((mask[p] * float(d[k, p])) ** 2 for k in range(c) for p in range(h * w))
                terms['spatial'] += sum(mask) * norm / c if literal else norm / (c * sum(mask))
            for mask in channel:
                norm = sum((mask[k] * float(d[k, p])) ** 2 for k in range(c) for p in range(h * w))
                area = sum(mask)
                terms['channel'] += area * norm / (h * w) if literal else norm / (h * w * area)
            for name, value in terms.items():
                losses[name] += method.alpha * value / len(spatial) / n
            losses['diversity'] += (naive_dice(spatial) + naive_dice(channel)) / n
    losses['diversity'] *= method.diversity
    return losses


@pytest.mark.parametrize('reduction', ['mask_sum', 'literal'])
@pytest.mark.parametrize('student_channels', [None, 3])
def test_acam_equals_loops(student_channels, reduction):
    shapes = [(2, 4, 3, 4), (2, 5, 2, 2), (2, 2, 1, 1)]  # an odd width, a single cell
    teacher = [random(*s, seed=i) for i, s in enumerate(shapes)]
    student = [random(s[0], student_channels or s[1], *s[2:], seed=9) for s in shapes]
    method = acam(
        student, teacher, num_masks=3, alpha=0.7, diversity=0.3, area=0.2, reduction=reduction
    )
    losses = method.compute(student, teacher, plain_view())
    expected = naive_acam(method, student, teacher)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert float(losses[name].detach()) == pytest.approx(value, rel=1e-6)


def test_masks_and_their_areas():
    teacher = [random(2, 4, 3, 4), random(2, 6, 2, 2, seed=1)]
    student = [random(2, 4, 3, 4, seed=2), random(2, 6, 1, 1, seed=3)]  # is interpolated
    method = acam(student, teacher, num_masks=3, resize=True)
    masks = method.masks(student, teacher, plain_view())
    method.compute(student, teacher, plain_view())
    areas = dict(spatial=[], channel=[])
    for level, (s, t) in enumerate(zip(student, teacher)):
        assert masks[level].shape == (2, 3, *t.shape[2:]) and not masks[level].requires_grad
        for i in range(2):
            aligned = method.adapters[level](s, t.shape[-2:])[i]
            spatial, channel = naive_masks(method.units[level], t[i], aligned)
            drawn = masks[level][i].flatten(1)
            torch.testing.assert_close(drawn, torch.tensor(spatial, dtype=torch.double))
            for kind, found in (('spatial', spatial), ('channel', channel)):
                areas[kind].append(torch.tensor(found, dtype=torch.double).mean(1))
    assert len(method.monitored) == 6
    for kind, values in areas.items():
        area = torch.stack(values).view(2, 2, 3).mean(1)  # of every level and mask
        for name, expected in dict(_min=area.min(), _max=area.max()).items():
            assert float(method.monitored[f'area_{kind}{name}']) == pytest.approx(float(expected))
        mean = method.monitored[f'area_{kind}']
        assert float(mean) == pytest.approx(float(area.mean())) and not mean.requires_grad


def test_masks_of_ones_give_the_plain_mean_squared_difference():
    student, teacher = [random(2, 4, 3, 4)], [random(2, 4, 3, 4, seed=1)]
    method = acam(student, teacher, diversity=0.0, area=0.0)
    ones = [torch.ones(2, 6, *shape).double() for shape in ((3, 4), (4,))]
    method.compute_masks = lambda *args: tuple(ones)
    losses = method.compute(student, teacher, plain_view())
    mse = float((student[0] - teacher[0]).square().mean())
    assert [float(v) for v in losses.values()] == pytest.approx([mse, mse], rel=1e-6)


@pytest.mark.parametrize('name', ABLATIONS)
@pytest.mark.parametrize('student_channels', [4, 3])
def test_every_ablation_uses_all_its_parameters(name, student_channels):
    teacher = [random(2, 4, 4, 5), random(2, 6, 2, 2, seed=1)]
    student = [random(2, student_channels, *t.shape[2:], seed=2).requires_grad_() for t in teacher]
    method = acam(student, teacher, **ABLATIONS[name])
    losses = method.compute(student, teacher, mixed_view(2))
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.parameters())
    assert all(s.grad.any() for s in student)
    fixed = name.startswith('fixed')
    kinds = {'spatial', 'channel'} - {dict(spatial='channel', channel='spatial').get(name)}
    kinds -= {'channel'} if name == 'fixed-spatial' else set()
    mask_terms = {'diversity', 'area'} - {name.replace('no-', '')}
    mask_terms -= {'diversity'} if name == 'one-mask' else set()
    assert set(losses) == kinds | (set() if fixed else mask_terms)
    assert bool(list(method.units)) == (not fixed)


def test_a_detached_student_moves_no_mask():
    """The gradient that it gets is that of constant masks."""
    teacher, student = [random(2, 4, 3, 4)], [random(2, 4, 3, 4, seed=1).requires_grad_()]
    gradients = []
    for detach in (False, True):
        method = acam(student, teacher, detach_student_in_mask=detach, diversity=0.0, area=0.0)
        loss = sum(method.compute(student, teacher, plain_view()).values())
        gradients.append(torch.autograd.grad(loss, student)[0])
    spatial, channel = (m.detach() for m in method.compute_masks(0, student[0], teacher[0]))
    method.compute_masks = lambda *args: (spatial, channel)
    loss = sum(method.compute(student, teacher, plain_view()).values())
    (expected,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradients[1], expected)
    assert (gradients[0] - expected).abs().max() > 1e-3 * expected.abs().max()


def test_the_teacher_alone_chooses_its_masks():
    teacher = [random(2, 4, 3, 4)]
    students = [[random(2, 4, 3, 4, seed=seed)] for seed in (1, 2)]
    for fusion, same in (('cooperative', False), ('teacher', True), ('fixed', True)):
        method = acam(students[0], teacher, fusion=fusion)
        masks = [method.masks(s, teacher, plain_view())[0] for s in students]
        assert torch.equal(*masks) == same
    assert acam(students[0], teacher, masks_from='channel').masks(students[0], teacher, None) == []


def test_who_asks_and_who_answers():
    student, teacher = [random(1, 4, 3, 4)], [random(1, 4, 3, 4, seed=1)]
    s, t = student[0][0], teacher[0][0]
    for fusion, sides in dict(cooperative=(t, s), reversed=(s, t), teacher=(t, t)).items():
        method = acam(student, teacher, fusion=fusion)
        (masks,) = method.masks(student, teacher, plain_view(1))
        spatial, _ = naive_masks(method.units[0], *sides)
        torch.testing.assert_close(masks[0].flatten(1), torch.tensor(spatial, dtype=torch.double))


def test_pooled_keys_are_averages():
    teacher, student = [random(1, 4, 4, 6)], [random(1, 4, 4, 6, seed=1)]
    method = acam(student, teacher, pool=2)
    (masks,) = method.masks(student, teacher, plain_view(1))
    averaged = student[0].view(1, 4, 2, 2, 3, 2).mean((3, 5))
    spatial, _ = naive_masks(method.units[0], teacher[0][0], averaged[0])
    torch.testing.assert_close(masks[0].flatten(1), torch.tensor(spatial, dtype=torch.double))


def test_recomputing_changes_nothing():
    teacher, student = [random(2, 4, 3, 4)], [random(2, 4, 3, 4, seed=1).requires_grad_()]
    results = []
    for checkpoint in (False, True):
        method = acam(student, teacher, checkpoint=checkpoint)
        loss = sum(method.compute(student, teacher, plain_view()).values())
        results.append((loss, *torch.autograd.grad(loss, [*student, *method.parameters()])))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_auto_pools_large_maps_and_says_so_once(monkeypatch):
    maps = [random(1, 2, 3, 3)]
    method = acam(maps, maps)
    messages = []
    monkeypatch.setattr(
        'mmkd.utils.errors.print_log', lambda text, level, **_: messages.append((level, text))
    )
    assert [method.pool_factor(0, size) for size in [(1, 1), (100, 200)]] == [1, 1]
    assert not messages
    assert method.pool_factor(0, (200, 336)) == 4
    assert (200 * 336) ** 2 / 4**2 <= MAX_CELLS**2 < (200 * 336) ** 2 / 3**2
    assert method.pool_factor(0, (200, 336)) == 4
    ((level, text),) = messages
    assert level == logging.WARNING
    assert text.startswith('ACAM.pool: level 0 has 200×336 = 67200 locations')
    assert acam(maps, maps, pool=1).pool_factor(0, (200, 336)) == 1
    assert len(messages) == 1


def test_activation_masks():
    x = random(2, 3, 4, 5)
    spatial, channel = activation_masks(x)
    assert spatial.shape == (2, 1, 4, 5) and channel.shape == (2, 1, 3)
    for i in range(2):
        cells = [float(x[i, :, p // 5, p % 5].abs().mean()) for p in range(20)]
        channels = [float(x[i, c].abs().mean()) for c in range(3)]
        for values, mask in ((cells, spatial[i, 0]), (channels, channel[i, 0])):
            mean = sum(values) / len(values)
            std = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) + 1e-6
            expected = [1 / (1 + math.exp(-(v - mean) / std)) for v in values]
            assert mask.flatten().tolist() == pytest.approx(expected, rel=1e-9)
    spatial, channel = activation_masks(random(2, 1, 1, 1))
    assert spatial.flatten().tolist() == channel.flatten().tolist() == [0.5, 0.5]


@pytest.mark.parametrize('shape', [(2, 3, 7), (1, 1, 1)])
def test_area_balance_equals_loops(shape):
    masks = random(*shape).sigmoid()
    n, m, p = shape
    expected = 0.0
    for j in range(m):
        area = sum(float(masks[i, j, k]) for i in range(n) for k in range(p)) / (n * p)
        expected += (0.5 * math.log(0.5 / area) + 0.5 * math.log(0.5 / (1 - area))) / m
    assert float(area_balance(masks)) == pytest.approx(expected, rel=1e-9)


def test_area_balance_sees_the_area_alone():
    half = torch.tensor([0.0, 1.0]).repeat(8)[None, None].double()
    assert float(area_balance(half)) == pytest.approx(0.0, abs=1e-12)
    assert float(area_balance(torch.full((2, 3, 4), 0.05))) == pytest.approx(0.83, abs=0.01)
    for value in (0.0, 1.0):  # finite, however full or empty
        assert 6 < float(area_balance(torch.full((2, 3, 4), value))) < 8
    logits = torch.full((1, 1, 6), -4.0, dtype=torch.double, requires_grad=True)
    area_balance(logits.sigmoid()).backward()
    assert (logits.grad < 0).all()  # it opens a mask that is nearly closed
    assert torch.autograd.gradcheck(
        lambda x: area_balance(x.sigmoid()), random(2, 2, 3).requires_grad_()
    )


@pytest.mark.parametrize('reduction', ['mask_sum', 'weighted_mean'])
def test_the_area_term_keeps_trained_masks_from_closing(reduction):
    """200 steps of the masks' own parameters, as a student trains them."""
    teacher = [random(2, 8, 6, 6)]
    student = [random(2, 8, 6, 6, seed=1)]
    extremes = {}
    for area in (0.0, 2.0):
        torch.manual_seed(0)
        method = built(
            ACAM('a', 'b', num_masks=4, area=area, reduction=reduction), student, teacher
        )
        optimizer = torch.optim.AdamW(method.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            sum(method.compute(student, teacher, plain_view()).values()).backward()
            optimizer.step()
        found = {k: float(v) for k, v in method.monitored.items()}
        extremes[area] = [found[f'area_{kind}_min'] for kind in ('spatial', 'channel')]
        extremes[area] += [1 - found[f'area_{kind}_max'] for kind in ('spatial', 'channel')]
    assert min(extremes[2.0]) > 0.05
    assert min(extremes[0.0]) < 0.02


def test_masks_that_seek_the_difference_go_where_the_loss_is_larger():
    """Same loss; the masks' gradient is reversed, the student's is that of constant masks."""
    teacher, student = [random(2, 4, 3, 4)], [random(2, 4, 3, 4, seed=1).requires_grad_()]
    losses, masks, students = [], [], []
    for seek in ('agreement', 'difference'):
        method = acam(
            student, teacher, seek=seek, diversity=0.0, area=0.0, detach_student_in_mask=True
        )
        loss = sum(method.compute(student, teacher, plain_view()).values())
        gradients = torch.autograd.grad(loss, [method.units[0].spatial, student[0]])
        losses.append(loss.detach())
        masks.append(gradients[0])
        students.append(gradients[1])
    assert torch.equal(*losses) and masks[0].any()
    torch.testing.assert_close(masks[0], -masks[1])
    torch.testing.assert_close(*students)


def test_the_literal_reduction_is_deprecated():
    with pytest.warns(FutureWarning, match=r"use reduction='mask_sum'"):
        ACAM('a', 'b', reduction='literal')
