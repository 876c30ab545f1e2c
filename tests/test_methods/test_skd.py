"""SKD: pooling, sizes, bad arguments, a step."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from support.naive import cells_of, dot
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import SKD
from mmkd.methods.skd import pairwise_loss


def pooled(x, side):
    """Return the maxima of windows that may reach beyond the map."""
    n, c, h, w = x.shape
    rows, columns = -(-h // side), -(-w // side)
    result = x.new_empty(n, c, rows, columns)
    for y in range(rows):
        for z in range(columns):
            window = x[:, :, y * side : (y + 1) * side, z * side : (z + 1) * side]
            result[:, :, y, z] = window.amax((2, 3))
    return result


@pytest.mark.parametrize('shapes', [((2, 4, 2, 3), (2, 6, 2, 3)), ((1, 3, 1, 1), (1, 3, 1, 1))])
def test_pairwise_loss(shapes):
    student, teacher = random(*shapes[0]), random(*shapes[1], seed=1)
    squares = []
    for s, t in zip(cells_of(student), cells_of(teacher)):
        for p in range(len(s)):
            for q in range(len(s)):
                squares.append((dot(s[p], s[q]) - dot(t[p], t[q])) ** 2)
    expected = sum(squares) / len(squares)
    assert float(pairwise_loss(student, teacher)) == pytest.approx(expected, rel=1e-6, abs=1e-15)
    assert pairwise_loss(teacher, teacher) == 0


@pytest.mark.parametrize('pool', [1, 2, 3])
def test_pools_then_compares(pool):
    """Two maps; channels differ, one is a single pixel."""
    student = [random(2, 3, 5, 4), random(2, 3, 1, 1, seed=1)]
    teacher = [random(2, 6, 5, 4, seed=2), random(2, 6, 1, 1, seed=3)]
    method = built(SKD('a', 'b', pool=pool), student, teacher)
    assert not list(method.parameters())
    expected = [pairwise_loss(pooled(s, pool), pooled(t, pool)) for s, t in zip(student, teacher)]
    loss = method.compute(student, teacher, plain_view())
    assert list(loss) == ['pairwise']
    assert float(loss['pairwise']) == pytest.approx(float(sum(expected)) / 2, rel=1e-9)


def test_sizes_and_mixed_images():
    student, teacher = [random(2, 3, 4, 4)], [random(2, 6, 8, 8, seed=1)]
    view = mixed_view(2)
    method = built(SKD('a', 'b'), student, teacher)
    resized = F.interpolate(student[0], (8, 8), mode='bilinear', align_corners=False)
    simulated = view.simulate(teacher[0])
    expected = pairwise_loss(pooled(resized, 2), pooled(simulated, 2))
    assert float(method.compute(student, teacher, view)['pairwise']) == pytest.approx(
        float(expected), rel=1e-9
    )
    same = built(SKD('a', 'b'), teacher, teacher)
    assert same.compute([simulated], teacher, view)['pairwise'] == 0
