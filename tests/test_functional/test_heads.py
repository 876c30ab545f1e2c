"""Losses between dense heads against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.functional import distribution_kl, prior_rows, quality_focal_kd


def test_prior_rows_are_in_the_order_of_priors():
    """Every cell, row by row, and in it every anchor: as AnchorGenerator lays them out."""
    anchors, size, h, w = 2, 3, 2, 4
    maps = random(2, anchors * size, h, w)
    rows = iter(prior_rows(maps, size).tolist())
    for n in range(2):
        for y in range(h):
            for x in range(w):
                for a in range(anchors):
                    expected = [float(maps[n, a * size + d, y, x]) for d in range(size)]
                    assert next(rows) == expected
    assert next(rows, None) is None


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


@pytest.mark.parametrize('tau', [1.0, 10.0])
def test_distribution_kl(tau):
    student, teacher = random(6, 5), random(6, 5, seed=1)
    expected = [
        naive.kl(naive.softmax([v / tau for v in t]), s, tau)
        for s, t in zip(student.tolist(), teacher.tolist())
    ]
    assert distribution_kl(student, teacher, tau).tolist() == pytest.approx(expected, rel=1e-6)
    assert not distribution_kl(teacher, teacher, tau).any()
