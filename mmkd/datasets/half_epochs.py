"""Epochs of half the images, for batches that show every image of theirs twice."""

from __future__ import annotations

from typing import Any

from mmkd.utils import ConfigError


class HalfEpochs:
    """Draw one half of a sampler's images in each even epoch and the other half in the next.

    Args:
        sampler: A sampler that knows its epoch, such as mmengine's ``DefaultSampler``.
        key: Config key of whoever asks, for the error message.

    Raises:
        ConfigError: The sampler does not know its epoch.
    """

    def __init__(self, sampler: Any, key: str) -> None:
        if not (hasattr(sampler, 'epoch') and hasattr(sampler, 'set_epoch')):
            raise ConfigError(
                key,
                f"'half' needs a sampler that knows its epoch, which {type(sampler).__name__} "
                'does not',
            )
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-len(self.sampler) // 2)

    def indices(self) -> list[int]:
        """Return the images of this epoch."""
        epoch, count = self.sampler.epoch, len(self)
        self.sampler.set_epoch(epoch // 2)  # two epochs share one order
        indices = [int(index) for index in self.sampler]
        self.sampler.set_epoch(epoch)
        # Of an odd number the middle one is in both: all epochs have the same length.
        return indices[:count] if epoch % 2 == 0 else indices[len(indices) - count :]
