"""Feature augmentations against loops, and their derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from support.views import random
from torch.autograd import gradcheck

from mmkd.functional import OPERATIONS, augment, relaxed_bernoulli, relaxed_choice

SHAPE = (2, 3, 4, 5)
# Where the straight-through draw has another derivative than its value.
SMOOTH = ('gain', 'noise', 'cutout', 'blur')


def drawn(name: str, shape=SHAPE, seed: int = 0) -> torch.Tensor:
    """Return an operation's random numbers in fp64."""
    return OPERATIONS[name].draw(shape, torch.Generator().manual_seed(seed)).double()


def strength(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.double)


def by_loops(name: str, x: torch.Tensor, s: float, draw: torch.Tensor) -> torch.Tensor:
    """Return an operation's result, cell by cell."""
    out = torch.zeros_like(x)
    n, channels, height, width = x.shape
    for i in range(n):
        for c in range(channels):
            cells = x[i, c].flatten().tolist()
            mean = sum(cells) / len(cells)
            std = math.sqrt(sum((v - mean) ** 2 for v in cells) / len(cells))
            for h in range(height):
                for w in range(width):
                    v = float(x[i, c, h, w])
                    if name == 'gain':
                        v *= 1 + s * float(draw[i, c])
                    if name == 'noise':
                        v += s * std * float(draw[i, c, h, w])
                    if name == 'drop' and float(draw[i, c]) > 1 - s:
                        v = mean
                    if name == 'cutout':
                        part = 1.0
                        for at, length, k in ((0, width, w), (1, height, h)):
                            center, half = float(draw[i, at]) * length, s * length / 2
                            part *= max(0.0, min(k + 1, center + half) - max(k, center - half))
                        v += part * (mean - v)
                    if name == 'blur':
                        smooth = 0.0
                        for dh, a in ((-1, 1), (0, 2), (1, 1)):
                            for dw, b in ((-1, 1), (0, 2), (1, 1)):
                                row = min(max(h + dh, 0), height - 1)
                                column = min(max(w + dw, 0), width - 1)
                                smooth += a * b / 16 * float(x[i, c, row, column])
                        v += s * (smooth - v)
                    out[i, c, h, w] = v
    return out


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('s', [0.35, 1.0])
def test_operations_equal_loops(name, s):
    x = random(*SHAPE) + 1
    draw = drawn(name)
    result = OPERATIONS[name].apply(x, strength(s), draw)
    expected = by_loops(name, x, s, draw)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(result, x)


@pytest.mark.parametrize('name', OPERATIONS)
def test_no_strength_is_the_identity_bit_for_bit(name):
    x = random(*SHAPE)
    assert torch.equal(OPERATIONS[name].apply(x, strength(0.0), drawn(name)), x)
    one = random(2, 3, 1, 1)  # a map of one cell has no deviation
    assert OPERATIONS[name].apply(one, strength(1.0), drawn(name, one.shape)).isfinite().all()


@pytest.mark.parametrize('name', SMOOTH)
def test_derivatives(name):
    draw = drawn(name)
    x = random(*SHAPE).requires_grad_()
    s = strength(0.4).requires_grad_()
    assert gradcheck(lambda x, s: OPERATIONS[name].apply(x, s, draw), (x, s))
    (moved,) = torch.autograd.grad(OPERATIONS[name].apply(x, s, draw).square().sum(), s)
    assert moved != 0


