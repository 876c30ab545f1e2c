"""What the methods for semantic segmentation share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmkd.methods.base import Method
from mmkd.utils import ConfigError
from mmkd.view import View


def label_maps(view: View) -> Tensor:
    """Return the label maps (N, H, W) of the student's samples.

    Raises:
        ConfigError: The samples have none.
    """
    samples = view.data_samples
    if not samples or 'gt_sem_seg' not in samples[0]:
        raise ConfigError('type', 'needs label maps (gt_sem_seg) in the data samples')
    return torch.cat([sample.gt_sem_seg.data for sample in samples]).to(view.inputs.device)


def classes_of(method: Method, num_classes: int | None, teachers: Mapping[str, Any]) -> int:
    """Return the number of classes: as configured, or else of the teacher's decode head.

    Raises:
        ConfigError: Neither says.
    """
    if num_classes is None:
        taps = method.teacher_taps
        assert isinstance(taps, tuple)
        teacher = teachers.get(taps[0].model)
        head = getattr(getattr(teacher, 'model', None), 'decode_head', None)
        num_classes = getattr(head, 'num_classes', None)
    if num_classes is None:
        raise ConfigError('num_classes', 'the teacher has no decode_head that says; set it')
    return num_classes
