"""Data made by the project itself (:mod:`mmkd.datasets.shapes`) and what serves the user's."""

from mmkd.datasets.indexed import IndexedDataset
from mmkd.datasets.pair_sampler import SameClassPairBatchSampler
from mmkd.datasets.previous_batch import PreviousBatchSampler
from mmkd.datasets.unchecked import UncheckedCIFAR100

__all__ = [
    'IndexedDataset',
    'PreviousBatchSampler',
    'SameClassPairBatchSampler',
    'UncheckedCIFAR100',
]
