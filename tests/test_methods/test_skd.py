"""SKD against loops: pooling, the norm, sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.naive import cells_of, dot
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import SKD
from mmkd.methods.skd import pairwise_loss


def pooled(x, pool):
    """Return the maxima of windows that may reach beyond the map."""
    n, c, h, w = x.shape
    high, wide = (pool, pool) if pool >= 1 else (max(1, int(pool * side)) for side in (h, w))
    rows, columns = -(-h // high), -(-w // wide)
    result = x.new_empty(n, c, rows, columns)
    for y in range(rows):
        for z in range(columns):
            window = x[:, :, y * high : (y + 1) * high, z * wide : (z + 1) * wide]
            result[:, :, y, z] = window.amax((2, 3))
    return result


@pytest.mark.parametrize('detach_norm', [True, False])
@pytest.mark.parametrize('shapes', [((2, 4, 2, 3), (2, 6, 2, 3)), ((1, 3, 1, 1), (1, 3, 1, 1))])
def test_pairwise_loss(shapes, detach_norm):
    student, teacher = random(*shapes[0]), random(*shapes[1], seed=1)
    squares = []
    for s, t in zip(cells_of(student), cells_of(teacher)):
        for p in range(len(s)):
            for q in range(len(s)):
                squares.append((dot(s[p], s[q]) - dot(t[p], t[q])) ** 2)
    expected = sum(squares) / len(squares)
    loss = float(pairwise_loss(student, teacher, detach_norm))
    assert loss == pytest.approx(expected, rel=1e-6, abs=1e-15)
    assert pairwise_loss(teacher, teacher, detach_norm) == 0


def test_gradient_with_and_without_the_norm():
    """Through the norm it is orthogonal to every location; with a constant norm it is not."""
    student, teacher = random(2, 4, 2, 3).requires_grad_(), random(2, 6, 2, 3, seed=1)
    (grad,) = torch.autograd.grad(pairwise_loss(student, teacher, detach_norm=False), student)
    assert (grad * student).sum(1).abs().max() < 1e-12
    norms = student.norm(dim=1).flatten(1).tolist()
    error = 0
    for n, cells in enumerate(student.flatten(2)):
        for p in range(6):
            for q in range(6):
                ours = (cells[:, p] * cells[:, q]).sum() / (norms[n][p] * norms[n][q])
                theirs = dot(*(cells_of(teacher)[n][i] for i in (p, q)))
                error = error + (ours - theirs) ** 2 / 72
    expected, found = (
        torch.autograd.grad(loss, student)[0] for loss in (error, pairwise_loss(student, teacher))
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert (found - grad).norm() > 0.1 * grad.norm()


@pytest.mark.parametrize('pool', [1, 2, 3, 0.5, 0.34])
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
    method = built(SKD('a', 'b', pool=2, resize=True), student, teacher)
    resized = F.interpolate(student[0], (8, 8), mode='bilinear', align_corners=False)
    simulated = view.simulate(teacher[0])
    expected = pairwise_loss(pooled(resized, 2), pooled(simulated, 2))
    assert float(method.compute(student, teacher, view)['pairwise']) == pytest.approx(
        float(expected), rel=1e-9
    )
    same = built(SKD('a', 'b'), teacher, teacher)
    assert same.compute([simulated], teacher, view)['pairwise'] == 0
