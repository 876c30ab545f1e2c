"""A batch sampler that shows every batch twice in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from mmkd.registry import DATA_SAMPLERS
from mmkd.utils import ConfigError


@DATA_SAMPLERS.register_module()
class PreviousBatchSampler:
    """Batches of n new samples, followed by the n samples of the batch before.

    The loader augments the second half anew. The first batch of a run has new samples only; that
    of a later epoch ends with the last new samples of the epoch before. ``batch_size`` of the data
    loader stays the number of images in a step, 2n, so an epoch has twice as many steps as one
    without and shows every image twice.

    Use it with ``train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler'))``.

    Args:
        sampler: Sampler of the new samples; mmengine passes the data loader's.
        batch_size: Number of images in a batch, even; mmengine passes the data loader's.
        drop_last: Drop the last batch of an epoch if it is smaller. Defaults to True.

    Raises:
        ConfigError: The batch size is odd.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = True) -> None:
        if not isinstance(batch_size, int) or batch_size < 2 or batch_size % 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'counts new and repeated images: even and at least 2, not {batch_size!r}',
            )
        self.sampler: Any = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._previous: list[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(int(index))
            if 2 * len(batch) == self.batch_size:
                yield self._joined(batch)
                batch = []
        if batch and not self.drop_last:
            yield self._joined(batch)

    def _joined(self, batch: list[int]) -> list[int]:
        joined = batch + self._previous
        self._previous = batch
        return joined

    def __len__(self) -> int:
        assert isinstance(self.sampler, Sized)
        full, rest = divmod(len(self.sampler), self.batch_size // 2)
        return full if self.drop_last else full + bool(rest)
