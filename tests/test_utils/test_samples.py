"""Boxes in and out of mmdet's wrapper, and labels of classification samples."""

from __future__ import annotations

import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmpretrain.structures import DataSample

from mmkd.utils import box_tensor, single_labels


def test_box_tensor():
    boxes = torch.rand(3, 4)
    assert box_tensor(boxes) is boxes and box_tensor(None) is None
    assert torch.equal(box_tensor(HorizontalBoxes(boxes)), boxes)


def test_single_labels():
    one, several = DataSample().set_gt_label(2), DataSample().set_gt_label([0, 1])
    assert single_labels([one, one]).tolist() == [2, 2]
    for samples in (None, [], [one, several], [one, DataSample()]):
        assert single_labels(samples) is None
