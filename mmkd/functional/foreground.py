"""Foreground and background of a map, from boxes, and distances weighted by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def pad_boxes(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put the boxes of all images into one tensor.

    Args:
        boxes: Boxes (B_n, 4) of N images, B_n ≥ 0.

    Returns:
        Boxes (N, B, 4), B ≥ 1, filled with zeros, and which of them are real, (N, B) bool.
    """
    device = boxes[0].device
    most = max(1, *(len(b) for b in boxes))
    counts = torch.tensor([len(b) for b in boxes]).to(device, non_blocking=True)
    padded = pad_sequence([*boxes, boxes[0].new_zeros(most, 4)], batch_first=True)[:-1]
    return padded, torch.arange(most, device=device) < counts[:, None]


def foreground_masks(
    boxes: Tensor, present: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Weigh the cells in boxes by one over the box's area, and all others equally.

    ``M_fg(p) = max over the boxes with p of 1/(h·w)``, ``M_bg(p) = [no box has p] / #background``.
    A box has the cells from ⌊x1⌋ to ⌈x2⌉ and from ⌊y1⌋ to ⌈y2⌉, both included; so w is
    ``⌈x2⌉ - ⌊x1⌋ + 1``, also where a part of it lies outside of the map.

    Source: Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022;
    the rounding is that of the authors' code.

    Args:
        boxes: Boxes (N, B, 4) as x1, y1, x2, y2 in cells of the map.
        present: Which boxes are real, (N, B) bool.
        size: Height and width of the map.

    Returns:
        Foreground and background (N, 1, H, W) in the boxes' dtype. An image without boxes is all
        background, one without background has a zero background mask.
    """
    left, top = boxes[..., 0].floor(), boxes[..., 1].floor()  # (N, B)
    right, bottom = boxes[..., 2].ceil(), boxes[..., 3].ceil()
    weight = present / ((right - left + 1) * (bottom - top + 1)).clamp(min=1)
    xs = torch.arange(size[1], device=boxes.device)
    ys = torch.arange(size[0], device=boxes.device)
    columns = (xs >= left[..., None]) & (xs <= right[..., None])  # (N, B, W)
    rows = (ys >= top[..., None]) & (ys <= bottom[..., None])  # (N, B, H)
    inside = rows[..., :, None] & columns[..., None, :]  # (N, B, H, W)
    weights = torch.where(inside, weight.to(boxes.dtype)[..., None, None], 0)
    foreground = weights.amax(1, keepdim=True)  # (N, 1, H, W)
    background = (foreground == 0).to(boxes.dtype)
    return foreground, background / background.sum((2, 3), keepdim=True).clamp(min=1)


def weighted_squares(squares: Tensor, channels: Tensor, cells: Tensor) -> Tensor:
    """Sum one squared difference ``D = (F_s - F_t)²`` under several weight maps.

    ``L_m = 1/N Σ_n Σ_hw cells_m Σ_c channels_c D``. The channels are summed first, so the
    backward pass keeps no tensor of the map's size, however many masks there are.

    Args:
        squares: Squared difference D (N, C, H, W).
        channels: Weights (N, C, 1, 1), without gradient.
        cells: Weights (N, M, H, W) of M masks, without gradient.

    Returns:
        The M sums, means over N.
    """
    summed = (squares * channels).sum(1, keepdim=True)  # (N, 1, H, W)
    return (summed * cells).sum((0, 2, 3)) / len(squares)
