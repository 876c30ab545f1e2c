"""Boxes, and predictions of dense detection heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmkd.functional.logits import softmax_kl

__all__ = ['clip_to_visible', 'distribution_kl', 'pad_boxes', 'prior_rows']


def prior_rows(maps: Tensor, size: int) -> Tensor:
    """Turn a dense head's map (N, A·D, H, W) of A anchors into rows (N·H·W·A, D).

    The rows are in the order of OpenMMLab's priors, image by image.
    """
    return maps.permute(0, 2, 3, 1).reshape(-1, size)


def distribution_kl(student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0) -> Tensor:
    """KL of discrete distributions, scaled by τ².

    Args:
        student_logits: Logits (P, B) over B bins or classes.
        teacher_logits: Logits (P, B), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Divergences (P,), summed over the bins; 0 where the student equals the teacher.
    """
    # mmdet's knowledge_distillation_kl_div_loss keeps one more tensor and is not exactly 0 there.
    log_teacher = (teacher_logits / tau).log_softmax(1)
    return softmax_kl(student_logits / tau, log_teacher, 1, is_log=True) * tau**2


def pad_boxes(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put the boxes of all images into one tensor.

    Args:
        boxes: Boxes (B_n, 4) of N images, B_n ≥ 0.

    Returns:
        Boxes (N, B, 4), B ≥ 1, padded with zeros, and which of them are real, (N, B) bool.
    """
    device = boxes[0].device
    most = max(1, *(len(b) for b in boxes))
    counts = torch.tensor([len(b) for b in boxes]).to(device, non_blocking=True)
    padded = pad_sequence([*boxes, boxes[0].new_zeros(most, 4)], batch_first=True)[:-1]
    return padded, torch.arange(most, device=device) < counts[:, None]


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
    x1, x2 = (x.long().clamp(0, width) for x in (boxes[:, 0].floor(), boxes[:, 2].ceil()))
    y1, y2 = (y.long().clamp(0, height) for y in (boxes[:, 1].floor(), boxes[:, 3].ceil()))
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
    first = torch.maximum(boxes[:, :2], torch.stack([left, top], 1).to(boxes))
    last = torch.minimum(boxes[:, 2:], torch.stack([right, bottom], 1).to(boxes))
    return torch.cat([first, last], 1), visible
