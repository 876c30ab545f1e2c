"""Labels and boxes of OpenMMLab's data samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def box_tensor(boxes: Any) -> Any:
    """Return boxes as a tensor (B, D), or None: mmdet may wrap them in a class of its own."""
    return getattr(boxes, 'tensor', boxes)


def single_labels(samples: Sequence[Any] | None) -> Tensor | None:
    """Return the class labels (N,) of N images, or None unless each image has exactly one."""
    labels = [sample.gt_label for sample in samples or () if 'gt_label' in sample]
    if not samples or len(labels) < len(samples) or any(label.numel() != 1 for label in labels):
        return None
    return torch.cat([label.flatten() for label in labels])
