"""Distances between feature maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    'NORMALIZATIONS', 'channel_std_mean', 'mimic_loss', 'normalized', 'rescaled', 'resize_to',
    'root_mean_square', 'standardize',
]  # fmt: skip

NORMALIZATIONS = (None, 'channel', 'map')


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


def channel_std_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sample deviation and the mean of every channel over N, H and W.

    The sum of squares is divided by n - 1 for the n = N·H·W values of a channel.

    Args:
        x: Map (N, C, H, W).

    Returns:
        Deviation and mean (1, C, 1, 1); the deviation is 0 where n is 1.
    """
    correction = min(1, x[:, :1].numel() - 1)
    return torch.std_mean(x, (0, 2, 3), correction=correction, keepdim=True)


class _Standardize(torch.autograd.Function):
    """Keeps its input, which is kept anyway, instead of a centered copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        std, mean = channel_std_mean(x)
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
        freedom = max(1, x[:, :1].numel() - 1)
        slope = (scaled * centered).sum((0, 2, 3), keepdim=True) / freedom
        slope = slope / ((std + ctx.eps) * std)
        slope = slope.masked_fill(std == 0, 0)
        gradient = scaled - scaled.mean((0, 2, 3), keepdim=True)
        return gradient.sub_(centered.mul_(slope)), None


def standardize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Give every channel of a map (N, C, H, W) zero mean and unit sample std over N, H and W.

    It removes the difference in scale between teacher and student; half the mean squared
    difference of two standardized maps is one minus their Pearson correlation, times (n - 1)/n for
    n = N·H·W values in a channel.

    Source: Cao et al., "PKD", NeurIPS 2022, section 3.3; ``PKDLoss.norm`` in
    ``mmrazor/models/losses/pkd_loss.py`` of open-mmlab/mmrazor@90c7af1.

    Args:
        x: Map (N, C, H, W).
        eps: Added to the standard deviation. Defaults to 1e-6.

    Returns:
        Map (N, C, H, W); 0 where a channel has one value, officially NaN. The backward pass keeps
        no map but ``x`` itself.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return _Standardize.apply(x, eps)


def root_mean_square(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the root mean square of a map (N, C, H, W) over all of it, at least ``eps``."""
    return (torch.linalg.vector_norm(x) / x.numel() ** 0.5).clamp(min=eps)


def normalized(x: Tensor, how: str | None) -> Tensor:
    """Remove the scale of a map (N, C, H, W).

    The statistics are those of the batch and not of each image: an image with weak activations
    keeps them weak. They are noisy in small batches of small maps. Each process takes those of its
    own batch.

    Args:
        x: Map (N, C, H, W).
        how: ``'channel'``: :func:`standardize`, as in PKD; every channel counts the same and its
            offset is gone. ``'map'``: the map is divided by its :func:`root_mean_square`, one
            scalar; the proportions of the channels stay. None: ``x`` as it is.

    Returns:
        Map (N, C, H, W), in fp32 for half precision unless ``how`` is None. A positive factor of
        ``x`` does not change it. Half the mean squared difference of two of them is one minus their
        correlation (``'channel'``, see there) or their cosine (``'map'``).
    """
    if how is None:
        return x
    if how == 'channel':
        return standardize(x)
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return x / root_mean_square(x)


def rescaled(x: Tensor, like: Tensor, how: str | None) -> Tensor:
    """Give a map the scale of a raw one: the inverse of :func:`normalized`.

    Args:
        x: Normalized map (N, C, H, W).
        like: Raw map (N, C, H, W).
        how: How ``x`` is normalized.

    Returns:
        Map (N, C, H, W); ``like`` for ``x = normalized(like, how)``.
    """
    if how is None:
        return x
    if how == 'channel':
        std, mean = channel_std_mean(like)
        return x * std + mean
    return x * root_mean_square(like)


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a map (N, C, H, W) bilinearly to ``size`` unless it has that size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
