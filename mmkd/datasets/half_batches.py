"""Batches whose first half a sampler draws and whose second half repeats or matches images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from mmkd.utils import ConfigError, config_key, one_of

KEY = 'train_dataloader.batch_sampler'


class HalfBatchSampler:
    """Base class: draws n indices for each batch of 2n; a subclass adds the other n.

    Args:
        sampler: Sampler of the first halves.
        batch_size: Number of images in a batch, even.
        images: ``'all'``: draw every image once per epoch. ``'half'``: draw one half of the images
            in each even epoch and the other half in the next.
        drop_last: Drop the last batch of an epoch if it is smaller.

    Raises:
        ConfigError: The batch size is odd, or ``'half'`` with a sampler that has no epoch.
    """

    #: Name of the argument ``images`` in the subclass.
    per_epoch: str

    def __init__(self, sampler: Any, batch_size: int, images: str, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or batch_size < 2 or batch_size % 2:
            message = f'must be even and at least 2, got {batch_size!r}: it counts both halves'
            raise ConfigError('train_dataloader.batch_size', message)
        with config_key(KEY):
            one_of(('all', 'half'), **{self.per_epoch: images})
            self.half = images == 'half'
            if self.half and not (hasattr(sampler, 'epoch') and hasattr(sampler, 'set_epoch')):
                message = f"'half' needs a sampler with epochs, got {type(sampler).__name__}"
                raise ConfigError(self.per_epoch, message)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    @property
    def num_drawn(self) -> int:
        """Indices drawn per epoch on this rank."""
        return -(-len(self.sampler) // 2) if self.half else len(self.sampler)

    def draw(self) -> Iterator[list[int]]:
        """Yield the first half of every batch of this epoch."""
        indices = iter(self._half() if self.half else self.sampler)
        n = self.batch_size // 2
        while half := [int(index) for index in itertools.islice(indices, n)]:
            if len(half) == n or not self.drop_last:
                yield half

    def _half(self) -> list[int]:
        epoch, count = self.sampler.epoch, self.num_drawn
        self.sampler.set_epoch(epoch // 2)  # two epochs share one order
        indices = list(self.sampler)
        self.sampler.set_epoch(epoch)
        # The middle one of an odd number is in both halves: all epochs have the same length.
        return indices[:count] if epoch % 2 == 0 else indices[len(indices) - count :]

    def __len__(self) -> int:
        """Number of batches per epoch on this rank."""
        n = self.batch_size // 2
        return self.num_drawn // n if self.drop_last else -(-self.num_drawn // n)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the sampler."""
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)
