"""Targets and losses of students that teach themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with distributions as targets.

    Args:
        logits: Logits (N, K).
        target: Distributions (N, K).

    Returns:
        Scalar, mean over images.
    """
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def designed_distribution(labels: Tensor, correct_prob: float, tau: float) -> Tensor:
    """The manually designed teacher of teacher-free distillation.

    ``softmax(d / τ)``, where d has ``correct_prob`` on the right class and is uniform on the rest.

    Source: Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization",
    CVPR 2020, section 5.

    Args:
        labels: Label distributions (N, K), K ≥ 2; for those of mixed images d is mixed as well.
        correct_prob: Probability of the right class.
        tau: Temperature. As in the authors' code it divides probabilities, not logits.

    Returns:
        Distributions (N, K).
    """
    rest = (1 - correct_prob) / (labels.shape[1] - 1)
    designed = labels * correct_prob + (1 - labels) * rest
    return (designed / tau).softmax(1)


def soft_target_labels(target_probs: Tensor, values: Tensor, mean: Tensor) -> Tensor:
    """USKD's soft labels of the target classes, ``p_y = s_y² + V_y - mean(s_y²)``.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.3.

    Args:
        target_probs: Probabilities (N, 2) that the student gives to the targets.
        values: Values (N, 2) of the labels, 0 for no target.
        mean: Mean of ``target_probs²`` over the images that have the target (2,).

    Returns:
        Soft labels (N, 2), 0 for no target.
    """
    return torch.where(values > 0, target_probs.square() + values - mean, 0.0)


def zipf_labels(rank: Tensor, is_target: Tensor) -> Tensor:
    """USKD's soft labels of the non-target classes: 1/j at rank j, normalised without the targets.

    Source: Yang et al., ICCV 2023, section 3.3.

    Args:
        rank: What the classes are ordered by (N, K), the largest first; targets take part.
        is_target: Target classes (N, K), bool.

    Returns:
        Distributions (N, K), 0 at the targets; all 0 where every class is one.
    """
    position = rank.argsort(dim=1, descending=True).argsort(dim=1)  # 0 for the largest
    zipf = torch.where(is_target, 0.0, 1.0 / (position + 1).to(rank))
    return zipf / zipf.sum(1, keepdim=True).clamp(min=torch.finfo(rank.dtype).tiny)


def masked_log_softmax(logits: Tensor, is_target: Tensor) -> Tensor:
    """Log-softmax over the non-target classes alone.

    Args:
        logits: Logits (N, K).
        is_target: Target classes (N, K), bool.

    Returns:
        Log-probabilities (N, K), 0 at the targets.
    """
    # A finite number: -inf in a row of targets only would make the gradient nan.
    lowest = torch.finfo(logits.dtype).min
    kept = F.log_softmax(logits.masked_fill(is_target, lowest), dim=1)
    return kept.masked_fill(is_target, 0.0)


def student_guided_target(
    student: Tensor, teachers: Tensor, scale: float, percentile: float
) -> Tensor:
    """The teacher representations that are most like the student's, averaged by their likeness.

    ``a_i = softmax_i(<f_s, f_i> / h)``; those below the percentile of each image go, the rest is
    normalised again: ``f = Σ_i a_i f_i``.

    Source: Aslam et al., "Learning from Stochastic Teacher Representations Using Student-Guided
    Knowledge Distillation", ECML-PKDD 2025, and the authors' code.

    Args:
        student: Embeddings (N, C).
        teachers: Embeddings (S, N, C) of S stochastic passes.
        scale: h, which divides the dot products.
        percentile: Percentile, 0 to 100, below which an attention is dropped.

    Returns:
        Embeddings (N, C).
    """
    attention = ((student[None] * teachers).sum(2) / scale).softmax(0)  # (S, N)
    threshold = attention.quantile(percentile / 100, dim=0, keepdim=True)
    kept = torch.where(attention >= threshold, attention, 0.0)
    kept = kept / kept.sum(0, keepdim=True)
    return (kept[..., None] * teachers).sum(0)
