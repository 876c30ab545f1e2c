"""torch.compile for a model that is read by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn


def compile_between(
    model: nn.Module, tapped: Iterable[str], device: torch.device
) -> Callable[[], None]:
    """Compile the largest modules that have no tapped module inside, in place.

    The taps' hooks stay outside of what is compiled, so they read, and stop the forward pass, as
    ever. Nothing is compiled before its first call.

    Args:
        model: A frozen model.
        tapped: Paths of the tapped modules.
        device: Where the model is. On a CPU its weights become constants of the compiled code.

    Returns:
        What undoes it.
    """
    options = {'freezing': True} if device.type == 'cpu' else None
    compiled = list(whole_pieces(model, set(tapped)))
    for module in compiled:
        module.forward = torch.compile(module.forward, options=options)

    def undo() -> None:
        for module in compiled:
            del module.forward

    return undo


def whole_pieces(model: nn.Module, tapped: set[str], prefix: str = '') -> list[nn.Module]:
    """Return the largest modules with parameters in which nothing is tapped."""
    found = []
    for name, child in model.named_children():
        path = f'{prefix}{name}'
        container = isinstance(child, (nn.ModuleList, nn.ModuleDict))  # these are never called
        if container or any(tap.startswith(f'{path}.') for tap in tapped):
            found += whole_pieces(child, tapped, f'{path}.')
        elif next(child.parameters(), None) is not None:
            found.append(child)
    return found
