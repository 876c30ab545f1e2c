"""Attention between two maps, without the matrix of all pairs of cells."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

WIDTH_MULTIPLE = 8  # fused kernels on accelerators want widths that are multiples of it


def attend_in_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention, its result still in pieces of channels.

    ``softmax(Qᵀ K / √Q) Vᵀ``, exact, in memory that grows with P and not with P · S. torch's fused
    kernels on the CPU want values as wide as queries; so the values are cut into J pieces of equal
    width, which stand as J heads that share their queries and keys. Where widths do not divide,
    zeros fill them up, which changes nothing.

    Args:
        query: Queries (N, Q, P) of P cells.
        key: Keys (N, Q, S) of S cells.
        value: Values (N, C, S).

    Returns:
        Pieces (N, J, P, W) with J · W ≥ C: channel c is piece c // W, column c % W, and the columns
        from C on are 0.
    """
    narrow, channels = query.shape[1], value.shape[1]
    width = narrow + -narrow % WIDTH_MULTIPLE
    pieces = -(-channels // width)
    if width > narrow:
        query, key = (F.pad(x, (0, 0, 0, width - narrow)) for x in (query, key))
    missing = pieces * width - channels
    value = F.pad(value, (0, 0, 0, missing)) if missing else value
    # The kernels want the last dimension contiguous. An expanded tensor is saved once.
    heads = value.unflatten(1, (pieces, width)).transpose(2, 3).contiguous()  # (N, J, S, W)
    q, k = (
        x.transpose(1, 2).contiguous()[:, None].expand(-1, pieces, -1, -1) for x in (query, key)
    )
    return F.scaled_dot_product_attention(q, k, heads, scale=narrow**-0.5)


def cross_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention in memory that grows with P, exact.

    Args:
        query: Queries (N, Q, P) of P cells.
        key: Keys (N, Q, S) of S cells.
        value: Values (N, C, S).

    Returns:
        For every query the values' mean, weighted by ``softmax(Qᵀ K / √Q)`` over S: (N, C, P).
    """
    pieces = attend_in_pieces(query, key, value)
    return pieces.transpose(2, 3).flatten(1, 2)[:, : value.shape[1]]


def pool_cells(x: Tensor, factor: int) -> Tensor:
    """Average a map (N, C, H, W) over squares of ``factor`` cells, those at the edge cut off."""
    if factor == 1:
        return x
    return F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
