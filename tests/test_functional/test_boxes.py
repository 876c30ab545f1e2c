"""Boxes under a mask, against a loop over pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.losses import GIoULoss, IoULoss
from support import naive

from mmkd.functional import clip_to_visible, giou_loss, log_iou_loss

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


@pytest.mark.parametrize(('function', 'loss'), [(giou_loss, GIoULoss()), (log_iou_loss, IoULoss())])
def test_losses_of_boxes(function, loss):
    """Overlapping, disjoint, contained, equal and empty boxes, against mmdet's losses."""
    corner = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0)).double() * 20
    extent = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(1)).double() * 20
    boxes, targets = torch.cat([corner, corner + extent], 2).unbind(1)
    targets[0], boxes[1, 2:] = boxes[0], boxes[1, :2]
    boxes[2] = torch.tensor([2.0, 2, 3, 3])
    targets[2] = torch.tensor([0.0, 0, 9, 9])
    expected = loss(boxes, targets, reduction_override='none')
    torch.testing.assert_close(function(boxes, targets), expected)
    assert function(boxes, targets)[0] == 0
    boxes.requires_grad_()
    function(boxes, targets).sum().backward()
    assert boxes.grad.isfinite().all()
