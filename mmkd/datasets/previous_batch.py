"""A batch sampler that shows every batch twice in a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log

from mmkd.datasets.half_batches import HalfBatchSampler
from mmkd.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class PreviousBatchSampler(HalfBatchSampler):
    """Batches of n new samples, followed by the n new samples of the previous batch.

    The loader augments the second half anew. The first batch of a run has new samples only; that
    of a later epoch ends with the last new samples of the epoch before. ``batch_size`` of the data
    loader is the number of images in a step, 2n. The log shows the length of an epoch.

    Use it with ``train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler'))``.

    Args:
        sampler: Sampler of the new samples; mmengine passes the data loader's.
        batch_size: Number of images in a batch, even; mmengine passes the data loader's.
        drop_last: Drop the last batch of an epoch if it is smaller. Defaults to False.
        new_per_epoch: ``'all'``: every image is new once per epoch, which shows every image twice.
            With twice the ``batch_size`` of the plain student it has as many steps. ``'half'``:
            one half of the images in each even epoch and the other half in the next, so an epoch
            is as long as without repetition at the same batch size. Defaults to ``'all'``.

    Raises:
        ConfigError: The batch size is odd, or ``'half'`` with a sampler that has no epoch.
    """

    per_epoch = 'new_per_epoch'

    def __init__(
        self, sampler: Any, batch_size: int, drop_last: bool = False, new_per_epoch: str = 'all'
    ) -> None:
        super().__init__(sampler, batch_size, new_per_epoch, drop_last)
        self._previous: list[int] = []
        print_log(
            f'repeated batches: {batch_size // 2} of the {batch_size} images of a step are new; on '
            f'each rank an epoch has {len(self)} steps and shows {2 * self.num_drawn} images '
            f'instead of {len(sampler)} without repetition',
            logger='current',
        )

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.draw():
            joined, self._previous = batch + self._previous, batch
            yield joined
