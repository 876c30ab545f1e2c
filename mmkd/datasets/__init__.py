"""Data made by the project itself (:mod:`mmkd.datasets.shapes`) and samplers for the user's."""

from mmkd.datasets.pair_sampler import SameClassPairBatchSampler

__all__ = ['SameClassPairBatchSampler']
