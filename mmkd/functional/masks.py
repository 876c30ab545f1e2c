"""Losses under several soft masks, and how much the masks differ."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ['REDUCTIONS', 'dice_diversity', 'masked_loss']

REDUCTIONS = ('mask_sum', 'weighted_mean', 'literal')


def masked_loss(
    energy: Tensor, masks: Tensor, reduction: str = 'mask_sum', eps: float = 1e-6
) -> Tensor:
    """Squared difference of two maps under masks of their locations, or of their channels.

    ``Σ_p M_mp² E_p / Σ_p M_mp`` for each mask m; with masks of ones the mean of E. Masks of
    locations take E = the mean over the channels of ``(F_s - F_t)²``, masks of channels the mean
    over the map.

    Source: MasKD, Huang et al., ICLR 2023 (``MasKDLoss`` of hunto/MasKD@b5af34f); ACAM-KD, Lan &
    Tian, ICCV 2025.

    Args:
        energy: Squared differences E (N, P).
        masks: Masks (N, M, P) in 0..1.
        reduction: ``'mask_sum'`` divides by the mask's sum; ``'weighted_mean'`` by that of its
            squares, which makes a mask and its multiples equal; ``'literal'``, deprecated,
            multiplies by the sum. Defaults to ``'mask_sum'``.
        eps: Added to the divisor. Defaults to 1e-6. An empty mask has loss 0 without it as well.

    Returns:
        One value (N, M) for each image and mask.

    Deviations: ``'weighted_mean'`` is ours; see :class:`~mmkd.methods.acam.ACAM` for the reason.
    """
    if reduction == 'weighted_mean':
        # The largest entry becomes 1, so that eps is negligible beside the sum of any mask.
        # A mean is invariant to a common factor: the factor needs no gradient.
        largest = masks.detach().amax(2, keepdim=True)
        masks = masks / largest.clamp(min=torch.finfo(masks.dtype).tiny)
    weights = masks.square()
    masked = torch.einsum('nmp,np->nm', weights, energy)
    if reduction == 'literal':
        return masked * masks.sum(2)
    total = (masks if reduction == 'mask_sum' else weights).sum(2) + eps
    return masked / total.clamp(min=torch.finfo(total.dtype).tiny)  # an empty mask has loss 0


def dice_diversity(masks: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean Dice coefficient of all pairs of different masks: 1 where all are equal.

    ``mean_{i≠j} 2 M_i·M_j / (|M_i|² + |M_j|² + 2ε)``, mean over N. To be minimized.

    Source: MasKD, Huang et al., ICLR 2023 (``dice_coeff`` of hunto/MasKD@b5af34f); ACAM-KD, Lan &
    Tian, ICCV 2025.

    Args:
        masks: Masks (N, M, P) in 0..1.
        eps: Added to the square of each mask. It keeps two empty masks from dividing by zero; their
            coefficient is 0. It must be much smaller than a small mask, or masks would differ by
            vanishing together. Defaults to 1e-12.

    Returns:
        Scalar in 0..1; 0 for a single mask, which has no pair.
    """
    count = masks.shape[1]
    if count == 1:
        return masks.new_zeros(())
    products = masks @ masks.transpose(1, 2)  # (N, M, M)
    squares = products.diagonal(dim1=1, dim2=2)
    pairs = 2 * products / (squares[:, :, None] + squares[:, None] + 2 * eps)
    total = pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)
    return (total / (count * (count - 1))).mean()
