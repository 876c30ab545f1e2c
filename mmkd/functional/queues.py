"""Class-wise ring buffers of embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.functional.labels import one_hot_pixels


def pick_pixels(
    feature: Tensor,
    labels: Tensor,
    scores: Tensor,
    count: int,
    num_classes: int,
    ignore_index: int = 255,
) -> tuple[Tensor, Tensor]:
    """Pick the cells of every class with the highest scores in every image.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        scores: Random numbers (N, H·W) in [0, 1).
        count: Cells V of each class and image; fewer where the class has fewer.
        num_classes: Number of classes K.
        ignore_index: Label of ignored cells. Defaults to 255.

    Returns:
        Cells (N, K, V, C), and whether each (N, K, V) is one of its class.
    """
    members = one_hot_pixels(labels, num_classes, ignore_index).transpose(1, 2)  # (N, K, P)
    count = min(count, members.shape[2])
    top, index = scores[:, None].masked_fill(members == 0, -1).topk(count)  # (N, K, V)
    pixels = feature.flatten(2).transpose(1, 2)  # (N, P, C)
    image = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[image, index], top >= 0


def enqueue(queue: Tensor, pointer: Tensor, entries: Tensor, valid: Tensor) -> None:
    """Write entries into ring buffers, one for each class, in place.

    Args:
        queue: Buffers (K, Q, C).
        pointer: Next slot (K,) of every buffer; int64.
        entries: New entries (N, K, V, C), written image by image in order.
        valid: Which of them (N, K, V) exist. Of more than Q, the last Q stay.
    """
    size = queue.shape[1]
    entries = entries.transpose(0, 1).flatten(1, 2)  # (K, N·V, C)
    valid = valid.transpose(0, 1).flatten(1, 2)
    position = valid.cumsum(1) - 1  # (K, N·V), of the valid ones
    total = valid.sum(1)  # (K,)
    kept = valid & (position >= (total - size)[:, None])
    slot = (pointer[:, None] + position) % size
    classes, index = kept.nonzero(as_tuple=True)
    queue[classes, slot[classes, index]] = entries[classes, index].to(queue)
    pointer.copy_((pointer + total) % size)


def random_embeddings(classes: int, size: int, channels: int) -> Tensor:
    """Draw embeddings (K, Q, C) of unit length, with which a queue starts."""
    return F.normalize(torch.randn(classes, size, channels), dim=2)
