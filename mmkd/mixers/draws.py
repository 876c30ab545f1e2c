"""Random draws that the mixers share, from an explicit generator."""

from __future__ import annotations

import torch
from torch import Tensor


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw (count,) values from Beta(α, α) with a generator, which torch.distributions cannot."""
    concentration = torch.full((count, 2), float(alpha))
    gamma = torch._standard_gamma(concentration, generator=generator)
    return gamma[:, 0] / gamma.sum(1)


def partners(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw source tables (N, count): column 0 is the image itself, the others are derangements.

    The columns are steps along one random cyclic order of the batch, so no image meets itself or
    another one twice as long as ``count`` ≤ N.
    """
    order = torch.randperm(batch, generator=generator)
    position = order.argsort()
    return torch.stack([order[(position + k) % batch] for k in range(count)], 1)
