"""Divergences and cross-entropies of class scores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['class_rows', 'kl_divergence', 'masked_log_softmax', 'soft_cross_entropy', 'softmax_kl']


class _SoftmaxKL(torch.autograd.Function):
    """Saves the gradient, one tensor, instead of the two that it is computed from."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, dim: int, is_log: bool) -> Tensor:
        log_probs = logits.log_softmax(dim)
        probs = target.exp() if is_log else target
        if is_log:
            result = (probs * (target - log_probs)).sum(dim)
        else:
            result = (torch.special.xlogy(target, target) - target * log_probs).sum(dim)
        if ctx.needs_input_grad[0]:
            ctx.dim = dim
            gradient = log_probs.exp_().mul_(probs.sum(dim, keepdim=True)).sub_(probs)
            ctx.save_for_backward(gradient)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.unsqueeze(ctx.dim), None, None, None


def softmax_kl(logits: Tensor, target: Tensor, dim: int, is_log: bool = False) -> Tensor:
    """``KL(target || softmax(logits))`` over one dimension.

    The backward pass keeps one tensor of the logits' size; log-softmax and product would keep two.

    Args:
        logits: Logits of any shape.
        target: Probabilities of that shape, or their logarithms. If they require a gradient, such
            as those of a learned augmentation, memory is not saved; logarithms are safer then,
            because a probability that underflows has no gradient.
        dim: Dimension of the distributions.
        is_log: Whether ``target`` are logarithms. The divergence of equal distributions is then
            exactly 0. Defaults to False: probabilities, which may be 0.

    Returns:
        Divergences, without that dimension.
    """
    if target.requires_grad:
        log_probs = logits.log_softmax(dim)
        log_target = target if is_log else target.clamp(min=torch.finfo(target.dtype).tiny).log()
        return (log_target.exp() * (log_target - log_probs)).sum(dim)
    return _SoftmaxKL.apply(logits, target, dim, is_log)


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


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K) with distributions (N, K) as targets, mean over images."""
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def masked_log_softmax(logits: Tensor, is_target: Tensor) -> Tensor:
    """Log-softmax (N, K) of logits over the classes outside of ``is_target``, bool; 0 inside."""
    # Finite: with -inf a row in which every class is a target would have a gradient of nan.
    lowest = torch.finfo(logits.dtype).min
    kept = F.log_softmax(logits.masked_fill(is_target, lowest), dim=1)
    return kept.masked_fill(is_target, 0.0)


def class_rows(logits: Tensor, num_classes: int) -> Tensor:
    """Turn a dense head's map (N, A·K, H, W) of A anchors into rows (N·A·H·W, K)."""
    n, _, h, w = logits.shape
    maps = logits.reshape(n, -1, num_classes, h, w)  # (N, A, K, H, W)
    return maps.permute(0, 1, 3, 4, 2).reshape(-1, num_classes)
