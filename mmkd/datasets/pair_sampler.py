"""Batches in which every image has a partner of its own class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from mmengine.dist import get_rank, sync_random_seed
from mmengine.logging import print_log

from mmkd.datasets.half_epochs import HalfEpochs
from mmkd.registry import DATA_SAMPLERS
from mmkd.utils import ConfigError

KEY = 'train_dataloader.batch_sampler'


@DATA_SAMPLERS.register_module()
class SameClassPairBatchSampler:
    """Yields batches of n anchors followed by their n partners.

    Image i of a batch and image i + n form a pair. The anchors are what the data loader's own
    ``sampler`` yields, in its order and with its rules for several ranks: under mmengine's
    ``DefaultSampler`` every image is an anchor once, and those that it adds to fill up the ranks a
    second time. The partner is a uniformly random other image of the same class, from the whole
    data set on every rank. In a class of a single image it is that image itself, which the
    training pipeline then augments a second time.

    ``batch_size`` of the data loader stays the number of images in a step, 2n. Partners depend on
    the sampler's seed, the epoch and the rank alone, so a resumed run draws what an uninterrupted
    one draws.

    Use it with ``train_dataloader = dict(batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))``.

    Args:
        sampler: Sampler of the anchors; mmengine passes the data loader's.
        batch_size: Number of images in a batch, even; mmengine passes the data loader's.
        anchors_per_epoch: ``'all'``: every image is an anchor once in an epoch, which shows twice
            as many images as one without pairs. ``'half'``: one half of the images in each even
            epoch and the other half in the next, so that an epoch is as long as without pairs and
            a schedule in epochs keeps its meaning. An ``InfiniteSampler`` has no epochs and
            ignores it. Defaults to ``'all'``.
        drop_last: Drop the last batch of an epoch if it is smaller. Defaults to False.

    Raises:
        ConfigError: The batch size is odd, or the data set has no labels or several labels for one
            image.
    """  # noqa: E501

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        anchors_per_epoch: str = 'all',
        drop_last: bool = False,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 2 or batch_size % 2:
            raise ConfigError(
                'train_dataloader.batch_size',
                f'counts the images of both halves of the pairs: even and at least 2, not '
                f'{batch_size}',
            )
        if anchors_per_epoch not in ('all', 'half'):
            raise ConfigError(f'{KEY}.anchors_per_epoch', "use 'all' or 'half'")
        self.infinite = isinstance(sampler, InfiniteSampler)
        self.half: HalfEpochs | None = None
        if anchors_per_epoch == 'half' and not self.infinite:
            self.half = HalfEpochs(sampler, f'{KEY}.anchors_per_epoch')
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        seed = getattr(sampler, 'seed', None)
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.rank = int(getattr(sampler, 'rank', get_rank()))
        self.partners = Partners(*labels_and_images(sampler.dataset))
        print_log(self.describe(), logger='current')

    def describe(self) -> str:
        """Word what a batch and an epoch are."""
        text = (
            f'same-class pairs: the batch of {self.batch_size} images is {self.batch_size // 2} '
            f'pairs; {self.partners.alone} images are alone in their class and paired with '
            'themselves'
        )
        if self.infinite:
            return text
        anchors, images = self.num_anchors, len(self.sampler)
        return (
            f'{text}; on each rank an epoch has {anchors} anchors, so {2 * anchors} images where '
            f'it has {images} without pairs'
        )

    @property
    def num_anchors(self) -> int:
        """Anchors of an epoch on this rank."""
        return len(self.sampler if self.half is None else self.half)

    def anchors(self) -> Iterator[int]:
        """Yield the anchors of this epoch."""
        yield from self.sampler if self.half is None else self.half.indices()

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of every batch: n anchors, then their n partners."""
        epoch = getattr(self.sampler, 'epoch', 0)
        rng = np.random.default_rng([self.seed, epoch, self.rank])
        pending: list[int] = []
        for index in self.anchors():
            pending.append(int(index))
            if 2 * len(pending) == self.batch_size:
                yield pending + self.partners.draw(pending, rng)
                pending = []
        if pending and not self.drop_last:
            yield pending + self.partners.draw(pending, rng)

    def __len__(self) -> int:
        """Number of batches of an epoch on this rank."""
        pairs = self.batch_size // 2
        return self.num_anchors // pairs if self.drop_last else -(-self.num_anchors // pairs)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides the order of the anchors and their partners."""
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)


class Partners:
    """Draws other images of the same class.

    Args:
        labels: Class (D,) of each of the D entries of a data set.
        images: Which image (D,) each entry shows: a repeated data set has several of one image.
    """

    def __init__(self, labels: np.ndarray, images: np.ndarray) -> None:
        _, self.entries, self.image_of = np.unique(images, return_index=True, return_inverse=True)
        of_image = labels[self.entries]
        # Images ordered by class; every class is one stretch of the order.
        self.order = np.argsort(of_image, kind='stable')
        _, class_of, counts = np.unique(of_image, return_inverse=True, return_counts=True)
        starts = np.cumsum(counts) - counts
        self.start, self.count = starts[class_of], counts[class_of]
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(self.order))
        self.place -= self.start  # inside the stretch
        self.alone = int((counts == 1).sum())

    def draw(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        """Return a partner's index for each anchor's."""
        images = self.image_of[anchors]
        count, place = self.count[images], self.place[images]
        others = np.maximum(count - 1, 1)
        step = np.minimum((rng.random(len(images)) * others).astype(np.int64), others - 1)
        step = np.where(count > 1, 1 + step, 0)  # 1 .. count - 1 places on, round the stretch
        partner = self.order[self.start[images] + (place + step) % count]
        return self.entries[partner].tolist()


def labels_and_images(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the class (D,) of every entry of a data set, and which image (D,) it shows.

    Only annotations are read. mmengine's wrappers are followed to the images that they repeat.

    Raises:
        ConfigError: There are no labels, or several for one image.
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
        ConfigError: It has none, or several.
    """
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    label = info.get('gt_label')
    if label is None and hasattr(dataset, 'get_cat_ids'):
        try:
            label = dataset.get_cat_ids(index)
        except (NotImplementedError, KeyError):
            label = None
    name = type(dataset).__name__
    if label is None:
        raise ConfigError(
            'train_dataloader.dataset',
            f'image {index} of {name} has no class (gt_label), which pairs of one class need; '
            f'remove {KEY}, or use a data set for classification',
        )
    values = np.unique(np.asarray(label))
    if len(values) != 1:
        raise ConfigError(
            'train_dataloader.dataset',
            f'image {index} of {name} has {len(values)} classes: pairs of one class are not '
            f'defined for multi-label data; remove {KEY}',
        )
    return int(values[0])
