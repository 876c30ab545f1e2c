"""Distances between feature maps."""

from __future__ import annotations

import torch
from torch import Tensor


def mimic_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of two maps, the hint loss of FitNet.

    Source: Romero et al., "FitNets", ICLR 2015, eq. 3.

    Args:
        student: Map (N, C, H, W).
        teacher: Map (N, C, H, W).
        mask: Weights (N, 1, H, W) of the cells. Defaults to None, all 1.

    Returns:
        Scalar: the (weighted) mean over N, C, H and W; 0 where the mask is empty.

    Deviations: the paper sums over the map; the mean makes the weight independent of its size.
    """
    difference = (student - teacher).square()
    if mask is None:
        return difference.mean()
    return (difference * mask).sum() / (mask.sum() * student.shape[1]).clamp(min=1.0)


def standardize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Give every channel of a map (N, C, H, W) zero mean and unit std over N, H and W.

    Source: Cao et al., "PKD", NeurIPS 2022, section 3.3. It removes the difference in scale
    between teacher and student; half the mean squared difference of two standardised maps is one
    minus their Pearson correlation.

    Args:
        x: Map (N, C, H, W).
        eps: A channel is divided by ``√(variance + ε²)``. Defaults to 1e-6.

    Returns:
        Map (N, C, H, W). Backward needs nothing but ``x`` itself.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    # Batch norm without statistics or parameters. Its module refuses maps of one cell.
    return torch.batch_norm(x, None, None, None, None, True, 0.0, eps**2, True)
