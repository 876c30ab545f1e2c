"""Losses under masks against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.functional import (
    activation_masks,
    area_balance,
    channel_masked_loss,
    dice_diversity,
    spatial_masked_loss,
    token_masks,
)
from mmkd.functional.masks import REDUCTIONS

SHAPES = [(2, 3, 4, 5, 3), (1, 4, 1, 1, 2), (2, 1, 3, 2, 1)]  # N, C, H, W, M


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
def test_empty_masks_give_zero_and_no_nan(reduction):
    masks = torch.zeros(1, 2, 4, 5, requires_grad=True)
    losses = spatial_masked_loss(torch.ones(1, 3, 4, 5), masks, reduction)
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
