"""Differentiable affine transforms of images, and choices that carry gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gumbel_choice(logits: Tensor, uniform: Tensor, tau: float = 1.0) -> Tensor:
    """Choose one of M for each row by Gumbel-softmax, straight through.

    ``c = onehot(argmax_m (π_m + g_m))`` with ``g = -log(-log u)``; backward it is
    ``softmax((π + g) / τ)``. Row m is chosen with probability ``softmax(π)_m``.

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, eq. 1-2.

    Args:
        logits: π (M,).
        uniform: Draws u (N, M) from [0, 1).
        tau: Temperature. Defaults to 1.0.

    Returns:
        One-hot rows (N, M), exactly 0 and 1.
    """
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -(-uniform.clamp(min=tiny).log()).log()
    scores = logits + gumbel
    soft = (scores / tau).softmax(1)
    hard = F.one_hot(scores.argmax(1), scores.shape[1]).to(soft)
    return hard + (soft - soft.detach())
