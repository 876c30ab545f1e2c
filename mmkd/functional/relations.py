"""Relations between cells: of one image, of two images, and to a memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.functional.divergence import softmax_kl


def unit_pixels(feature: Tensor) -> Tensor:
    """Turn a map (N, C, H, W) into rows (N, H·W, C) of unit length."""
    return F.normalize(feature, dim=1).flatten(2).transpose(1, 2)


def pairwise_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosine similarities between all cells of an image.

    Source: Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    section 3.2 (pair-wise distillation).

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.

    Returns:
        Scalar; 0 where the student equals the teacher. Both matrices (N, H·W, H·W) exist at once.
    """
    similarities = [(p := unit_pixels(x)) @ p.transpose(1, 2) for x in (student, teacher)]
    return (similarities[0] - similarities[1]).square().mean()


def cross_image_loss(student: Tensor, teacher: Tensor, tau: float = 0.1) -> Tensor:
    """KL between the relations of the cells of every image to those of every other one.

    ``L = 1/N² Σ_ij mean_p KL(softmax(t_i,p · t_j / τ) || softmax(s_i,p · s_j / τ))`` with cells
    s, t of unit length.

    Source: Yang et al., "Cross-Image Relational Knowledge Distillation for Semantic
    Segmentation", CVPR 2022, mini-batch-based pixel-to-pixel distillation.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.
        tau: Temperature. Defaults to 0.1.

    Returns:
        Scalar; 0 where the student equals the teacher. Its memory is N² matrices (H·W, H·W).
    """
    rows = [unit_pixels(x) for x in (student, teacher)]  # (N, P, C)
    logits = [torch.einsum('ipc,jqc->ijpq', x, x) / tau for x in rows]
    return softmax_kl(logits[0], logits[1].log_softmax(3), 3, is_log=True).mean()


def memory_loss(
    student: Tensor, teacher: Tensor, memory: Tensor, valid: Tensor, tau: float = 0.1
) -> Tensor:
    """KL between the relations of cells to the embeddings of a memory.

    Source: Yang et al., CVPR 2022, memory-based pixel-to-pixel and pixel-to-region distillation.

    Args:
        student: Cells (P, C) of unit length, projected to the teacher's channels.
        teacher: Cells (P, C) of unit length, without gradient.
        memory: Embeddings (Q, C) of unit length.
        valid: 1 for the cells (P,) that count, 0 for ignored ones.
        tau: Temperature. Defaults to 0.1.

    Returns:
        Scalar: the mean over the cells that count; 0 where there is none.
    """
    logits = [x @ memory.T / tau for x in (student, teacher)]  # (P, Q)
    divergence = softmax_kl(logits[0], logits[1].log_softmax(1), 1, is_log=True)  # (P,)
    return (divergence * valid).sum() / valid.sum().clamp(min=1)
