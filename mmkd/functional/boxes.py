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


def overlap_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas of intersection and union of boxes (..., 4) that broadcast."""
    corner = torch.maximum(boxes[..., :2], others[..., :2])
    extent = (torch.minimum(boxes[..., 2:], others[..., 2:]) - corner).clamp(min=0)
    overlap = extent.prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others)]
    return overlap, areas[0] + areas[1] - overlap


def enclosing_extent(boxes: Tensor, others: Tensor) -> Tensor:
    """Return width and height (..., 2) of the smallest box around two boxes that broadcast."""
    corner = torch.minimum(boxes[..., :2], others[..., :2])
    return (torch.maximum(boxes[..., 2:], others[..., 2:]) - corner).clamp(min=0)


def giou_loss(boxes: Tensor, targets: Tensor, eps: float = 1e-6) -> Tensor:
    """One minus the generalised IoU of pairs of boxes.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.

    Args:
        boxes: Boxes (P, 4) as x1, y1, x2, y2.
        targets: Boxes (P, 4).
        eps: Smallest area. Defaults to 1e-6.

    Returns:
        Losses (P,) from 0 to 2.
    """
    overlap, union = overlap_and_union(boxes, targets)
    union = union.clamp(min=eps)
    enclosing = enclosing_extent(boxes, targets).prod(-1).clamp(min=eps)
    return 1 - overlap / union + (enclosing - union) / enclosing


def log_iou_loss(boxes: Tensor, targets: Tensor, eps: float = 1e-6) -> Tensor:
    """Negative logarithm of the IoU of pairs of boxes.

    Source: Yu et al., "UnitBox", ACM MM 2016.

    Args:
        boxes: Boxes (P, 4) as x1, y1, x2, y2.
        targets: Boxes (P, 4).
        eps: Smallest IoU. Defaults to 1e-6.

    Returns:
        Losses (P,).
    """
    overlap, union = overlap_and_union(boxes, targets)
    return -(overlap / union.clamp(min=eps)).clamp(min=eps).log()


def valuable_region(
    priors: Tensor, boxes: Tensor, level_sizes: list[int], topk: int = 9, gamma: float = 0.25
) -> Tensor:
    """Return the weights of the valuable localisation region of an image.

    A prior belongs to it if, for some box, its distance-IoU lies between γ and 1 times the
    threshold of positives of ATSS: mean plus deviation of the IoUs of the ``topk`` priors of every
    level that are nearest to the box's centre. Its weight is the largest IoU with such a box.

    Source: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR 2022, and
    its official code, which takes the thresholds from ATSS (Zhang et al., CVPR 2020).

    Args:
        priors: Anchors (P, 4) of all levels, level by level.
        boxes: Ground truth (G, 4).
        level_sizes: Number of priors of each level.
        topk: Candidates of each level. Defaults to 9.
        gamma: Lower end of the region. Defaults to 0.25.

    Returns:
        Weights (P,); 0 outside of the region, and everywhere without boxes.
    """
    if not len(boxes):
        return priors.new_zeros(len(priors))
    pair = priors[:, None], boxes[None]
    overlap, union = overlap_and_union(*pair)
    iou = overlap / union.clamp(min=1e-6)  # (P, G)
    centers = [(b[..., :2] + b[..., 2:]) / 2 for b in pair]
    distance = (centers[0] - centers[1]).square().sum(-1)  # (P, G)
    diagonal = enclosing_extent(*pair).square().sum(-1).clamp(min=1e-6)
    candidates, start = [], 0
    for size in level_sizes:
        nearest = distance[start : start + size].topk(min(topk, size), dim=0, largest=False)[1]
        candidates.append(nearest + start)
        start += size
    chosen = iou.gather(0, torch.cat(candidates))  # (candidates, G)
    threshold = chosen.mean(0) + chosen.std(0)
    diou = iou - distance / diagonal
    inside = (diou < threshold) & (diou >= gamma * threshold)
    return (iou * inside).amax(1)
