"""Losses under masks against loops."""

from __future__ import annotations

import pytest
import torch
from support.views import random

from mmkd.functional import REDUCTIONS, dice_diversity, masked_loss

SHAPES = [(2, 3, 4, 5, 3), (1, 4, 1, 1, 2), (2, 1, 3, 2, 1)]  # N, C, H, W, M


def spatial_masked_loss(squared, masks, *args, **kwargs):
    """Return the loss of a squared difference (N, C, H, W) under masks (N, M, H, W)."""
    return masked_loss(squared.mean(1).flatten(1), masks.flatten(2), *args, **kwargs)


def channel_masked_loss(squared, masks, *args, **kwargs):
    """Return the loss of a squared difference (N, C, H, W) under masks (N, M, C)."""
    return masked_loss(squared.mean((2, 3)), masks, *args, **kwargs)


@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize('shape', SHAPES)
def test_spatial_masked_loss_equals_loops(shape, reduction):
    n, c, h, w, m = shape
    difference, masks = random(n, c, h, w), random(n, m, h, w, seed=1).sigmoid()
    losses = spatial_masked_loss(difference.square(), masks, reduction, eps=0.0)
    assert losses.shape == (n, m)
    for i in range(n):
        for j in range(m):
            norm = area = 0.0
            for y in range(h):
                for x in range(w):
                    mask = float(masks[i, j, y, x])
                    area += mask
                    norm += sum((mask * float(difference[i, k, y, x])) ** 2 for k in range(c))
            expected = dict(
                mask_sum=norm / (c * area),
                weighted_mean=norm / (c * float(masks[i, j].square().sum())),
                literal=area * norm / c,
            )[reduction]
            assert float(losses[i, j]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize('shape', SHAPES)
def test_channel_masked_loss_equals_loops(shape, reduction):
    n, c, h, w, m = shape
    difference, masks = random(n, c, h, w), random(n, m, c, seed=1).sigmoid()
    losses = channel_masked_loss(difference.square(), masks, reduction, eps=0.0)
    assert losses.shape == (n, m)
    for i in range(n):
        for j in range(m):
            norm = area = 0.0
            for k in range(c):
                mask = float(masks[i, j, k])
                area += mask
                norm += sum((mask * float(d)) ** 2 for d in difference[i, k].flatten())
            expected = dict(
                mask_sum=norm / (h * w * area),
                weighted_mean=norm / (h * w * float(masks[i, j].square().sum())),
                literal=area * norm / (h * w),
            )[reduction]
            assert float(losses[i, j]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('reduction', ['mask_sum', 'weighted_mean'])
def test_masks_of_ones_give_the_mean_squared_difference(reduction):
    squared = random(2, 3, 4, 5).square()
    spatial = spatial_masked_loss(squared, torch.ones(2, 6, 4, 5).double(), reduction)
    channel = channel_masked_loss(squared, torch.ones(2, 6, 3).double(), reduction)
    for losses in (spatial, channel):
        expected = squared.mean((1, 2, 3))[:, None].expand(2, 6)
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)


def test_small_masks_lower_the_loss_unless_it_is_a_weighted_mean():
    squared, masks = random(2, 3, 4, 5).square(), random(2, 6, 4, 5, seed=1).sigmoid()
    for reduction, power in dict(mask_sum=1, weighted_mean=0, literal=3).items():
        losses = [spatial_masked_loss(squared, x, reduction, eps=0.0) for x in (masks, masks / 10)]
        torch.testing.assert_close(losses[1], losses[0] / 10**power)


def test_a_weighted_mean_and_dice_do_not_reward_masks_for_vanishing():
    squared, masks = random(2, 3, 4, 5).square().float(), random(2, 6, 4, 5, seed=1).sigmoid()
    for x in (masks.float(), masks.float() * 1e-5):
        loss = spatial_masked_loss(squared, x, 'weighted_mean')
        expected = spatial_masked_loss(squared.double(), masks, 'weighted_mean')
        torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=0)
        dice, whole = (float(dice_diversity(m.flatten(2))) for m in (x, masks))
        assert dice == pytest.approx(whole, rel=1e-2)


@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize('eps', [1e-6, 0.0])
def test_empty_masks_give_zero_and_no_nan(reduction, eps):
    masks = torch.zeros(1, 2, 4, 5, requires_grad=True)
    losses = spatial_masked_loss(torch.ones(1, 3, 4, 5), masks, reduction, eps=eps)
    (gradient,) = torch.autograd.grad(losses.sum(), masks)
    assert not losses.any() and gradient.isfinite().all()
    assert float(dice_diversity(masks.flatten(2))) == 0.0


@pytest.mark.parametrize('shape', [(2, 4, 6), (1, 2, 1), (3, 1, 5)])
def test_dice_equals_loops(shape):
    n, m, p = shape
    masks = random(*shape).sigmoid()
    total = 0.0
    for i in range(n):
        for a in range(m):
            for b in range(m):
                if a != b:
                    product = sum(float(masks[i, a, x] * masks[i, b, x]) for x in range(p))
                    squares = sum(float(masks[i, k, x]) ** 2 for k in (a, b) for x in range(p))
                    total += 2 * product / squares
    expected = total / (n * m * (m - 1)) if m > 1 else 0.0
    assert float(dice_diversity(masks)) == pytest.approx(expected, rel=1e-9)


def test_dice_is_one_for_equal_and_zero_for_disjoint_masks():
    same = random(2, 1, 9).sigmoid().expand(2, 5, 9)
    assert float(dice_diversity(same)) == pytest.approx(1.0, abs=1e-5)
    assert float(dice_diversity(torch.eye(4)[None])) == 0.0
