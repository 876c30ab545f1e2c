"""Soft masks from tokens, and distances under them."""

from __future__ import annotations

import torch
from torch import Tensor


def token_masks(x: Tensor, tokens: Tensor) -> Tensor:
    """One mask for each token: ``m_t = σ(w_t · F)`` in every cell.

    Source: Huang et al., "Masked Distillation with Receptive Tokens", ICLR 2023.

    Args:
        x: Map (N, C, H, W).
        tokens: Tokens (M, C).

    Returns:
        Masks (N, M, H, W) between 0 and 1.
    """
    return torch.einsum('mc,nchw->nmhw', tokens, x).sigmoid()


def dice_overlap(masks: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean Dice coefficient of all pairs of different masks, ``2 a·b / (|a|² + |b|²)``.

    Source: Huang et al., ICLR 2023.

    Args:
        masks: Masks (N, M, H, W).
        eps: Added to each squared norm. Defaults to 1e-12.

    Returns:
        Scalar, mean over N and the pairs; 0 for a single mask.
    """
    flat = masks.flatten(2)  # (N, M, H·W)
    products = flat @ flat.transpose(1, 2)  # (N, M, M)
    norms = products.diagonal(dim1=1, dim2=2) + eps  # (N, M)
    dice = 2 * products / (norms[:, :, None] + norms[:, None])
    pairs = masks.shape[1] * (masks.shape[1] - 1)
    others = dice.sum((1, 2)) - dice.diagonal(dim1=1, dim2=2).sum(1)  # (N,)
    return others.mean() / max(pairs, 1)


def masked_distances(student: Tensor, teacher: Tensor, masks: Tensor, eps: float = 1e-5) -> Tensor:
    """Squared difference under each mask, per unit of mask.

    ``mean_c [ Σ_p m_p² (F_t - F_s)² / (Σ_p m_p + ε) ]``. The mean over the channels is taken
    first, so that no tensor of N × M × C × H × W is made.

    Source: Huang et al., ICLR 2023, with the reduction of the authors' code.

    Args:
        student: Map (N, C, H, W).
        teacher: Map (N, C, H, W), without gradient.
        masks: Masks (N, M, H, W), without gradient.
        eps: Added to the sum of a mask. Defaults to 1e-5.

    Returns:
        Distances (N, M); 0 where the student equals the teacher.
    """
    squares = (student - teacher).square().mean(1)  # (N, H, W)
    sums = torch.einsum('nmhw,nhw->nm', masks.square(), squares)
    return sums / (masks.sum((2, 3)) + eps)
