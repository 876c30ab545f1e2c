"""Distances between the channels of two maps, each channel a distribution over the cells."""

from __future__ import annotations

from torch import Tensor

from mmkd.functional.divergence import softmax_kl


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
    cells = [x.flatten(2) / tau for x in (student, teacher)]  # (N, C, H·W)
    return softmax_kl(cells[0], cells[1].log_softmax(2), 2, is_log=True).mean() * tau**2
