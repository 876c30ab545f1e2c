"""Losses between the predictions of two dense detection heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmkd.functional.divergence import softmax_kl


def prior_rows(maps: Tensor, size: int) -> Tensor:
    """Turn a dense head's map (N, A·D, H, W) of A anchors into rows (N·H·W·A, D).

    The rows are in the order of OpenMMLab's priors, image by image.
    """
    return maps.permute(0, 2, 3, 1).reshape(-1, size)


def quality_focal_kd(student_logits: Tensor, teacher_logits: Tensor, beta: float = 1.0) -> Tensor:
    """Cross entropy of sigmoids, weighted by the distance to the teacher's score.

    ``Σ_k |σ(s_k) - σ(t_k)|^β BCE(σ(s_k), σ(t_k))``

    Source: Wang et al., "CrossKD", CVPR 2024; the quality focal loss of Li et al., NeurIPS 2020,
    with a teacher's scores as targets.

    Args:
        student_logits: Logits (P, K).
        teacher_logits: Logits (P, K), without gradient.
        beta: Exponent of the focal weight. Defaults to 1.0.

    Returns:
        Losses (P,); 0 where the student equals the teacher.
    """
    target = teacher_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(student_logits, target, reduction='none')
    return (entropy * (student_logits.sigmoid() - target).abs().pow(beta)).sum(1)


def distribution_kl(student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0) -> Tensor:
    """KL of discrete distributions, scaled by τ².

    Args:
        student_logits: Logits (P, B) over B bins or classes.
        teacher_logits: Logits (P, B), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Divergences (P,), summed over the bins; 0 where the student equals the teacher.
    """
    log_teacher = (teacher_logits / tau).log_softmax(1)
    return softmax_kl(student_logits / tau, log_teacher, 1, is_log=True) * tau**2
