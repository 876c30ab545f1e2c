"""Divergences between class scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_divergence(student_logits: Tensor, teacher_probs: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) over dimension 1, scaled by τ², mean over all other dimensions.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2. For
    image logits this is the usual ``batchmean``; for maps it is the mean over pixels.

    Args:
        student_logits: Logits (N, K) or (N, K, H, W).
        teacher_probs: Probabilities at the same temperature, same shape, without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar; 0 where the student equals the teacher.
    """
    log_student = F.log_softmax(student_logits / tau, dim=1)
    divergence = torch.special.xlogy(teacher_probs, teacher_probs) - teacher_probs * log_student
    return divergence.sum(1).mean() * tau**2


def dense_binary_kl(student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0) -> Tensor:
    """Binary KL of a dense head with one sigmoid per class.

    ``L = τ² Σ_p w_p Σ_k KL(t_pk || s_pk) / Σ_p w_p`` with ``w_p = max_k σ(teacher)_pk``: almost
    every location is background, so the teacher's confidence chooses where it counts.

    Source: Hinton et al., 2015, with the location weights of CrossKD (Wang et al., CVPR 2024).

    Args:
        student_logits: Logits (P, K) of P locations.
        teacher_logits: Logits (P, K), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar; 0 where the student equals the teacher.

    Deviations: a softmax over classes is meaningless for sigmoid heads, and zero for one class.
    """
    scaled_student, scaled_teacher = student_logits / tau, teacher_logits / tau
    target = scaled_teacher.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(scaled_student, target, reduction='none')
    entropy = F.binary_cross_entropy_with_logits(scaled_teacher, target, reduction='none')
    weight = teacher_logits.sigmoid().amax(1)  # (P,)
    divergence = ((cross_entropy - entropy).sum(1) * weight).sum()
    return divergence / weight.sum().clamp(min=1e-6) * tau**2


def disagreement(student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) of every image, scaled by τ², with gradients to both sides.

    :func:`kl_divergence` takes probabilities, through which no gradient passes safely: where the
    softmax underflows their logarithm has none.

    Args:
        student_logits: Logits (N, K) or (N, K, H, W).
        teacher_logits: The same of the teacher.
        tau: Temperature. Defaults to 1.0.

    Returns:
        (N,), the mean over pixels for maps; 0 where the student equals the teacher.
    """
    log_student = F.log_softmax(student_logits / tau, dim=1)
    log_teacher = F.log_softmax(teacher_logits / tau, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1)  # (N,) or (N, H, W)
    return divergence.reshape(len(divergence), -1).mean(1) * tau**2


def class_rows(logits: Tensor, num_classes: int) -> Tensor:
    """Turn a dense head's map (N, A·K, H, W) of A anchors into rows (N·A·H·W, K)."""
    n, _, h, w = logits.shape
    maps = logits.reshape(n, -1, num_classes, h, w)  # (N, A, K, H, W)
    return maps.permute(0, 1, 3, 4, 2).reshape(-1, num_classes)
