"""Patch swap in segmentation: patches of one class in both images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.patches import Patches
from mmkd.utils import ConfigError

IGNORE = 255  # label of pixels that count nowhere
BINS = 256  # label maps are read as uint8


def common_cells(
    samples: Sequence[Any], patches: Patches, size: tuple[int, int], pairs: int, min_share: float
) -> Tensor:
    """Return the cells that one class covers in both images of a pair.

    A cell counts if its most frequent class is the same in both label maps, and covers at least
    ``min_share`` of it in each. Ignored pixels are of no class but part of the cell.

    Args:
        samples: 2n data samples with ``gt_sem_seg`` of the size of the batch.
        patches: The grid.
        size: Height and width of the batch.
        pairs: n; image i is paired with image i + n.
        min_share: Smallest share of a cell, in (0, 1].

    Returns:
        Bool (n, gh, gw).

    Raises:
        ConfigError: A label map has another size than the batch.
    """
    maps = [sample.gt_sem_seg.data for sample in samples]
    if any(tuple(m.shape[-2:]) != size for m in maps):
        raise ConfigError(
            'model.distill.mixer',
            f'label maps of shape {tuple(maps[0].shape)} do not have the size {size} of the batch; '
            'they have to be padded with the images (data_preprocessor.size)',
        )
    labels = torch.stack([m.reshape(size) for m in maps])  # (N, H, W)
    share, label = dominant_class(labels, patches)
    enough = share >= min_share
    first, second = slice(0, pairs), slice(pairs, 2 * pairs)
    return (label[first] == label[second]) & enough[first] & enough[second]


def dominant_class(labels: Tensor, patches: Patches) -> tuple[Tensor, Tensor]:
    """Return the largest share of a class in every cell, and which class has it.

    Args:
        labels: Label maps (N, H, W).
        patches: The grid.

    Returns:
        Shares and classes, both (N, gh, gw); the smallest of equally frequent classes.
    """
    number, size = len(labels), (labels.shape[1], labels.shape[2])
    grid = patches.of(size)
    rows, columns = (v.to(labels.device) for v in patches.rows_and_columns(grid, size))
    cell = rows[:, None] * grid[1] + columns  # (H, W)
    cells = grid[0] * grid[1]
    image = torch.arange(number, device=labels.device)[:, None, None]
    index = ((image * cells + cell) * BINS + labels.long().clamp(0, BINS - 1)).flatten()
    counts = torch.bincount(index, minlength=number * cells * BINS).reshape(number, *grid, BINS)
    area = counts.sum(-1)
    most, label = counts[..., :IGNORE].max(-1)
    return most / area, label
