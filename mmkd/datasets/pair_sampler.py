"""Batches in which every image has a partner of its class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from mmengine.dist import get_rank, sync_random_seed
from mmengine.logging import print_log

from mmkd.datasets.half_batches import KEY, HalfBatchSampler
from mmkd.registry import DATA_SAMPLERS
from mmkd.utils import ConfigError


@DATA_SAMPLERS.register_module()
class SameClassPairBatchSampler(HalfBatchSampler):
    """Yields batches of n anchors followed by their n partners.

    Images i and i + n of a batch form a pair. The anchors come from the data loader's own
    ``sampler``, in its order and with its split over ranks: with mmengine's ``DefaultSampler``
    every image is an anchor once per epoch, plus the images it repeats to even out the ranks. The
    partner is a uniformly random other image of the same class, from the whole data set on every
    rank. The only image of a class is its own partner; the training pipeline augments it a second
    time.

    ``batch_size`` of the data loader is the number of images in a step, 2n. Partners depend only
    on the sampler's seed, the epoch and the rank, so a resumed run draws the same ones.

    Use it with ``train_dataloader = dict(batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))``.

    Args:
        sampler: Sampler of the anchors; mmengine passes the data loader's.
        batch_size: Number of images in a batch, even; mmengine passes the data loader's.
        anchors_per_epoch: ``'all'``: every image is an anchor once per epoch, which shows twice as
            many images as one without pairs. With twice the ``batch_size`` of the plain student
            it has as many steps. ``'half'``: one half of the images in each even epoch and the
            other half in the next, so an epoch is as long as without pairs at the same batch size. An ``InfiniteSampler`` has no epochs and
            ignores it. Defaults to ``'all'``.
        drop_last: Drop the last batch of an epoch if it is smaller. Defaults to False.

    Raises:
        ConfigError: The batch size is odd, or images have no label or several labels.
    """  # noqa: E501

    per_epoch = 'anchors_per_epoch'

    def __init__(
        self, sampler: Any, batch_size: int, anchors_per_epoch: str = 'all', drop_last: bool = False
    ) -> None:
        self.infinite = isinstance(sampler, InfiniteSampler)
        if self.infinite and anchors_per_epoch == 'half':
            anchors_per_epoch = 'all'
        super().__init__(sampler, batch_size, anchors_per_epoch, drop_last)
        seed = getattr(sampler, 'seed', None)
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.rank = int(getattr(sampler, 'rank', get_rank()))
        self.partners = Partners(*labels_and_images(sampler.dataset))
        print_log(self.describe(), logger='current')

    def describe(self) -> str:
        """Describe a batch and an epoch."""
        text = (
            f'same-class pairs: the batch of {self.batch_size} images is {self.batch_size // 2} '
            f'pairs; {self.partners.alone} images are the only ones of their class and paired with '
            'themselves'
        )
        if self.infinite:
            return text
        return (
            f'{text}; on each rank an epoch has {self.num_drawn} anchors, so {2 * self.num_drawn} '
            f'images instead of {len(self.sampler)} without pairs'
        )

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of every batch: n anchors, then their n partners."""
        epoch = getattr(self.sampler, 'epoch', 0)
        rng = np.random.default_rng([self.seed, epoch, self.rank])
        for anchors in self.draw():
            yield anchors + self.partners.draw(anchors, rng)


class Partners:
    """Draws other images of the same class.

    ``labels`` and ``images`` (D,) are class and image of each of the D entries of a data set; a
    repeated data set has several entries of one image.
    """

    def __init__(self, labels: np.ndarray, images: np.ndarray) -> None:
        _, self.entries, self.image_of = np.unique(images, return_index=True, return_inverse=True)
        of_image = labels[self.entries]
        # Images ordered by class; every class is one contiguous range.
        self.order = np.argsort(of_image, kind='stable')
        _, class_of, counts = np.unique(of_image, return_inverse=True, return_counts=True)
        starts = np.cumsum(counts) - counts
        self.start, self.count = starts[class_of], counts[class_of]
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(self.order))
        self.place -= self.start  # within the range
        self.alone = int((counts == 1).sum())

    def draw(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        """Return the index of a partner for each anchor."""
        images = self.image_of[anchors]
        count, place = self.count[images], self.place[images]
        others = np.maximum(count - 1, 1)
        step = np.minimum((rng.random(len(images)) * others).astype(np.int64), others - 1)
        step = np.where(count > 1, 1 + step, 0)  # 1 .. count - 1 places on, cyclic in the range
        partner = self.order[self.start[images] + (place + step) % count]
        return self.entries[partner].tolist()


def labels_and_images(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the class (D,) and the image (D,) of every entry of a data set.

    Only annotations are read. mmengine's wrappers are resolved to the images that they repeat.

    Raises:
        ConfigError: An image has no label or several labels.
    """
    if isinstance(dataset, ConcatDataset):
        found = [labels_and_images(part) for part in dataset.datasets]
        offsets = np.cumsum([0, *(images.max(initial=-1) + 1 for _, images in found[:-1])])
        shifted = [images + offset for (_, images), offset in zip(found, offsets)]
        return np.concatenate([labels for labels, _ in found]), np.concatenate(shifted)
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        labels, images = labels_and_images(dataset.dataset)
        inner = [dataset._get_ori_dataset_idx(i) for i in range(len(dataset))]
        return labels[inner], images[inner]
    count = len(dataset)
    return np.array([class_of(dataset, i) for i in range(count)], np.int64), np.arange(count)


def class_of(dataset: Any, index: int) -> int:
    """Return the class of one image from its annotation.

    Raises:
        ConfigError: It has no class or several classes.
    """
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    label = info.get('gt_label')
    if label is None and hasattr(dataset, 'get_cat_ids'):
        with suppress(NotImplementedError, KeyError):
            label = dataset.get_cat_ids(index)
    values = np.unique(np.asarray([] if label is None else label))
    if len(values) != 1:
        found = f'{len(values)} classes' if len(values) else 'no class (gt_label)'
        raise ConfigError(
            'train_dataloader.dataset',
            f'image {index} of {type(dataset).__name__} has {found}, and same-class pairs need '
            f'exactly one: remove {KEY}, or use a single-label classification data set',
        )
    return int(values[0])
