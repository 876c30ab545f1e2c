"""Distributions of two images, or of what is in them, against each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_divergence(
    first: Tensor,
    second: Tensor,
    first_teaches: Tensor | None = None,
    tau: float = 1.0,
    detach: bool = True,
) -> Tensor:
    """Divergence of the two distributions of every pair, scaled by τ², mean over the pairs.

    Symmetric: ``τ² · ½ [KL(sg(p_2) || p_1) + KL(sg(p_1) || p_2)]``. With ``first_teaches`` the one
    that teaches is the target of the other: ``τ² · KL(sg(p_teaching) || p_taught)``. sg stops the
    gradient.

    Source: Choi et al., "Intra-class Patch Swap for Self-Distillation", 2025 (abstract).

    Args:
        first: Log-probabilities (P, D) at temperature τ. D is K, or 2 K for K binary ones, whose
            divergences add up.
        second: The same of the partners.
        first_teaches: Which of each pair teaches (P,), bool. Defaults to None, symmetric.
        tau: Temperature. Defaults to 1.0.
        detach: Whether targets get no gradient. Defaults to True.

    Returns:
        Scalar; 0 where both are equal, and where there is no pair.
    """
    if first_teaches is None:
        divergence = (rows(second, first, detach) + rows(first, second, detach)) / 2
    else:
        chosen = first_teaches[:, None]
        target, estimate = torch.where(chosen, first, second), torch.where(chosen, second, first)
        divergence = rows(target, estimate, detach)
    return divergence.sum() / max(len(first), 1) * tau**2


def rows(target: Tensor, estimate: Tensor, detach: bool) -> Tensor:
    """KL(target || estimate) of every row (P,), from log-probabilities (P, D)."""
    target = target.detach() if detach else target
    return (target.exp() * (target - estimate)).sum(1)


def log_distributions(logits: Tensor, tau: float, activation: str) -> Tensor:
    """Return log-probabilities of logits (P, K): (P, K), or (P, 2 K) with one sigmoid per class."""
    logits = logits / tau
    if activation == 'softmax':
        return F.log_softmax(logits, 1)
    return torch.cat([F.logsigmoid(logits), F.logsigmoid(-logits)], 1)


def label_error(log_probs: Tensor, labels: Tensor, activation: str) -> Tensor:
    """Return the cross-entropy (P,) with the labels (P,), of what :func:`log_distributions` gives.

    With one sigmoid per class it is the sum of the binary ones.
    """
    picked = log_probs.gather(1, labels[:, None])[:, 0]
    if activation == 'softmax':
        return -picked
    absent = log_probs[:, log_probs.shape[1] // 2 :]
    return -picked - absent.sum(1) + absent.gather(1, labels[:, None])[:, 0]


def class_means(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distribution of the pixels of every class in every image.

    Args:
        probs: Distributions (N, K, H, W).
        labels: Label maps (N, H, W); labels that are no class (255) count nowhere.

    Returns:
        Means (N, K classes, K); and which classes (N, K) an image has, bool. The mean of a class
        that an image does not have is 0.
    """
    classes = probs.shape[1]
    known = (labels >= 0) & (labels < classes)
    index = torch.where(known, labels, classes)
    one_hot = F.one_hot(index, classes + 1)[..., :classes].to(probs)  # (N, H, W, K)
    count = one_hot.sum((1, 2))  # (N, K)
    total = torch.einsum('nhwc,nkhw->nck', one_hot, probs)
    return total / count.clamp(min=1)[..., None], count > 0


def box_means(features: Tensor, images: Tensor, boxes: Tensor, points: int = 4) -> Tensor:
    """Mean of a map inside boxes, from bilinear samples on a grid, as in RoIAlign.

    Args:
        features: Map (N, C, H, W).
        images: Image (P,) of every box.
        boxes: Boxes (P, 4) as x1, y1, x2, y2 in cells; the centre of cell 0 is at 0.5.
        points: Samples per side S, at the centres of S × S equal parts of a box. Defaults to 4.

    Returns:
        Means (P, C). Samples outside the centres of the border cells take the border's value.
    """
    height, width = features.shape[-2:]
    steps = (torch.arange(points, device=boxes.device, dtype=boxes.dtype) + 0.5) / points
    x = boxes[:, 0, None] + steps * (boxes[:, 2] - boxes[:, 0])[:, None] - 0.5  # (P, S)
    y = boxes[:, 1, None] + steps * (boxes[:, 3] - boxes[:, 1])[:, None] - 0.5
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left = x.floor().clamp(max=max(width - 2, 0)).long()
    top = y.floor().clamp(max=max(height - 2, 0)).long()
    channels_last = features.permute(0, 2, 3, 1)
    image = images[:, None, None]
    total = features.new_zeros(len(boxes), features.shape[1])
    for column in (left, (left + 1).clamp(max=width - 1)):
        for row in (top, (top + 1).clamp(max=height - 1)):
            # In a map of one column (row) both neighbours are that column: it counts once.
            across = (1 - (x - column).abs()) * (1.0 if column is left else float(width > 1))
            down = (1 - (y - row).abs()) * (1.0 if row is top else float(height > 1))
            weight = (down[:, :, None] * across[:, None]).to(features)  # (P, S, S)
            values = channels_last[image, row[:, :, None], column[:, None]]  # (P, S, S, C)
            total = total + (weight[..., None] * values).sum((1, 2))
    return total / points**2
