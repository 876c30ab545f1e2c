"""AT against loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import AT
from mmkd.methods.at import activation_attention, attention_distance


def attention(x, p):
    """Return the rows of the normalized attention, cell by cell."""
    rows = []
    for i in range(x.shape[0]):
        cells = [
            sum(abs(float(v)) ** p for v in x[i, :, y, z]) / x.shape[1]
            for y in range(x.shape[2])
            for z in range(x.shape[3])
        ]
        norm = math.sqrt(sum(v**2 for v in cells))
        rows.append([v / norm for v in cells])
    return rows


def by_loops(student, teacher, p):
    pairs = [
        (a, b)
        for s, t in zip(attention(student, p), attention(teacher, p))
        for a, b in zip(s, t, strict=True)
    ]
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize('p', [1.0, 2.0, 3.0])
def test_equals_loops_for_different_channels(p):
    student, teacher = random(2, 3, 4, 5), random(2, 6, 4, 5, seed=1)
    assert activation_attention(student, p).tolist() == [
        pytest.approx(row) for row in attention(student, p)
    ]
    expected = by_loops(student, teacher, p)
    assert float(attention_distance(student, teacher, p)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ('student_size', 'teacher_size', 'size'),
    [((4, 4), (8, 8), (4, 4)), ((8, 8), (4, 4), (4, 4)), ((4, 9), (6, 3), (4, 3))],
)
def test_the_larger_map_is_pooled(student_size, teacher_size, size):
    student, teacher = random(2, 3, *student_size), random(2, 3, *teacher_size, seed=1)
    pooled = [F.adaptive_avg_pool2d(x, size) for x in (student, teacher)]
    expected = by_loops(*pooled, 2)
    assert float(attention_distance(student, teacher)) == pytest.approx(expected, rel=1e-9)


def test_zero_where_equal_on_one_cell_and_up_to_scale():
    x = random(2, 3, 4, 4)
    assert float(attention_distance(x, x)) == 0
    assert float(attention_distance(3 * x, x)) == pytest.approx(0, abs=1e-12)
    one = attention_distance(random(2, 3, 1, 1), random(2, 3, 1, 1, seed=1))
    assert float(one) == pytest.approx(0, abs=1e-12)


def test_dead_maps_are_finite():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = attention_distance(student, torch.zeros(2, 3, 4, 4))
    loss.backward()
    assert float(loss.detach()) == 0 and student.grad.isfinite().all()


@pytest.mark.parametrize('mixed', [False, True])
def test_levels_are_summed_of_simulated_maps(mixed):
    student = [random(2, 2, 8, 8), random(2, 4, 4, 4, seed=1)]
    teacher = [random(2, 3, 8, 8, seed=2), random(2, 5, 4, 4, seed=3)]
    view = mixed_view(2) if mixed else plain_view()
    method = built(AT('a', 'b'), student, teacher)
    assert not list(method.parameters())
    loss = method.compute(student, teacher, view)
    assert list(loss) == ['at']
    expected = sum(by_loops(s, view.simulate(t), 2) for s, t in zip(student, teacher))
    assert float(loss['at']) == pytest.approx(expected, rel=1e-9)


def test_default_weight_is_the_published_one():
    method = built(AT('a', 'b'), [random(1, 1, 2, 2)], [random(1, 1, 2, 2)])
    assert method.schedule.value == 1000
