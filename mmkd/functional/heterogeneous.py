"""Losses between networks of different kinds."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.functional.self_kd import soft_cross_entropy


def adaptive_target_loss(
    student_logits: Tensor, teacher_probs: Tensor, labels: Tensor, eps: float = 1.0
) -> Tensor:
    """Cross-entropy with the teacher's probabilities, that of the target class raised.

    ``L = - mean Σ_k [(p_t,k + 1[k=y])^ε - 1[k=y]] log p_s,k``

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
    Knowledge Distillation", NeurIPS 2023, and the authors' code (temperature 1 on both sides).

    Args:
        student_logits: Logits (N, K).
        teacher_probs: Distributions (N, K), without gradient.
        labels: Target classes (N,), whole numbers.
        eps: ε, at least 1. Defaults to 1.0, the cross-entropy with the teacher.

    Returns:
        Scalar, mean over images. It is no divergence: where the student equals the teacher, ε = 1
        leaves the teacher's entropy.
    """
    target = F.one_hot(labels, student_logits.shape[1]).to(teacher_probs)
    return soft_cross_entropy(student_logits, (teacher_probs + target) ** eps - target)


def similarity_error(mapped: Tensor, original: Tensor) -> Tensor:
    """Mean squared change of the cosine similarities of a batch under a map.

    ``L = 1 / (N (N - 1)) Σ_i≠j (cos(m_i, m_j) - cos(e_i, e_j))²``

    Args:
        mapped: Embeddings (N, C) after the map.
        original: Embeddings (N, C') before it, without gradient.

    Returns:
        Scalar; 0 where the similarities are equal, and where N is 1.
    """
    units = [F.normalize(rows, dim=1) for rows in (mapped, original)]
    change = units[0] @ units[0].T - units[1] @ units[1].T  # (N, N)
    count = len(mapped) * (len(mapped) - 1)
    return (change - change.diag().diag()).square().sum() / max(count, 1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 - cos`` of every row of (N, C) with that of the teacher, mean over N.

    Args:
        student: Embeddings (N, C).
        teacher: Embeddings (N, C), without gradient.

    Returns:
        Scalar; 0 where the directions are equal, 2 where they are opposite.
    """
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()
