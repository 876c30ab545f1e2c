"""What the methods for detectors share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmkd.utils import ConfigError
from mmkd.view import View


class Objects(NamedTuple):
    """The objects of one image.

    Args:
        bboxes: Boxes (B, 4) as x1, y1, x2, y2 in pixels of the batch, fp32.
        labels: Classes (B,).
    """

    bboxes: Tensor
    labels: Tensor


def objects(view: View) -> list[Objects]:
    """Return the objects of the student's images, on their device.

    Raises:
        ConfigError: There are no boxes x1, y1, x2, y2: the task is not detection.
    """
    found = []
    for sample in view.data_samples:
        instances = getattr(sample, 'gt_instances', None)
        boxes = getattr(instances, 'bboxes', None)
        boxes = getattr(boxes, 'tensor', boxes)  # boxes may be wrapped
        if boxes is None or boxes.shape[-1] != 4:
            raise ConfigError(
                '',
                'needs boxes (x1, y1, x2, y2) in gt_instances.bboxes of every data sample: it is '
                'for detectors',
            )
        device = view.inputs.device
        labels = getattr(instances, 'labels', None)
        labels = boxes.new_zeros(len(boxes)) if labels is None else labels
        found.append(Objects(boxes.to(device, torch.float32), labels.to(device, torch.long)))
    return found
