"""A batch sampler that shows every batch twice in a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log

from mmkd.datasets.half_epochs import HalfEpochs
from mmkd.registry import DATA_SAMPLERS
from mmkd.utils import ConfigError

KEY = 'train_dataloader.batch_sampler'


@DATA_SAMPLERS.register_module()
class PreviousBatchSampler:
    """Batches of n new samples, followed by the n samples of the batch before.

    The loader augments the second half anew. The first batch of a run has new samples only; that
    of a later epoch ends with the last new samples of the epoch before. ``batch_size`` of the data
    loader stays the number of images in a step, 2n. The log says how long an epoch is.

    Use it with ``train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler'))``.

    Args:
        sampler: Sampler of the new samples; mmengine passes the data loader's.
        batch_size: Number of images in a batch, even; mmengine passes the data loader's.
        drop_last: Drop the last batch of an epoch if it is smaller. Defaults to True.
        new_per_epoch: ``'all'``: every image is new once in an epoch, which has twice as many steps
            as one without and shows every image twice. ``'half'``: one half of the images in each
            even epoch and the other half in the next, so that an epoch is as long as without and a
            schedule in epochs keeps its meaning. Defaults to ``'all'``.

    Raises:
        ConfigError: The batch size is odd, or the sampler does not know its epoch and should.
    """

    def __init__(
        self, sampler: Any, batch_size: int, drop_last: bool = True, new_per_epoch: str = 'all'
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 2 or batch_size % 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'counts new and repeated images: even and at least 2, not {batch_size!r}',
            )
        if new_per_epoch not in ('all', 'half'):
            raise ConfigError(f'{KEY}.new_per_epoch', "use 'all' or 'half'")
        self.half: HalfEpochs | None = None
        if new_per_epoch == 'half':
            self.half = HalfEpochs(sampler, f'{KEY}.new_per_epoch')
        self.sampler: Any = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._previous: list[int] = []
        images = len(self.sampler if self.half is None else self.half)
        print_log(
            f'repeated batches: {batch_size // 2} of the {batch_size} images of a step are new; on '
            f'each rank an epoch has {len(self)} steps and shows {2 * images} images where it '
            f'shows {len(self.sampler)} without repetition',
            logger='current',
        )

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler if self.half is None else self.half.indices():
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
        images = len(self.sampler if self.half is None else self.half)
        full, rest = divmod(images, self.batch_size // 2)
        return full if self.drop_last else full + bool(rest)
