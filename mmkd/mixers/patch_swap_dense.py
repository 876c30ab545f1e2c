"""Patch swap for dense tasks: cells of objects of one class, and of regions of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.mixers.patches import Patches
from mmkd.utils import ConfigError, box_tensor

IGNORE = 255  # label of pixels that count nowhere
BINS = 256  # label maps are read as uint8


@dataclass(frozen=True)
class Object:
    """An object that can be in a pair.

    Args:
        image: Number of its image in the batch.
        label: Its class.
        box: x1, y1, x2, y2 in pixels.
        inner: The whole pixels inside the box: columns x1 to x2 and rows y1 to y2, without the
            last.
    """

    image: int
    label: int
    box: tuple[float, ...]
    inner: tuple[int, int, int, int]

    def overlaps(self, other: Sequence[float]) -> bool:
        """Whether a box of the same image shares pixels with this one."""
        x1, y1, x2, y2 = self.inner
        return x1 < other[2] and other[0] < x2 and y1 < other[3] and other[1] < y2


def draw_object_pairs(
    samples: Sequence[Any],
    grid: tuple[int, int],
    size: tuple[int, ...],
    generator: torch.Generator,
) -> list[tuple[Object, Object]]:
    """Pair objects of one class in different images at random, each at most once.

    Objects smaller than the grid, that overlap an ignored box or an object of another pair, or
    without a partner are left out.

    Args:
        samples: N data samples of mmdet.
        grid: Rows and columns that a box is cut into.
        size: Height and width of the batch.
        generator: CPU generator of this step.
    """
    objects = [
        found
        for number, sample in enumerate(samples)
        for found in objects_of(sample, number, grid, size)
    ]
    waiting: dict[int, list[Object]] = {}
    chosen: dict[int, list[Object]] = {}

    def free(candidate: Object) -> bool:
        return not any(candidate.overlaps(o.inner) for o in chosen.get(candidate.image, ()))

    pairs = []
    for index in torch.randperm(len(objects), generator=generator).tolist():
        this = objects[index]
        others = waiting.setdefault(this.label, [])
        found = next((o for o in others if o.image != this.image and free(o)), None)
        if not free(this):
            continue
        if found is None:
            others.append(this)
            continue
        others.remove(found)
        pairs.append((found, this))
        for one in (found, this):
            chosen.setdefault(one.image, []).append(one)
    return pairs


def objects_of(
    sample: Any, number: int, grid: tuple[int, int], size: tuple[int, ...]
) -> list[Object]:
    """Return the objects of one image that can be in a pair.

    Raises:
        ConfigError: There are instance masks, or boxes that are not axis-aligned.
    """
    instances = sample.gt_instances
    if 'masks' in instances:
        raise ConfigError(
            '',
            'PatchSwap supports boxes, not instance masks: a swapped cell would invalidate them',
        )
    boxes = box_tensor(instances.bboxes).detach().float().cpu()
    if boxes.shape[-1] != 4:
        raise ConfigError('', 'only axis-aligned boxes can be swapped')
    ignored = []
    if 'ignored_instances' in sample and 'bboxes' in sample.ignored_instances:
        ignored = box_tensor(sample.ignored_instances.bboxes).tolist()
    height, width = sample.metainfo.get('img_shape', size)[:2]
    inner = torch.stack(
        [
            boxes[:, 0].ceil().clamp(0, width),
            boxes[:, 1].ceil().clamp(0, height),
            boxes[:, 2].floor().clamp(0, width),
            boxes[:, 3].floor().clamp(0, height),
        ],
        1,
    )
    rows = zip(boxes.tolist(), inner.long().tolist(), instances.labels.tolist())
    found = [Object(number, label, tuple(box), tuple(pixels)) for box, pixels, label in rows]
    return [
        o
        for o in found
        if o.inner[2] - o.inner[0] >= grid[1]
        and o.inner[3] - o.inner[1] >= grid[0]
        and not any(o.overlaps(box) for box in ignored)
    ]


def swap_objects(
    inputs: Tensor, pairs: Sequence[tuple[Object, Object]], cells: Tensor, patches: Patches
) -> tuple[Tensor, Tensor]:
    """Fill the chosen cells of every object's box with its partner's, resized.

    Args:
        inputs: Batch (N, C, H, W); it is not changed.
        pairs: P pairs of objects; no two boxes of an image overlap.
        cells: Which cells (P, gh, gw) are exchanged, bool.
        patches: The grid.

    Returns:
        The mixed batch, and its pixels (N, 1, H, W), bool, that come from the partner. Boxes of
        equal size exchange their pixels exactly; others are resized with antialiasing.
    """
    mixed = inputs.clone()
    swapped = torch.zeros_like(inputs[:, :1], dtype=torch.bool)
    drawn = cells.flatten(1).any(1).tolist() if len(pairs) else []
    for (one, other), chosen, any_cell in zip(pairs, cells, drawn):
        if not any_cell:
            continue
        for target, donor in ((one, other), (other, one)):
            x1, y1, x2, y2 = target.inner
            u1, v1, u2, v2 = donor.inner
            size = (y2 - y1, x2 - x1)
            content = inputs[donor.image, :, v1:v2, u1:u2]
            if content.shape[-2:] != size:
                content = F.interpolate(
                    content[None], size, mode='bilinear', align_corners=False, antialias=True
                )[0]
            pixels = patches.upsample(chosen[None], size)[0].to(inputs.device)  # (h, w)
            here = mixed[target.image, :, y1:y2, x1:x2]
            mixed[target.image, :, y1:y2, x1:x2] = torch.where(pixels, content, here)
            swapped[target.image, 0, y1:y2, x1:x2] = pixels
    return mixed, swapped


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
            '',
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
    grid = patches.grid_for(size)
    rows, columns = (v.to(labels.device) for v in patches.rows_and_columns(grid, size))
    cell = rows[:, None] * grid[1] + columns  # (H, W)
    cells = grid[0] * grid[1]
    image = torch.arange(number, device=labels.device)[:, None, None]
    index = ((image * cells + cell) * BINS + labels.long().clamp(0, BINS - 1)).flatten()
    counts = torch.bincount(index, minlength=number * cells * BINS).reshape(number, *grid, BINS)
    area = counts.sum(-1)
    most, label = counts[..., :IGNORE].max(-1)
    return most / area, label
