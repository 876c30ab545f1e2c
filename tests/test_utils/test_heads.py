"""Heads of the three packages, and models in wrappers."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODEL_WRAPPERS
from mmseg.structures import SegDataSample
from support.tiny_models import TASKS, make_student, model_config, random_model
from torch import nn

from mmkd.probe import probe_batch
from mmkd.taps import Tap, TapReader
from mmkd.utils import count_classes, find_head, unwrap
from mmkd.utils.heads import run_model


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


@pytest.mark.parametrize('several', [False, True])
def test_auxiliary_heads_can_be_tapped_without_a_loss(several):
    """In mmseg only the loss calls them; the backbone runs once."""
    head = dict(type='FCNHead', in_channels=16, in_index=2, channels=4, num_classes=3)
    head.update(num_convs=1, concat_input=False)
    heads = [head, dict(head, in_channels=8, in_index=1)] if several else head
    model = random_model('seg', dict(model_config('seg', 4), auxiliary_head=heads)).eval()
    inputs, samples = probe_batch(model, (64, 64))
    path = 'auxiliary_head.1.conv_seg' if several else 'auxiliary_head.conv_seg'
    taps = {Tap(path): 'a', Tap('decode_head.conv_seg'): 'b', Tap('backbone.layer4'): 'c'}
    reader = TapReader(model, taps)
    output, found = reader.read(model, inputs, samples)
    assert list(reader.calls.values()) == [1, 1, 1]
    chosen = model.auxiliary_head[1] if several else model.auxiliary_head
    expected = chosen(model.extract_feat(inputs)), model(inputs, samples, mode='tensor')
    torch.testing.assert_close([kept[0] for kept in found.values()][:2], list(expected))
    torch.testing.assert_close(output, expected[1])
    again = reader.read(model, inputs, samples, stop=True)[1]
    torch.testing.assert_close(again[Tap(path)], [expected[0]])


def test_heads_of_queries_get_the_samples_and_the_shape_of_the_batch():
    """mmseg adds the shape for its loss and its predictions only; a teacher runs before them."""

    class Queries(nn.Module):
        def forward(self, x, batch_data_samples):
            return [sample.metainfo['batch_input_shape'] for sample in batch_data_samples]

    model = random_model('seg', model_config('seg', 4)).eval()
    model.decode_head = Queries()
    samples = [SegDataSample(metainfo=dict(img_shape=(60, 64))) for _ in range(2)]
    assert run_model(model, torch.zeros(2, 3, 64, 96), samples) == [(64, 96)] * 2
