"""Attention in pieces against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support.views import random
from torch.profiler import ProfilerActivity, profile

from mmkd.methods.acam import attend_in_pieces, pool_cells


def loops(query, key, value):
    """Return the attention's result, one query at a time."""
    n, narrow, cells = query.shape
    result = torch.zeros(n, value.shape[1], cells, dtype=query.dtype)
    for i in range(n):
        for p in range(cells):
            scores = [
                sum(query[i, q, p] * key[i, q, s] for q in range(narrow)) / math.sqrt(narrow)
                for s in range(key.shape[2])
            ]
            total = sum(score.exp() for score in scores)
            for s, score in enumerate(scores):
                result[i, :, p] += score.exp() / total * value[i, :, s]
    return result


def cross_attention(query, key, value):
    """Return the attention's result (N, C, P), its pieces put together."""
    pieces = attend_in_pieces(query, key, value)
    return pieces.transpose(2, 3).flatten(1, 2)[:, : value.shape[1]]


# Q, C, P, S: widths that divide and that do not, other keys than queries, one cell, one channel.
SHAPES = [(8, 16, 6, 6), (9, 19, 5, 4), (1, 3, 4, 4), (2, 1, 3, 2), (3, 6, 1, 1), (16, 8, 4, 7)]


@pytest.mark.parametrize('shape', SHAPES)
def test_attention_and_its_gradients_equal_loops(shape):
    narrow, channels, cells, others = shape
    inputs = [random(2, narrow, cells), random(2, narrow, others, seed=1)]
    inputs = [x.requires_grad_() for x in (*inputs, random(2, channels, others, seed=2))]
    direction = random(2, channels, cells, seed=3)
    results = []
    for function in (cross_attention, loops):
        result = function(*inputs)
        results.append((result, *torch.autograd.grad((result * direction).sum(), inputs)))
    for fast, naive in zip(*results):
        torch.testing.assert_close(fast, naive, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('shape', SHAPES)
def test_the_fused_kernel_is_taken(shape):
    narrow, channels, cells, others = shape
    inputs = [random(2, narrow, cells), random(2, narrow, others), random(2, channels, others)]
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        pieces = attend_in_pieces(*(x.float().requires_grad_() for x in inputs))
    names = {event.key for event in recorded.key_averages()}
    assert 'aten::_scaled_dot_product_flash_attention_for_cpu' in names
    assert 'aten::_scaled_dot_product_attention_math' not in names
    assert pieces.shape[2] == cells and pieces.shape[1] * pieces.shape[3] >= channels
    assert not pieces.transpose(2, 3).flatten(1, 2)[:, channels:].any()


@pytest.mark.parametrize('size', [(4, 6), (5, 7), (1, 1), (2, 9)])
@pytest.mark.parametrize('factor', [1, 2, 3])
def test_pooling_equals_loops(size, factor):
    x = random(2, 3, *size)
    rows, columns = (math.ceil(n / factor) for n in size)
    pooled = pool_cells(x, factor)
    assert pooled.shape == (2, 3, rows, columns)
    for r in range(rows):
        for c in range(columns):
            square = x[:, :, r * factor : (r + 1) * factor, c * factor : (c + 1) * factor]
            torch.testing.assert_close(pooled[:, :, r, c], square.mean((2, 3)))
