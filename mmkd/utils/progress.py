"""Current iteration and epoch."""

from __future__ import annotations

from mmengine.logging import MessageHub


def progress() -> tuple[int, int | None]:
    """Return the current iteration and the number of iterations, from the Runner."""
    info = MessageHub.get_current_instance().runtime_info
    return int(info.get('iter', 0)), info.get('max_iters')


def epoch_progress() -> tuple[int, int | None]:
    """Return the current epoch and the number of epochs, from the Runner.

    An iteration-based loop reports epoch 0 of 1; outside a Runner it is epoch 0 of None.
    """
    info = MessageHub.get_current_instance().runtime_info
    return int(info.get('epoch', 0)), info.get('max_epochs')
