"""A data set wrapper that numbers samples uniquely."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmkd.registry import DATASETS
from mmkd.utils import ConfigError

KEY = 'train_dataloader.dataset'


@DATASETS.register_module()
class IndexedDataset:
    """Give every image of nested data sets a unique number, ``sample_idx``.

    OpenMMLab's data sets number their own samples, and ``PackInputs`` keeps the number. A
    ``ConcatDataset`` passes on the numbers of its parts, so two images get the same one. Here each
    innermost data set gets a range of its own. An image that appears several times in an epoch
    (``RepeatDataset``, ``ClassBalancedDataset``) has the same number each time.

    A plain data set needs no wrapper.

    Args:
        dataset: A data set or its config.

    Raises:
        ConfigError: A wrapper inside does not map its samples to those of its data set.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._first: dict[int, int] = {}  # number of the first image of each innermost data set
        self.num_samples = 0
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        for leaf in innermost(self.dataset, mapped=True):
            if id(leaf) not in self._first:
                self._first[id(leaf)] = self.num_samples
                self.num_samples += len(leaf)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Meta information of the data set inside."""
        return copy.deepcopy(self.dataset.metainfo)

    def full_init(self) -> None:
        """Do nothing: the data set inside is initialized with this one."""

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the categories of a sample, which class-aware samplers need."""
        return self.dataset.get_cat_ids(idx)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return the annotation of a sample."""
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        data = self.dataset[idx]
        sample = data['data_samples']
        # Not `idx`: a data set replaces an image that it cannot read.
        number = sample.metainfo.get('sample_idx')
        if number is None:
            message = "must pack the meta key 'sample_idx' (the default of PackInputs)"
            raise ConfigError(f'{KEY}.pipeline', message)
        sample.set_metainfo(dict(sample_idx=self._first[leaf_of(self.dataset, idx)] + number))
        return data


def innermost(dataset: Any, mapped: bool = False) -> Iterator[Any]:
    """Yield the innermost data sets, in order.

    Raises:
        ConfigError: A wrapper does not map its samples to those inside, and ``mapped`` is True.
    """
    inside = getattr(dataset, 'datasets', None) or []
    if hasattr(dataset, 'dataset'):
        inside = [dataset.dataset]
    if inside and mapped and not hasattr(dataset, '_get_ori_dataset_idx'):
        raise ConfigError(
            f'{KEY}.dataset.type',
            f'samples of {type(dataset).__name__} cannot be numbered: it does not map them to '
            'those of its data set',
        )
    for part in inside:
        yield from innermost(part, mapped)
    if not inside:
        yield dataset


def leaf_of(dataset: Any, idx: int) -> int:
    """Return the identity of the innermost data set that holds a sample."""
    while hasattr(dataset, '_get_ori_dataset_idx'):
        found = dataset._get_ori_dataset_idx(idx)
        if hasattr(dataset, 'datasets'):
            part, idx = found
            dataset = dataset.datasets[part]
        else:
            idx, dataset = found, dataset.dataset
    return id(dataset)
