"""Augmentations of feature maps, differentiable in strength and probability, and relaxed draws.

Every operation takes maps (N, C, H, W), a strength and its random numbers, and is the identity at
strength 0. Removed values become the channel's mean over the map, so that no level shifts. None is
geometric: the student's map would no longer align with the teacher's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['OPERATIONS', 'augment', 'relaxed_bernoulli', 'relaxed_choice']

# Smallest distance of a relaxed probability from 0 and 1, where its logit is infinite.
EPS = 1e-6


def gain(x: Tensor, strength: Tensor, draw: Tensor) -> Tensor:
    """Multiply every channel by ``1 + strength · u``, with u (N, C, 1, 1) from -1 to 1."""
    return x * (1 + strength * draw)


def noise(x: Tensor, strength: Tensor, draw: Tensor) -> Tensor:
    """Add ``strength · std · ε``: the channel's deviation over the map times normal ε, like x."""
    return x + strength * x.std((2, 3), keepdim=True, unbiased=False) * draw


def drop(x: Tensor, strength: Tensor, draw: Tensor) -> Tensor:
    """Flatten a share ``strength`` of the channels, chosen by u (N, C, 1, 1) from 0 to 1."""
    return fade(x, relaxed_bernoulli(strength, draw))


def cutout(x: Tensor, strength: Tensor, draw: Tensor) -> Tensor:
    """Flatten a rectangle of ``strength`` times the map's sides around a point, (N, 2) from 0 to 1.

    The point is x, y as fractions of the map. A location counts by its covered fraction, so the
    derivative by the strength exists.
    """
    height, width = x.shape[-2:]
    column = covered(draw[:, 0, None] * width, strength * width / 2, width)  # (N, W)
    row = covered(draw[:, 1, None] * height, strength * height / 2, height)  # (N, H)
    return fade(x, (row[:, :, None] * column[:, None])[:, None])


def blur(x: Tensor, strength: Tensor, draw: Tensor | None = None) -> Tensor:
    """Go ``strength`` of the way to the map smoothed by 1-2-1 in both directions."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1), mode='replicate')
    rows = (padded[..., :height, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    smooth = (rows[..., :width] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
    return x + strength * (smooth - x)


def fade(x: Tensor, share: Tensor) -> Tensor:
    """Go ``share`` of the way from a map to its channels' means."""
    return x + share * (x.mean((2, 3), keepdim=True) - x)


def covered(center: Tensor, half: Tensor, cells: int) -> Tensor:
    """Return the fraction of each location within ``half`` of a center (N, 1): (N, cells)."""
    left = torch.arange(cells, device=center.device, dtype=center.dtype)
    right = torch.minimum(left + 1, center + half)
    return (right - torch.maximum(left, center - half)).clamp(min=0)


@dataclass(frozen=True)
class Operation:
    """An operation of this module.

    Args:
        apply: The function.
        cap: Strength at magnitude 1, low enough to leave a useful target.
        draw: Random numbers of maps of a shape (N, C, H, W), from a generator.
    """

    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    cap: float
    draw: Callable[[Sequence[int], torch.Generator], Tensor]


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


OPERATIONS = dict(
    gain=Operation(gain, 0.5, lambda s, g: 2 * _uniform(g, s[0], s[1], 1, 1) - 1),
    noise=Operation(noise, 0.5, lambda s, g: torch.randn(tuple(s), generator=g, device=g.device)),
    drop=Operation(drop, 0.3, lambda s, g: _uniform(g, s[0], s[1], 1, 1)),
    cutout=Operation(cutout, 0.5, lambda s, g: _uniform(g, s[0], 2)),
    blur=Operation(blur, 1.0, lambda s, g: torch.empty(s[0], 0, device=g.device)),
)


def relaxed_bernoulli(probability: Tensor, u: Tensor, tau: float = 0.5) -> Tensor:
    """Draw 0 or 1, with the derivative of a relaxed draw by the probability (straight through).

    The value is ``[u > 1 - p]``, the derivative that of
    ``σ((logit p + log u - log(1 - u)) / τ)``.

    Source: Maddison et al., "The Concrete Distribution", ICLR 2017.

    Args:
        probability: p, broadcast against u.
        u: Uniform numbers from 0 to 1.
        tau: Temperature of the relaxation. Defaults to 0.5.
    """
    soft = ((torch.logit(probability, EPS) + torch.logit(u, EPS)) / tau).sigmoid()
    hard = (u > 1 - probability).to(soft)
    return hard + (soft - soft.detach())


def relaxed_choice(logits: Tensor, u: Tensor, tau: float = 1.0, hard: bool = False) -> Tensor:
    """Return a relaxed one-hot choice, ``softmax((π - log(-log u)) / τ)`` over the last axis.

    Its largest entry is an exact draw from softmax(π).

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, eq. 1-2.

    Args:
        logits: π, broadcast against u.
        u: Uniform numbers from 0 to 1.
        tau: Temperature. Defaults to 1.0.
        hard: Return that draw as exactly 0 and 1, with the derivative of the relaxed choice
            (straight through). Defaults to False.
    """
    soft = ((logits - (-u.clamp(EPS, 1 - EPS).log()).log()) / tau).softmax(-1)
    if not hard:
        return soft
    drawn = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
    return drawn + (soft - soft.detach())


def augment(
    x: Tensor,
    operations: Sequence[str],
    magnitudes: Tensor,
    applied: Tensor,
    draws: Sequence[Tensor],
) -> Tensor:
    """Apply one operation after the other, each where drawn: ``b · o(F; μ) + (1 - b) · F``.

    Args:
        x: Maps (N, C, H, W).
        operations: Names of the operations.
        magnitudes: μ of each from 0 to 1, as a fraction of the operation's cap.
        applied: b (N, …), 1 where an operation is applied, a column for each.
        draws: Random numbers of each.
    """
    for index, name in enumerate(operations):
        operation = OPERATIONS[name]
        out = operation.apply(x, magnitudes[index] * operation.cap, draws[index])
        b = applied[:, index, None, None, None]
        x = b * out + (1 - b) * x
    return x
