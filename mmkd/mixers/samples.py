"""Labels of mixed images, for the data samples of mmpretrain, mmseg and mmdet.

The three are told apart by the fields they carry, so none of the packages has to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmkd.functional import clip_to_visible
from mmkd.utils import ConfigError, box_tensor
from mmkd.view import Part


def mix_samples(
    samples: Sequence[Any] | None,
    parts: Sequence[Part],
    regional: bool,
    min_visibility: float,
    num_classes: int | None,
    soft_labels: bool = True,
) -> list[Any]:
    """Return the labels of a mixed batch; the given samples are not changed.

    Args:
        samples: N data samples of the clean batch.
        parts: How the images were mixed, the image itself first.
        regional: Whether every pixel has one source.
        min_visibility: Smallest visible share of a box that stays a training target.
        num_classes: Classes of soft labels; None takes it from the samples.
        soft_labels: Whether class labels are mixed; they stay otherwise. Defaults to True.

    Raises:
        ConfigError: The samples have no labels, or labels that cannot be mixed.
    """
    if not samples or not hasattr(samples[0], 'new'):
        raise no_labels(samples)
    mixed = [sample.new() for sample in samples]
    first = samples[0]
    pixel_fields = [name for name, value in first.items() if isinstance(value, PixelData)]
    known = False
    if 'gt_label' in first or 'gt_score' in first:
        if soft_labels:
            mix_class_labels(samples, mixed, parts, num_classes)
        known = True
    if 'gt_instances' in first and 'bboxes' in first.gt_instances:
        if len(parts) > 1:
            mix_instances(samples, mixed, parts, regional, min_visibility)
        known = True
    for name in pixel_fields:
        if regional and len(parts) > 1:
            mix_pixels(samples, mixed, parts, name)
        known = True
    if not known:
        raise no_labels(samples)
    return mixed


def no_labels(samples: Sequence[Any] | None) -> ConfigError:
    """Return the error for a batch without labels."""
    found = ', '.join(samples[0].keys()) if samples and hasattr(samples[0], 'keys') else 'none'
    return ConfigError(
        'train_dataloader.dataset',
        'a mixer needs labeled images (gt_label, gt_sem_seg or gt_instances in their data '
        f'samples; found: {found or "none"}); remove model.distill.mixer for unlabeled data',
    )


def mix_class_labels(
    samples: Sequence[Any], mixed: list[Any], parts: Sequence[Part], num_classes: int | None
) -> None:
    """Set ``gt_score`` (K,) of every mixed sample to the area-weighted labels of its sources."""
    rows = []
    for sample in samples:
        if 'gt_score' in sample:
            rows.append(sample.gt_score.float())
            continue
        classes = num_classes or sample.get('num_classes')
        if classes is None:
            raise ConfigError('num_classes', 'soft labels need the number of classes; set it')
        rows.append(F.one_hot(sample.gt_label.flatten(), classes).float().amax(0))
    labels = torch.stack(rows).to(parts[0].weight.device)  # (N, K)
    soft = torch.zeros_like(labels)
    for part in parts:
        soft += part.weight.mean((1, 2, 3))[:, None] * labels[part.source]
    for sample, score in zip(mixed, soft):
        sample.set_gt_score(score)


def mix_pixels(samples: Sequence[Any], mixed: list[Any], parts: Sequence[Part], name: str) -> None:
    """Gather a label map (1, H, W) of every sample from its sources, pixel by pixel."""
    maps = [sample.get(name).data for sample in samples]
    size = tuple(parts[0].weight.shape[-2:])
    if any(tuple(m.shape[-2:]) != size for m in maps):
        raise ConfigError(
            '',
            f'{name} of shape {tuple(maps[0].shape)} does not have the size {size} of the batch; '
            'label maps have to be padded with the images (data_preprocessor.size)',
        )
    stacked = torch.stack([m.to(parts[0].weight.device) for m in maps])  # (N, 1, H, W)
    gathered = stacked.clone()
    for part in parts[1:]:
        gathered = torch.where(part.weight > 0.5, stacked[part.source], gathered)
    for sample, data in zip(mixed, gathered):
        setattr(sample, name, PixelData(data=data))


def mix_instances(
    samples: Sequence[Any],
    mixed: list[Any],
    parts: Sequence[Part],
    regional: bool,
    min_visibility: float,
) -> None:
    """Set ``gt_instances`` and ``ignored_instances`` to what is visible of every source."""
    if 'proposals' in samples[0]:
        raise ConfigError('', 'pre-computed proposals cannot be mixed')
    sources = [part.source.tolist() for part in parts]
    for i, sample in enumerate(mixed):
        kept, ignored = [], []
        for part, source in zip(parts, sources):
            weight = part.weight[i, 0]  # (H, W)
            origin = samples[source[i]]
            visible, share = see_instances(origin.gt_instances, weight, regional)
            kept.append(visible[share >= max(min_visibility, 1e-6)])
            ignored.append(visible[(share > 0) & (share < min_visibility)])
            if 'ignored_instances' in origin:
                others, share = see_instances(origin.ignored_instances, weight, regional)
                ignored.append(others[share > 0])
        sample.gt_instances = concatenate(kept)
        sample.ignored_instances = concatenate(ignored)


def see_instances(
    instances: InstanceData, weight: Tensor, regional: bool
) -> tuple[InstanceData, Tensor]:
    """Return the instances of one source as a mixed image shows them, and their visible shares."""
    boxes = instances.bboxes
    tensor = box_tensor(boxes)
    if tensor.shape[-1] != 4:
        raise ConfigError('', 'only axis-aligned boxes can be mixed')
    if not regional:  # MixUp: everything is visible, as strongly as its image
        return instances, weight.mean().expand(len(tensor))
    mask = weight > 0.5
    clipped, share = clip_to_visible(tensor, mask)
    seen = instances.new()
    seen.bboxes = clipped if isinstance(boxes, Tensor) else type(boxes)(clipped)
    if 'masks' in instances:
        seen.masks = cut_masks(instances.masks, mask)
    return seen, share


def cut_masks(masks: Any, visible: Tensor) -> Any:
    """Cut instance masks (tensor, bitmap or polygon masks) by the visible pixels (H, W)."""
    if isinstance(masks, Tensor):
        return masks & visible if masks.dtype == torch.bool else masks * visible.to(masks)
    bitmaps = masks.to_bitmap() if hasattr(masks, 'to_bitmap') else masks
    # Not bitmaps.pad(): OpenCV cannot pad the bool arrays that polygons turn into.
    cut = np.zeros((len(bitmaps), *visible.shape), dtype=np.uint8)
    cut[:, : bitmaps.height, : bitmaps.width] = bitmaps.masks
    cut *= visible.cpu().numpy().astype(np.uint8)
    return type(bitmaps)(cut, *visible.shape)


def concatenate(instances: list[InstanceData]) -> InstanceData:
    """Concatenate instances by the fields that all of them have."""
    common = set.intersection(*(set(item.keys()) for item in instances))
    for item in instances:
        for name in set(item.keys()) - common:
            item.pop(name)
    return InstanceData.cat(instances)
