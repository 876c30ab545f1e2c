"""Distances between the channels of two maps, each channel a distribution over the cells."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def channel_kl(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) of every channel's softmax over the map, scaled by τ².

    ``L = τ²/C Σ_c KL(softmax_hw(F_t,c / τ) || softmax_hw(F_s,c / τ))``, mean over N.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.

    Args:
        student: Map (N, C, H, W).
        teacher: Map (N, C, H, W), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar; 0 where the student equals the teacher, and on maps of one cell.
    """
    log_student = F.log_softmax(student.flatten(2) / tau, dim=2)  # (N, C, H·W)
    log_teacher = F.log_softmax(teacher.flatten(2) / tau, dim=2)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(2)  # (N, C)
    return divergence.mean() * tau**2
