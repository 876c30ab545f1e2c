"""The batch on which models are measured at build time."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import TASKS, make_student
from torch import nn

from mmkd.probe import LARGE, SIDES, probe, probe_batch, probe_sizes, run_probe
from mmkd.taps import Tap, TapReader
from mmkd.utils import ConfigError


class Model(nn.Module):
    """Takes images of at least some size; a shared head fails on the last of two levels."""

    def __init__(self, least: int, fails_below: int = 0, **attributes):
        super().__init__()
        self.least, self.fails_below = least, fails_below
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        side = inputs.shape[-1]
        if side < self.least:
            raise IndexError(f'{side} pixels are too few\nsecond line')
        maps = [self.stem(inputs), self.stem(inputs)[..., ::2, ::2]]
        outputs = [self.head(maps[0])]
        if side < self.fails_below:
            raise RuntimeError('the map is too small')
        return [*outputs, self.head(maps[1])]


def sizes_of(*models, size=None, module='stem'):
    """Return the size that is found, and how often a module was called in every model."""

    def run(inputs, samples, whole):
        readers = [TapReader(model, {Tap(module): 'key'}) for model in models]
        for model, reader in zip(models, readers):
            run_probe(model, reader, inputs, samples, whole)
        return [next(iter(reader.calls.values())) for reader in readers]

    return probe(models, size, run)


@pytest.mark.parametrize(('least', 'found'), [(1, 128), (200, 224), (500, 512), (800, 800)])
def test_the_first_size_that_a_model_takes(least, found):
    assert sizes_of(Model(least))[0] == (found, found)


def test_sizes_that_models_are_built_for_come_first():
    small = Model(1, img_size=192)
    large = Model(1, img_size=(640, 320))
    divided = Model(1, data_preprocessor=nn.Module())
    divided.data_preprocessor.pad_size_divisor = 32
    assert probe_sizes([small]) == [(192, 192), *((s, s) for s in SIDES)]
    assert probe_sizes([Model(1), small])[0] == (192, 192)
    assert probe_sizes([large])[-1] == (640, 320)  # large images last
    divided.data_preprocessor.pad_size_divisor = 96
    assert probe_sizes([divided])[:2] == [(192, 192), (288, 288)]


def test_a_size_at_which_models_run_to_their_end_comes_first():
    """Below it, a module that is shared by levels has been called too few times."""
    assert sizes_of(Model(1, fails_below=200), module='head') == ((224, 224), [2])


def test_what_fails_behind_the_deepest_tap_does_not_matter():
    assert sizes_of(Model(1, fails_below=10**6)) == ((128, 128), [2])
    assert sizes_of(Model(1, fails_below=LARGE + 1)) == ((128, 128), [2])  # no large images then


def test_a_size_that_is_set_is_the_only_one():
    assert sizes_of(Model(1), size=[64, 32])[0] == (64, 32)
    with pytest.raises(ConfigError) as caught:
        sizes_of(Model(100), size=(64, 64))
    assert str(caught.value) == (
        'model.distill.probe_size: a model cannot run a batch of images of 64×64 pixels: '
        'IndexError: 64 pixels are too few; set it to a height and width that student and '
        'teacher accept'
    )
    for size in (64, (64,), (64, 0), 'large', (64.0, 64)):
        with pytest.raises(ConfigError, match='must be a height and a width in pixels'):
            sizes_of(Model(1), size=size)


def test_errors_of_the_config_are_not_those_of_a_size():
    with pytest.raises(ConfigError, match='has no module'):
        sizes_of(Model(1), module='stam')


@pytest.mark.parametrize('task', TASKS)
def test_samples_are_of_the_task_and_empty(task):
    model = make_student(task)
    inputs, samples = probe_batch(model, (64, 96))
    assert inputs.shape == (2, 3, 64, 96)
    assert all(sample.img_shape == sample.batch_input_shape == (64, 96) for sample in samples)
    if task == 'det':
        assert all(len(sample.gt_instances) == 0 for sample in samples)
    with torch.no_grad():
        model.eval()(inputs, samples, mode='tensor')
