"""Objects as points: heatmaps of centres, their losses, and boxes read from them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_radius(sizes: Tensor, min_overlap: float = 0.3) -> Tensor:
    """Return how far both corners of a box may move with an IoU of at least ``min_overlap``.

    The smallest of three radii: one corner inside and one outside, both inside, both outside.

    Source: Law & Deng, "CornerNet", ECCV 2018, with the roots of the quadratic equations mended,
    as in mmdet.

    Args:
        sizes: Width and height (..., 2).
        min_overlap: Smallest IoU. Defaults to 0.3.

    Returns:
        Radii (...), in the unit of the sizes.
    """
    total, area = sizes.sum(-1), sizes.prod(-1)
    radii = []
    for a, b, c in (
        (1.0, -total, (1 - min_overlap) / (1 + min_overlap) * area),
        (4.0, -2 * total, (1 - min_overlap) * area),
        (4 * min_overlap, 2 * min_overlap * total, (min_overlap - 1) * area),
    ):
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        radii.append((-b + root if a == 4 * min_overlap else -b - root) / (2 * a))
    return torch.stack(radii).amin(0)


def center_heatmap(
    boxes: Tensor, labels: Tensor, present: Tensor, num_classes: int, size: tuple[int, int]
) -> Tensor:
    """Draw every object as a bell around the cell of its centre, classes apart.

    ``Y = max over the objects of exp(-(dx² + dy²) / 2σ²)`` within a square of the whole radius r
    of :func:`gaussian_radius` around the cell, ``σ = (2r + 1) / 6``.

    Source: Zhou et al., "Objects as Points", 2019.

    Args:
        boxes: Boxes (N, B, 4) as x1, y1, x2, y2 in cells of the map.
        labels: Classes (N, B).
        present: Which boxes are real, (N, B) bool.
        num_classes: Number of classes K.
        size: Height and width of the map.

    Returns:
        Heatmaps (N, K, H, W) from 0 to 1; exactly 1 in the cells of centres.
    """
    cells = center_cells(boxes, size)  # (N, B, 2)
    radius = gaussian_radius((boxes[..., 2:] - boxes[..., :2]).clamp(min=0)).floor()  # (N, B)
    bells = []
    for axis, length in ((1, size[0]), (0, size[1])):
        distance = torch.arange(length, device=boxes.device) - cells[..., axis, None]
        sigma = (2 * radius[..., None] + 1) / 6
        bell = (-distance.square() / (2 * sigma.square())).exp()
        bells.append(torch.where(distance.abs() <= radius[..., None], bell, 0))
    heat = bells[0][..., :, None] * bells[1][..., None, :] * present[..., None, None]
    heat = heat.flatten(2)  # (N, B, H·W)
    maps = heat.new_zeros(len(heat), num_classes, heat.shape[2])
    index = labels.clamp(0, num_classes - 1)[..., None].expand_as(heat)
    return maps.scatter_reduce(1, index, heat, 'amax').unflatten(2, size)


def center_cells(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the cell (..., 2), as column and row, in which the centre of a box (..., 4) lies."""
    height, width = size
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    last = torch.tensor((width - 1, height - 1), device=boxes.device)
    return centers.floor().long().clamp(min=0).minimum(last)


def center_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heatmap, summed over everything.

    ``-Σ [Y = 1: (1 - p)² log p; else: (1 - Y)⁴ p² log(1 - p)]``, p = σ(logits).

    Source: Zhou et al., "Objects as Points", 2019, eq. 1.

    Args:
        logits: Map (N, K, H, W).
        heat: Target Y (N, K, H, W).
    """
    p = logits.sigmoid()
    positive = (1 - p).square() * F.logsigmoid(logits)
    negative = (1 - heat) ** 4 * p.square() * F.logsigmoid(-logits)
    return -torch.where(heat == 1, positive, negative).sum()


def center_regression(prediction: Tensor, cells: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Sum of absolute differences of two values that are predicted in the cell of every object.

    Args:
        prediction: Map (N, 2, H, W).
        cells: Column and row (N, B, 2).
        target: Values (N, B, 2).
        present: Which objects are real, (N, B) bool.
    """
    index = cells[..., 1] * prediction.shape[-1] + cells[..., 0]  # (N, B)
    values = prediction.flatten(2).gather(2, index[:, None].expand(-1, 2, -1))  # (N, 2, B)
    return ((values.transpose(1, 2) - target).abs() * present[..., None]).sum()


def peak_boxes(heat: Tensor, sizes: Tensor, offsets: Tensor, top: int) -> Tensor:
    """Read boxes from the highest peaks: cells that no neighbour of the eight exceeds.

    Args:
        heat: Heatmap (N, K, H, W); a peak is one of its maximum over the classes.
        sizes: Width and height (N, 2, H, W) in cells.
        offsets: Where in its cell the centre lies (N, 2, H, W), x and y.
        top: Number of peaks of an image, at most.

    Returns:
        Boxes (N, min(top, H·W), 4) as x1, y1, x2, y2 in cells; each has at least the side of one
        cell. An image with fewer peaks gets the box of its highest one again.
    """
    best = heat.amax(1, keepdim=True)
    is_peak = best == F.max_pool2d(best, 3, stride=1, padding=1)
    scores = torch.where(is_peak, best, -1).flatten(1)
    values, index = scores.topk(min(top, scores.shape[1]), dim=1)  # (N, B)
    index = torch.where(values >= 0, index, index[:, :1])
    width = heat.shape[-1]
    cells = torch.stack((index % width, index.div(width, rounding_mode='floor')), 2)  # (N, B, 2)
    at = [m.flatten(2).gather(2, index[:, None].expand(-1, 2, -1)) for m in (sizes, offsets)]
    half = at[0].transpose(1, 2).clamp(min=1) / 2
    center = cells + at[1].transpose(1, 2)
    return torch.cat((center - half, center + half), 2)


def box_area(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return 1 for the cells of a map that one of the boxes touches, else 0.

    Args:
        boxes: Boxes (N, B, 4) as x1, y1, x2, y2 in cells.
        size: Height and width of the map.

    Returns:
        Mask (N, 1, H, W) in the boxes' dtype.
    """
    inside = []
    for axis, length in ((1, size[0]), (0, size[1])):
        start = torch.arange(length, device=boxes.device)
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        inside.append((start + 1 > low) & (start < high))  # (N, B, H), (N, B, W)
    touched = inside[0][..., :, None] & inside[1][..., None, :]
    return touched.any(1, keepdim=True).to(boxes)
