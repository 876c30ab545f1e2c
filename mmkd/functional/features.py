"""Distances between feature maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['mimic_loss', 'resize_to', 'standardize']


def mimic_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of two maps, the hint loss of FitNet.

    Source: Romero et al., "FitNets", ICLR 2015, eq. 3.

    Args:
        student: Map (N, C, H, W).
        teacher: Map (N, C, H, W).
        mask: Weights (N, 1, H, W) of the locations. Defaults to None, all 1.

    Returns:
        Scalar: the (weighted) mean over N, C, H and W; 0 where the mask is empty.

    Deviations: the paper sums over the map; the mean makes the weight independent of its size.
    """
    difference = (student - teacher).square()
    if mask is None:
        return difference.mean()
    return (difference * mask).sum() / (mask.sum() * student.shape[1]).clamp(min=1.0)


class _Standardize(torch.autograd.Function):
    """Keeps its input, which is kept anyway, instead of a centered copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True, unbiased=False)
        ctx.eps = eps
        ctx.save_for_backward(x, mean, std)
        return (x - mean).div_(std + eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        x, mean, std = ctx.saved_tensors
        centered = x - mean
        scaled = upstream / (std + ctx.eps)
        # A constant channel has no direction in which its deviation grows.
        slope = (scaled * centered).mean((0, 2, 3), keepdim=True) / ((std + ctx.eps) * std)
        slope = slope.masked_fill(std == 0, 0)
        gradient = scaled - scaled.mean((0, 2, 3), keepdim=True)
        return gradient.sub_(centered.mul_(slope)), None


def standardize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Give every channel of a map (N, C, H, W) zero mean and unit std over N, H and W.

    Source: Cao et al., "PKD", NeurIPS 2022, section 3.3. It removes the difference in scale
    between teacher and student; half the mean squared difference of two standardized maps is one
    minus their Pearson correlation.

    Args:
        x: Map (N, C, H, W).
        eps: Added to the standard deviation. Defaults to 1e-6.

    Returns:
        Map (N, C, H, W). The backward pass keeps no map but ``x`` itself.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return _Standardize.apply(x, eps)


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (N, C, H, W) bilinearly to ``size`` unless it has that size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
