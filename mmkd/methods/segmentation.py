"""What the methods for semantic segmentation share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmkd.methods.base import Method
from mmkd.utils import ConfigError, find_head
from mmkd.view import View


def label_maps(view: View) -> Tensor:
    """Return the label maps (N, H, W) of the student's samples.

    Raises:
        ConfigError: The samples have none.
    """
    samples = view.data_samples
    if not samples or 'gt_sem_seg' not in samples[0]:
        raise ConfigError(
            'type', 'needs label maps (gt_sem_seg) in the data samples; it is for segmenters'
        )
    return torch.cat([sample.gt_sem_seg.data for sample in samples]).to(view.inputs.device)


def number_of_classes(method: Method, num_classes: int | None, teachers: Mapping[str, Any]) -> int:
    """Return the number of classes: as configured, or else of the teacher's decode head.

    Raises:
        ConfigError: Neither is known.
    """
    if num_classes is None:
        taps = method.teacher_taps
        assert isinstance(taps, tuple)
        teacher = teachers.get(taps[0].model)
        found = find_head(getattr(teacher, 'model', None))
        if found is None or found[0] != 'decode_head':
            raise ConfigError(
                'num_classes', 'the teacher has no decode_head with num_classes; set num_classes'
            )
        num_classes = found[1].num_classes
    return num_classes
