"""What the methods for semantic segmentation share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmkd.methods.base import Method
from mmkd.utils import ensure, find_head
from mmkd.view import View


def label_maps(view: View) -> Tensor:
    """Return the label maps (N, H, W) of the student's samples.

    Raises:
        ConfigError: The samples have none.
    """
    samples = view.data_samples
    labeled = samples and 'gt_sem_seg' in samples[0]
    text = 'needs label maps (gt_sem_seg) in the data samples; it is for segmenters'
    ensure(labeled, 'type', text)
    return torch.cat([sample.gt_sem_seg.data for sample in samples]).to(view.inputs.device)


def number_of_classes(method: Method, num_classes: int | None, teachers: Mapping[str, Any]) -> int:
    """Return the number of classes: as configured, or else of the teacher's decode head.

    Raises:
        ConfigError: Neither is known.
    """
    if num_classes is not None:
        return num_classes
    taps: Any = method.teacher_taps
    teacher = teachers.get(taps[0].model)
    found: Any = find_head(getattr(teacher, 'model', None)) or ('', None)
    text = 'the teacher has no decode_head with num_classes; set num_classes'
    ensure(found[0] == 'decode_head', 'num_classes', text)
    return found[1].num_classes
