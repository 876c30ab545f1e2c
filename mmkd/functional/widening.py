"""Weights of a layer that is widened around the weights of a narrow one."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(weight: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """Put a layer's weight into the upper left corner of a larger one.

    ``[[W, columns], [rows]]``: with ``columns = 0`` the first C_out outputs are those of the
    narrow layer, whatever the added inputs and the rows are.

    Args:
        weight: (C_out, C_in, …) of a convolution or linear layer, or (C_out,) of a norm or a bias.
        rows: (E_out, C_in + E_in, …) of E_out added outputs. Defaults to None, no added outputs.
        columns: (C_out, E_in, …), which lead from the E_in added inputs to the narrow layer's
            outputs. Defaults to None, no added inputs.

    Returns:
        (C_out + E_out, C_in + E_in, …).
    """
    if columns is not None:
        weight = torch.cat([weight, columns], 1)
    if rows is not None:
        weight = torch.cat([weight, rows])
    return weight
