"""Gradients of single losses on the student, without touching ``.grad``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# A gradient in half precision would underflow without it.
SCALE = 1024.0
Gradient = list[Tensor | None]


def gradient_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradient | None:
    """Return the gradient of a loss, or None where autograd cannot tell.

    ``torch.autograd.grad`` leaves ``.grad`` and DDP's hooks alone. It cannot pass through
    re-entrant checkpointing.

    Returns:
        One tensor for each parameter, fp32; None for those that the loss does not depend on.
    """
    if not loss.requires_grad:
        return [None] * len(parameters)
    try:
        found = torch.autograd.grad(loss * SCALE, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None
    return [None if g is None else g.detach().float() / SCALE for g in found]


def reaches(gradient: Gradient) -> bool:
    """Whether a loss depends on any parameter."""
    return any(g is not None for g in gradient)


def norm(gradient: Gradient) -> float:
    """Return the 2-norm of a gradient."""
    norms = [g.norm() for g in gradient if g is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def cosine(one: Gradient, other: Gradient) -> float:
    """Return the cosine of the angle between two gradients; NaN where one is zero."""
    products = [(a * b).sum() for a, b in zip(one, other) if a is not None and b is not None]
    size = norm(one) * norm(other)
    return float(sum(products)) / size if size else float('nan')


def add(one: Gradient, other: Gradient) -> Gradient:
    """Return the sum of two gradients."""
    return [b if a is None else a if b is None else a + b for a, b in zip(one, other)]
