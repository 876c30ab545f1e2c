"""Data samples for the tests of mixers."""

from __future__ import annotations

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample

SIZE = (16, 20)


def sample_of(boxes, labels=None, ignored=None, masks=None, img_shape=SIZE, wrap=False):
    """Return a detection sample."""
    wrapper = HorizontalBoxes if wrap else torch.as_tensor
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)
    labels = range(len(boxes)) if labels is None else labels
    labels = torch.tensor(labels, dtype=torch.long)
    sample = DetDataSample(metainfo=dict(img_shape=img_shape, img_id=7))
    sample.gt_instances = InstanceData(bboxes=wrapper(boxes), labels=labels)
    if masks is not None:
        sample.gt_instances.masks = masks
    if ignored is not None:
        ignored = torch.tensor(ignored, dtype=torch.float).reshape(-1, 4)
        sample.ignored_instances = InstanceData(
            bboxes=wrapper(ignored), labels=torch.zeros(len(ignored), dtype=torch.long)
        )
    return sample


def boxes_of(instances) -> torch.Tensor:
    return instances.bboxes.tensor if hasattr(instances.bboxes, 'tensor') else instances.bboxes


def labeled(batch: int, num_classes: int = 5) -> list:
    """Return samples with labels, as a classifier's."""
    return [DataSample().set_gt_label(i * 2 % num_classes) for i in range(batch)]
