"""Data made by the project itself (:mod:`mmkd.datasets.shapes`) and samplers for the user's."""

from mmkd.datasets.indexed import IndexedDataset
from mmkd.datasets.pair_sampler import SameClassPairBatchSampler
from mmkd.datasets.previous_batch import PreviousBatchSampler

__all__ = ['IndexedDataset', 'PreviousBatchSampler', 'SameClassPairBatchSampler']
