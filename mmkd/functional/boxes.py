"""Boxes under a pixel mask."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_to_visible(boxes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Clip boxes to the part of them that a mask leaves visible.

    Args:
        boxes: Boxes (B, 4) as x1, y1, x2, y2 in pixels.
        mask: Visible pixels (H, W), bool.

    Returns:
        The boxes (B, 4), clipped to the bounding box of their visible pixels, and the share (B,)
        of each box's pixels that is visible. A fully visible box is unchanged.
    """
    height, width = mask.shape
    x1, y1 = boxes[:, 0].floor().long(), boxes[:, 1].floor().long()
    x2, y2 = boxes[:, 2].ceil().long(), boxes[:, 3].ceil().long()
    x1, x2 = x1.clamp(0, width), x2.clamp(0, width)
    y1, y2 = y1.clamp(0, height), y2.clamp(0, height)
    # Prefix sums along each axis: visible pixels of a box in every row and every column.
    ones = mask.to(torch.int32)
    along_x = torch.nn.functional.pad(ones.cumsum(1), (1, 0))  # (H, W + 1)
    along_y = torch.nn.functional.pad(ones.cumsum(0), (0, 0, 1, 0))  # (H + 1, W)
    rows = along_x[:, x2] - along_x[:, x1]  # (H, B)
    columns = along_y[y2] - along_y[y1]  # (B, W)
    ys = torch.arange(height, device=mask.device)[:, None]
    xs = torch.arange(width, device=mask.device)[None]
    rows = torch.where((ys >= y1) & (ys < y2), rows, 0)
    columns = torch.where((xs >= x1[:, None]) & (xs < x2[:, None]), columns, 0)
    area = ((x2 - x1) * (y2 - y1)).clamp(min=1)
    visible = rows.sum(0) / area
    top = torch.where(rows > 0, ys, height).amin(0)
    bottom = torch.where(rows > 0, ys + 1, 0).amax(0)
    left = torch.where(columns > 0, xs, width).amin(1)
    right = torch.where(columns > 0, xs + 1, 0).amax(1)
    # The pixel extents contain the box where everything is visible, so it stays as it is.
    clipped = torch.stack(
        (
            torch.maximum(boxes[:, 0], left.to(boxes)),
            torch.maximum(boxes[:, 1], top.to(boxes)),
            torch.minimum(boxes[:, 2], right.to(boxes)),
            torch.minimum(boxes[:, 3], bottom.to(boxes)),
        ),
        dim=1,
    )
    return clipped, visible
