"""Attention that is read off a map: which cells and which channels are active."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def activation_attention(x: Tensor, p: float = 2.0) -> Tensor:
    """Mean of ``|F|^p`` over the channels, flattened and divided by its Euclidean norm.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017.

    Args:
        x: Map (N, C, H, W).
        p: Power. Defaults to 2.0.

    Returns:
        Attention (N, H·W); 0 where the whole map is.
    """
    power = x.square() if p == 2 else x.abs().pow(p)  # squares need no second copy of the map
    return F.normalize(power.mean(1).flatten(1), dim=1)


def attention_distance(student: Tensor, teacher: Tensor, p: float = 2.0) -> Tensor:
    """Mean squared difference of two attention maps, of whatever channels and sizes.

    The larger map is pooled to the smaller one, in each direction.

    Source: Zagoruyko and Komodakis, ICLR 2017, eq. 2.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H', W').
        p: Power of the attention. Defaults to 2.0.

    Returns:
        Scalar, mean over N and the cells; 0 where the student equals the teacher.

    Deviations: the paper takes the norm of the difference; the squared mean is what the public
    re-implementations use and what the published weights belong to.
    """
    size = tuple(min(s, t) for s, t in zip(student.shape[-2:], teacher.shape[-2:]))
    attentions = []
    for x in (student, teacher):
        if tuple(x.shape[-2:]) != size:
            x = F.adaptive_avg_pool2d(x, size)
        attentions.append(activation_attention(x, p))
    return (attentions[0] - attentions[1]).square().mean()


def spatial_attention(x: Tensor, tau: float = 1.0) -> Tensor:
    """Softmax over the cells of the mean activation, times H·W, so that its mean is 1.

    Source: Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022.

    Args:
        x: Map (N, C, H, W).
        tau: Temperature. Defaults to 1.0.

    Returns:
        Attention (N, 1, H, W).
    """
    activity = x.abs().mean(1, keepdim=True)  # (N, 1, H, W)
    attention = F.softmax(activity.flatten(1) / tau, dim=1) * activity[0].numel()
    return attention.view_as(activity)


def channel_attention(x: Tensor, tau: float = 1.0) -> Tensor:
    """Softmax over the channels of the mean activation, times C, so that its mean is 1.

    Source: Yang et al., CVPR 2022.

    Args:
        x: Map (N, C, H, W).
        tau: Temperature. Defaults to 1.0.

    Returns:
        Attention (N, C, 1, 1).
    """
    activity = x.abs().mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    return F.softmax(activity / tau, dim=1) * x.shape[1]
