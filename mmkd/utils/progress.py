"""Where the training is."""

from __future__ import annotations

from mmengine.logging import MessageHub


def progress() -> tuple[int, int | None]:
    """Return the current iteration and the number of iterations, as the Runner publishes them."""
    info = MessageHub.get_current_instance().runtime_info
    return int(info.get('iter', 0)), info.get('max_iters')


def epoch_progress() -> tuple[int, int | None]:
    """Return the current epoch and the number of epochs, as the Runner publishes them.

    A loop over iterations publishes epoch 0 of 1; outside of a Runner it is epoch 0 of None.
    """
    info = MessageHub.get_current_instance().runtime_info
    return int(info.get('epoch', 0)), info.get('max_epochs')
