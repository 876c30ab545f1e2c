"""Gather rows from all ranks."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks, in rank order.

    The ``rows`` (N, …) have no gradient; N may differ between ranks and may be 0. Every rank gets
    the same tensor, and a single process ``rows`` itself.
    """
    if get_world_size() == 1:
        return rows
    # Collectives need equal shapes, and one rank may have a shorter last batch.
    counts = [int(c) for c in all_gather(torch.tensor([len(rows)], device=rows.device))]
    if not any(counts):
        return rows
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([kept[:n] for kept, n in zip(all_gather(padded), counts, strict=True)])
