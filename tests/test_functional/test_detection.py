"""Boxes, and predictions of dense heads, against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import naive
from support.views import random

from mmkd.functional import clip_to_visible, distribution_kl, prior_rows

H, W = 12, 15
coordinate = st.integers(-8, 40).map(lambda v: v / 2) | st.floats(-4, 19)


@settings(max_examples=150, deadline=None)
@given(
    boxes=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=4),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(['blocks', 'pixels', 'all', 'none']),
)
def test_equals_loops(boxes, seed, kind):
    generator = torch.Generator().manual_seed(seed)
    if kind == 'blocks':
        mask = torch.rand(3, 3, generator=generator).repeat_interleave(4, 0) > 0.5
        mask = mask.repeat_interleave(5, 1)
    elif kind == 'pixels':
        mask = torch.rand(H, W, generator=generator) > 0.8
    else:
        mask = torch.full((H, W), kind == 'all')
    # Corners in order; empty boxes are possible, as are boxes that leave the image.
    tensor = torch.tensor(boxes, dtype=torch.double).reshape(-1, 2, 2).sort(1).values
    tensor = tensor.reshape(-1, 4)
    clipped, share = clip_to_visible(tensor, mask)
    assert clipped.shape == tensor.shape and share.shape == (len(boxes),)
    for box, got, visible in zip(tensor.tolist(), clipped.tolist(), share.tolist()):
        if box[0] == box[2] or box[1] == box[3]:
            continue  # a box without pixels
        expected, expected_share = naive.visible_box(box, mask.tolist())
        assert visible == pytest.approx(expected_share, abs=1e-6)
        if expected_share:
            assert got == pytest.approx(expected)
            assert got[0] < got[2] and got[1] < got[3]


def test_visible_boxes_are_unchanged():
    boxes = torch.tensor([[0.0, 0.0, 15.0, 12.0], [1.3, 2.7, 4.1, 9.9], [3.0, 3.0, 4.0, 4.0]])
    clipped, share = clip_to_visible(boxes, torch.ones(H, W, dtype=torch.bool))
    assert torch.equal(clipped, boxes)
    assert torch.equal(share, torch.ones(3))


def test_boxes_outside_the_image_are_invisible():
    boxes = torch.tensor([[20.0, 2.0, 25.0, 5.0], [2.0, 13.0, 4.0, 20.0], [-9.0, -9.0, -1.0, -1.0]])
    _, share = clip_to_visible(boxes, torch.ones(H, W, dtype=torch.bool))
    assert torch.equal(share, torch.zeros(3))


def test_no_boxes():
    clipped, share = clip_to_visible(torch.zeros(0, 4), torch.ones(H, W, dtype=torch.bool))
    assert clipped.shape == (0, 4) and share.shape == (0,)


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


@pytest.mark.parametrize('tau', [1.0, 10.0])
def test_distribution_kl(tau):
    student, teacher = random(6, 5), random(6, 5, seed=1)
    expected = [
        naive.kl(naive.softmax([v / tau for v in t]), s, tau)
        for s, t in zip(student.tolist(), teacher.tolist())
    ]
    assert distribution_kl(student, teacher, tau).tolist() == pytest.approx(expected, rel=1e-6)
    assert not distribution_kl(teacher, teacher, tau).any()
