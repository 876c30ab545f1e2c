"""Label maps at the size of feature maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize label maps to ``size`` by the nearest pixel.

    Args:
        labels: Class indices (N, H, W), whole numbers.
        size: Height and width of the result.

    Returns:
        Class indices (N, *size), int64.
    """
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels.long()
    # Interpolation knows floating numbers only; fp32 holds every class index exactly.
    return F.interpolate(labels[:, None].float(), size=size, mode='nearest')[:, 0].long()


def one_hot_pixels(labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Turn label maps into indicators of the classes.

    Args:
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label that counts as no class, as do all outside of 0 to K - 1. Defaults to
            255.

    Returns:
        Indicators (N, H·W, K), float32; rows of zeros where a pixel is ignored.
    """
    flat = labels.flatten(1)[..., None]  # (N, H·W, 1)
    classes = torch.arange(num_classes, device=labels.device)
    return ((flat == classes) & (flat != ignore_index)).float()