def test_a_relaxed_draw_is_exact_and_has_the_relaxed_derivative():
    u = torch.rand(20000, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    p = torch.full_like(u, 0.3).requires_grad_()
    b = relaxed_bernoulli(p, u, tau=0.5)
    torch.testing.assert_close(b.detach(), (u > 0.7).double(), rtol=0, atol=1e-15)
    assert float(b.detach().mean()) == pytest.approx(0.3, abs=0.01)

    def soft(p):
        return (((p / (1 - p)).log() + (u / (1 - u)).log()) / 0.5).sigmoid()

    (got,) = torch.autograd.grad(b.sum(), p)
    (expected,) = torch.autograd.grad(soft(p).sum(), p)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)
    for value in (0.0, 1.0):  # nobody can bring it back, but nothing breaks
        edge = torch.tensor(value, dtype=torch.double, requires_grad=True)
        b = relaxed_bernoulli(edge, u)
        torch.testing.assert_close(b.detach(), torch.full_like(u, value), rtol=0, atol=1e-15)
        assert torch.autograd.grad(b.sum(), edge)[0].isfinite()


def test_a_relaxed_choice_equals_loops_and_its_largest_entry_is_an_exact_draw():
    logits = torch.tensor([0.5, -1.0, 1.0], dtype=torch.double)
    u = torch.rand(20000, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    c = relaxed_choice(logits, u, tau=0.7)
    for row in range(5):
        score = [float(pi) - math.log(-math.log(float(v))) for pi, v in zip(logits, u[row])]
        total = sum(math.exp(v / 0.7) for v in score)
        for k in range(3):
            expected = math.exp(score[k] / 0.7) / total
            assert float(c[row, k]) == pytest.approx(expected, rel=1e-9)
    share = torch.bincount(c.argmax(1), minlength=3) / len(u)
    torch.testing.assert_close(share.double(), logits.softmax(0), rtol=0, atol=0.01)
    logits.requires_grad_()
    assert gradcheck(lambda z: relaxed_choice(z, u[:4], 0.7), (logits,))


def test_a_sub_policy_is_one_operation_after_the_other_where_drawn():
    x = random(4, *SHAPE[1:])
    names = ('blur', 'gain')
    draws = [drawn(name, x.shape) for name in names]
    magnitudes = torch.tensor([0.5, 0.8], dtype=torch.double)
    applied = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.double)
    result = augment(x, names, magnitudes, applied, draws)
    for i in range(4):
        expected = x[i : i + 1]
        for slot, name in enumerate(names):
            if applied[i, slot]:
                s = float(magnitudes[slot]) * OPERATIONS[name].cap
                expected = by_loops(name, expected, s, draws[slot][i : i + 1])
        torch.testing.assert_close(result[i : i + 1], expected, rtol=1e-9, atol=1e-9)
    soft = torch.full_like(applied, 0.3).requires_grad_()
    magnitudes.requires_grad_()
    assert gradcheck(lambda m, b: augment(x, names, m, b, draws), (magnitudes, soft))


def test_hard_choice_equals_loops():
    logits, tau = random(3), 0.7
    uniform = torch.rand(6, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    uniform[0, 0] = 0.0
    values = logits.tolist()
    logits.requires_grad_()
    choice = relaxed_choice(logits, uniform, tau, hard=True)
    weights = random(6, 3, seed=3)
    (gradient,) = torch.autograd.grad((choice * weights).sum(), logits)
    expected = torch.zeros(3, dtype=torch.double)
    for n in range(6):
        scores = []
        for m in range(3):
            u = min(max(float(uniform[n, m]), 1e-6), 1 - 1e-6)
            scores.append(values[m] - math.log(-math.log(u)))
        best = scores.index(max(scores))
        assert choice[n].tolist() == [float(m == best) for m in range(3)]
        powers = [math.exp((s - max(scores)) / tau) for s in scores]
        soft = [p / sum(powers) for p in powers]
        for m in range(3):
            for k in range(3):
                slope = soft[k] * ((k == m) - soft[m]) / tau
                expected[m] += float(weights[n, k]) * slope
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-9)


def test_hard_choices_follow_the_probabilities():
    logits = torch.tensor([0.0, 1.0, -1.0])
    uniform = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
    shares = relaxed_choice(logits, uniform, hard=True).mean(0)
    torch.testing.assert_close(shares, logits.softmax(0), rtol=0, atol=0.015)
