"""Label maps and spatial locations of maps, class by class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['one_hot_pixels', 'region_means', 'resize_labels', 'unit_pixels']


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize label maps (N, H, W) to (N, *size), int64, by the nearest pixel."""
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels.long()
    # Interpolation needs floating-point numbers; fp32 holds every class index exactly.
    return F.interpolate(labels[:, None].float(), size=size, mode='nearest')[:, 0].long()


def one_hot_pixels(labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Turn label maps into indicators of the classes.

    Args:
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label without a class, as are all outside of 0 to K - 1. Defaults to 255.

    Returns:
        Indicators (N, H·W, K), fp32; rows of zeros where a pixel is ignored.
    """
    flat = labels.flatten(1)[..., None]  # (N, H·W, 1)
    classes = torch.arange(num_classes, device=labels.device)
    return ((flat == classes) & (flat != ignore_index)).float()


def region_means(
    feature: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Mean over the locations of every class in every image.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored locations. Defaults to 255.

    Returns:
        Means (N, K, C), zeros for absent classes, and the number (N, K) of locations.
    """
    pixels = feature.flatten(2).transpose(1, 2)  # (N, H·W, C)
    members = one_hot_pixels(labels, num_classes, ignore_index).to(pixels)
    counts = members.sum(1)  # (N, K)
    means = members.transpose(1, 2) @ pixels / counts[..., None].clamp(min=1)
    return means, counts


def unit_pixels(feature: Tensor) -> Tensor:
    """Turn a map (N, C, H, W) into rows (N, H·W, C) of unit length."""
    return F.normalize(feature, dim=1).flatten(2).transpose(1, 2)
