"""Data made by the project itself (:mod:`mmkd.datasets.shapes`), a wrapper and samplers."""

from mmkd.datasets.indexed import IndexedDataset
from mmkd.datasets.previous_batch import PreviousBatchSampler

__all__ = ['IndexedDataset', 'PreviousBatchSampler']
