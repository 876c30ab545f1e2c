"""Token masks, their overlap and masked distances against loops."""

from __future__ import annotations

import naive
import pytest
import torch

from mmkd.functional import dice_overlap, masked_distances, token_masks


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('size', [(3, 4), (1, 1)])
def test_token_masks_equal_loops(size):
    x, tokens = random(2, 3, *size), random(4, 3, seed=1)
    masks = token_masks(x, tokens)
    assert masks.shape == (2, 4, *size)
    for n in range(2):
        for m in range(4):
            for y in range(size[0]):
                for z in range(size[1]):
                    score = sum(float(tokens[m, k] * x[n, k, y, z]) for k in range(3))
                    assert float(masks[n, m, y, z]) == pytest.approx(naive.sigmoid(score))


@pytest.mark.parametrize('count', [1, 2, 4])
def test_dice_overlap_equals_loops(count):
    masks = random(2, count, 3, 4).sigmoid()
    values = []
    for n in range(2):
        for i in range(count):
            for j in range(count):
                a, b = masks[n, i].flatten().tolist(), masks[n, j].flatten().tolist()
                if i != j:
                    product = sum(p * q for p, q in zip(a, b))
                    norms = sum(p * p for p in a) + sum(q * q for q in b)
                    values.append(2 * product / norms)
    expected = sum(values) / len(values) if values else 0.0
    assert float(dice_overlap(masks)) == pytest.approx(expected, rel=1e-9)


def test_equal_masks_overlap_fully_and_disjoint_ones_not():
    assert float(dice_overlap(torch.ones(1, 3, 2, 2))) == pytest.approx(1)
    assert float(dice_overlap(torch.eye(2).reshape(1, 2, 1, 2))) == 0
    assert float(dice_overlap(torch.zeros(1, 2, 2, 2))) == 0


@pytest.mark.parametrize('size', [(3, 4), (1, 1)])
def test_masked_distances_equal_loops(size):
    student, teacher = random(2, 3, *size), random(2, 3, *size, seed=1)
    masks = random(2, 4, *size, seed=2).sigmoid()
    result = masked_distances(student, teacher, masks, eps=1e-3)
    for n in range(2):
        for m in range(4):
            means = []
            for k in range(3):
                total = area = 0.0
                for y in range(size[0]):
                    for z in range(size[1]):
                        weight = float(masks[n, m, y, z])
                        difference = float(teacher[n, k, y, z] - student[n, k, y, z])
                        total += (weight * difference) ** 2
                        area += weight
                means.append(total / (area + 1e-3))
            assert float(result[n, m]) == pytest.approx(sum(means) / 3, rel=1e-9)


def test_distance_is_zero_where_equal_and_finite_without_mask():
    x = random(1, 2, 3, 3)
    masks = torch.ones(1, 2, 3, 3).double()
    assert not masked_distances(x, x, masks).any()
    assert masked_distances(x, 2 * x, 0 * masks).isfinite().all()
