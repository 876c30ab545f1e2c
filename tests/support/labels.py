"""Views of images with class labels, for the tests of methods for classifiers."""

from __future__ import annotations

import torch
from mmpretrain.structures import DataSample

from mmkd.mixers import View


def class_view(labels, numbers=None) -> View:
    """Return an unmixed view of images with these classes and numbers in their data set.

    Args:
        labels: Classes, or distributions (N, K) of mixed images.
        numbers: Numbers of the images. Defaults to None, 0 to N - 1.
    """
    numbers = range(len(labels)) if numbers is None else numbers
    samples = []
    for label, number in zip(labels, numbers, strict=True):
        sample = DataSample(metainfo=dict(sample_idx=number))
        if torch.is_tensor(label) and label.ndim == 1:
            sample.set_gt_label(int(label.argmax())).set_gt_score(label)
        else:
            sample.set_gt_label(int(label))
        samples.append(sample)
    return View.plain(torch.zeros(len(labels), 3, 8, 8), samples)
