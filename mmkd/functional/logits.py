"""Divergences between class scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.functional.divergence import softmax_kl
from mmkd.functional.self_kd import masked_log_softmax


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
    return softmax_kl(student_logits / tau, teacher_probs, 1).mean() * tau**2


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


def nkd_target_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
    """NKD's target term, ``- mean t_y log s_y`` with softmax probabilities t and s.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.2.

    Args:
        student_logits: Logits (N, K).
        teacher_logits: Logits (N, K), without gradient.
        target: Classes (N,), int64.

    Returns:
        Scalar, mean over images.
    """
    column = target[:, None]
    teacher = teacher_logits.softmax(1).gather(1, column)  # (N, 1)
    return -(teacher * F.log_softmax(student_logits, dim=1).gather(1, column)).mean()


def nkd_non_target_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, tau: float = 1.0
) -> Tensor:
    """NKD's non-target term, a cross-entropy without the target class, scaled by τ².

    ``- τ² mean Σ_{k≠y} t̂_k log ŝ_k``; t̂ and ŝ are softmax over the K - 1 other logits / τ.

    Source: Yang et al., ICCV 2023, section 3.2.

    Args:
        student_logits: Logits (N, K).
        teacher_logits: Logits (N, K), without gradient.
        target: Classes (N,), int64.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar, mean over images; the teacher's entropy where the student equals it, 0 for K = 2.
    """
    is_target = F.one_hot(target, student_logits.shape[1]).bool()
    log_student = masked_log_softmax(student_logits / tau, is_target)  # 0 at the target
    teacher = masked_log_softmax(teacher_logits / tau, is_target).exp()
    return -(teacher * log_student).sum(1).mean() * tau**2


def dkd_terms(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The two parts of a KL divergence that DKD weighs apart, each scaled by τ².

    ``TCKD = τ² KL(b_t || b_s)`` with ``b = (p_y, 1 - p_y)``, and ``NCKD = τ² KL(p̂_t || p̂_s)``,
    p̂ the softmax over the K - 1 other classes. KL itself is
    ``TCKD + mean (1 - p_t,y) NCKD_i`` over the images i.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 6-7.

    Args:
        student_logits: Logits (N, K).
        teacher_logits: Logits (N, K), without gradient.
        target: Classes (N,), int64.
        tau: Temperature. Defaults to 1.0.

    Returns:
        TCKD and NCKD, scalars, means over images; 0 where the student equals the teacher. NCKD is 0
        for K = 2.
    """
    is_target = F.one_hot(target, student_logits.shape[1]).bool()
    target_sides, other_sides = [], []
    for logits in (student_logits / tau, teacher_logits / tau):
        log_probs = F.log_softmax(logits, dim=1)
        own = log_probs.gather(1, target[:, None])[:, 0]
        lowest = torch.finfo(logits.dtype).min
        rest = log_probs.masked_fill(is_target, lowest).logsumexp(1)  # log (1 - p_y)
        target_sides.append(torch.stack([own, rest], 1))  # (N, 2)
        other_sides.append(masked_log_softmax(logits, is_target))  # (N, K), 0 at the target
    losses = [
        (teacher.exp() * (teacher - student)).sum(1).mean() * tau**2
        for student, teacher in (target_sides, other_sides)
    ]
    return losses[0], losses[1]


def pearson_distance(student: Tensor, teacher: Tensor, eps: float = 1e-8) -> Tensor:
    """One minus the Pearson correlation of corresponding rows, mean over rows.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, eq. 7.

    Args:
        student: Rows (R, D).
        teacher: Rows (R, D), without gradient.
        eps: Rows of which the product of the norms, without their means, is not above it count as
            uncorrelated: 1, without gradient. Defaults to 1e-8.

    Returns:
        Scalar in [0, 2]; 0 where the student's rows are rising linear functions of the teacher's.

    Deviations: the authors' code adds ``eps`` to the product. In a row that is constant, such as a
    class that no image shows, the gradient would then be of the size of 1 / eps.
    """
    x, y = (side - side.mean(1, keepdim=True) for side in (student, teacher))
    norms = x.norm(dim=1) * y.norm(dim=1)  # (R,)
    correlation = (x * y).sum(1) / norms.clamp(min=eps)
    return 1 - torch.where(norms > eps, correlation, 0.0).mean()


def unit_std(logits: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide the logits of every image by their own standard deviation over classes.

    Gradients flow through the deviation. For K = 2 the result is ±1/√2 about its mean whatever the
    logits are, so nothing can be learnt from it.

    Source: Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An Empirical
    Study", WACV 2023, and the authors' code (unbiased deviation).

    Args:
        logits: Logits (N, K).
        eps: Smallest deviation that is divided by. Defaults to 1e-6.

    Returns:
        Logits (N, K).
    """
    return logits / logits.std(1, keepdim=True).clamp(min=eps)
