"""Losses under several soft masks, and how much the masks differ."""

from __future__ import annotations

import torch
from torch import Tensor

REDUCTIONS = ('mask_sum', 'weighted_mean', 'literal')


def spatial_masked_loss(
    squared: Tensor, masks: Tensor, reduction: str = 'mask_sum', eps: float = 1e-6
) -> Tensor:
    """Squared difference of two maps under masks of their cells.

    ``‖M_m ⊙ D‖² / (C Σ_p M_mp)`` for each mask m; with masks of ones the mean squared difference.

    Source: MasKD, Huang et al., ICLR 2023 (official code); ACAM-KD, Lan & Tian, ICCV 2025.

    Args:
        squared: Squared difference D² (N, C, H, W).
        masks: Masks (N, M, H, W) in 0..1.
        reduction: ``'mask_sum'`` divides by the mask's sum; ``'weighted_mean'`` by that of its
            squares, which makes a mask and its multiples equal; ``'literal'`` multiplies by the
            sum: ``Σ_p M_mp ‖M_m ⊙ D‖² / C``. Defaults to ``'mask_sum'``.
        eps: Is added to what is divided by. Defaults to 1e-6.

    Returns:
        One value (N, M) for each image and mask.

    Deviations: ``'weighted_mean'`` is ours; :class:`~mmkd.methods.acam.ACAM` says what for.
    """
    cells = squared.mean(1).flatten(1)  # (N, H·W)
    return reduce_masked(cells, masks.flatten(2), reduction, eps)


def channel_masked_loss(
    squared: Tensor, masks: Tensor, reduction: str = 'mask_sum', eps: float = 1e-6
) -> Tensor:
    """Squared difference of two maps under masks of their channels.

    ``‖M_m ⊙ D‖² / (HW Σ_c M_mc)`` for each mask m; with masks of ones the mean squared difference.

    Source: ACAM-KD, Lan & Tian, ICCV 2025.

    Args:
        squared: Squared difference D² (N, C, H, W).
        masks: Masks (N, M, C) in 0..1.
        reduction: As in :func:`spatial_masked_loss`. Defaults to ``'mask_sum'``.
        eps: Is added to what is divided by. Defaults to 1e-6.

    Returns:
        One value (N, M) for each image and mask.
    """
    return reduce_masked(squared.mean((2, 3)), masks, reduction, eps)


def reduce_masked(energy: Tensor, masks: Tensor, reduction: str, eps: float) -> Tensor:
    """Reduce energies (N, P) under masks (N, M, P), which count squared, to (N, M)."""
    if reduction == 'weighted_mean':
        # The largest entry becomes 1, so that eps is nothing beside the sum of any mask.
        # A mean does not feel a common factor: it needs no gradient.
        largest = masks.detach().amax(2, keepdim=True)
        masks = masks / largest.clamp(min=torch.finfo(masks.dtype).tiny)
    weights = masks.square()
    masked = torch.einsum('nmp,np->nm', weights, energy)
    if reduction == 'literal':
        return masked * masks.sum(2)
    return masked / ((masks if reduction == 'mask_sum' else weights).sum(2) + eps)


def dice_diversity(masks: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean Dice coefficient of all pairs of different masks: 1 where all are equal.

    ``mean_{i≠j} 2 M_i·M_j / (|M_i|² + |M_j|² + ε)``, mean over N. To be minimised.

    Source: MasKD, Huang et al., ICLR 2023 (official code); ACAM-KD, Lan & Tian, ICCV 2025.

    Args:
        masks: Masks (N, M, P) in 0..1.
        eps: Keeps two empty masks from dividing by zero; their coefficient is 0. Much smaller than
            a small mask, or else masks would differ by vanishing together. Defaults to 1e-12.

    Returns:
        Scalar in 0..1; 0 for a single mask, which has no pair.
    """
    count = masks.shape[1]
    if count == 1:
        return masks.new_zeros(())
    products = masks @ masks.transpose(1, 2)  # (N, M, M)
    squares = products.diagonal(dim1=1, dim2=2)
    pairs = 2 * products / (squares[:, :, None] + squares[:, None] + eps)
    total = pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)
    return (total / (count * (count - 1))).mean()


def area_balance(masks: Tensor, eps: float = 1e-6) -> Tensor:
    """How far the masks' areas are from ½: ``mean_m KL(½ || a_m) = mean_m -½ ln(4 a_m (1 - a_m))``.

    a_m is the mean of mask m over the batch and its entries. The divergence is 0 where a_m is ½,
    0.8 at 0.05 and at 0.95, and grows without bound towards an empty and a full mask. Only the area
    counts: a mask may still be 0 or 1 in every single cell.

    Source: ours.

    Args:
        masks: Masks (N, M, P) in 0..1.
        eps: The smallest area, and the smallest remainder, that is told apart. Defaults to 1e-6.

    Returns:
        Scalar, 0 or more.
    """
    area = masks.mean((0, 2)).clamp(eps, 1 - eps)
    return -0.5 * (4 * area * (1 - area)).log().mean()


def activation_masks(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Masks that a map draws of itself, without parameters.

    The mean magnitude of each cell and of each channel, standardised within the image, through a
    sigmoid.

    Args:
        x: Map (N, C, H, W).
        eps: Is added to the deviations. Defaults to 1e-6.

    Returns:
        A mask of the cells (N, 1, H, W) and one of the channels (N, 1, C). A map of one cell or of
        one channel gives ½.
    """
    magnitude = x.abs()
    soft = []
    for values in (magnitude.mean(1).flatten(1), magnitude.mean((2, 3))):
        deviation = values.std(1, keepdim=True, unbiased=False) + eps
        soft.append(((values - values.mean(1, keepdim=True)) / deviation).sigmoid())
    return soft[0].view(x.shape[0], 1, *x.shape[2:]), soft[1][:, None]


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
