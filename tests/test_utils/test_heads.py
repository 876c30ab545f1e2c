"""Heads of the three packages, and models in wrappers."""

from __future__ import annotations

import pytest
from mmengine.registry import MODEL_WRAPPERS
from support.tiny_models import TASKS, make_student
from torch import nn

from mmkd.utils import count_classes, find_head, unwrap


@pytest.mark.parametrize('task', TASKS)
def test_each_package_has_its_head_elsewhere(task):
    model = make_student(task)
    path, head = find_head(model)
    assert path == dict(det='bbox_head', seg='decode_head', cls='head')[task]
    assert head is model.get_submodule(path)
    assert count_classes(model) == head.num_classes > 1


def test_cascades_and_models_without_a_head():
    model = nn.Module()
    assert find_head(model) is None and count_classes(model) is None
    model.roi_head = nn.Module()
    model.roi_head.bbox_head = nn.ModuleList([nn.Module(), nn.Module()])
    assert find_head(model) is None
    model.roi_head.bbox_head[-1].num_classes = 7
    assert find_head(model) == ('roi_head.bbox_head', model.roi_head.bbox_head[-1])


def test_unwrap():
    @MODEL_WRAPPERS.register_module(force=True)
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = nn.Linear(1, 1)
    assert unwrap(model) is model and unwrap(Wrapper(model)) is model
