"""KL to a softmax, in one tensor of memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _SoftmaxKL(torch.autograd.Function):
    """Keeps the gradient, which is one tensor, instead of the two that it is made of."""

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

    Its backward pass keeps one tensor of the logits' size; log-softmax and product keep two.

    Args:
        logits: Logits of any shape.
        target: Probabilities of that shape, or their logarithms. Where they want a gradient, as
            those of learned augmentations do, nothing is saved.
        dim: Dimension of the distributions.
        is_log: Whether ``target`` are logarithms, with which the divergence of equal distributions
            is exactly 0. Defaults to False: probabilities, which may be 0.

    Returns:
        Divergences, without that dimension.
    """
    if target.requires_grad:
        log_probs = logits.log_softmax(dim)
        log_target = target if is_log else target.clamp(min=torch.finfo(target.dtype).tiny).log()
        return (log_target.exp() * (log_target - log_probs)).sum(dim)
    return _SoftmaxKL.apply(logits, target, dim, is_log)
