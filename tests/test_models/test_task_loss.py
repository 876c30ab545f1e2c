"""What the task loss sees under a mixer: the mixed images, the clean ones, or both."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from support.tiny_models import (
    LOGITS,
    MIMIC,
    TASKS,
    losses_of,
    make_student,
    preprocessed,
    teacher_config,
)
from torch import nn

from mmkd.mixers import CutMix, MixUp, PatchMix
from mmkd.models import task_loss
from mmkd.utils import ConfigError
from mmkd.view import View

MIXER = dict(type='mmkd.PatchMix', variant='permutation')


@pytest.fixture
def student(tmp_path):
    """Return a function that makes a student whose losses do not depend on earlier passes."""
    MessageHub.get_current_instance().update_info('iter', 0)

    def make(task: str, task_on: str | None = None, weight: float = 1.0, **mixer: Any) -> nn.Module:
        choice = {} if task_on is None else dict(task_on=task_on)
        return make_student(
            task,
            teacher=teacher_config(task, tmp_path),
            mixer=dict(MIXER, **choice, **mixer),
            methods=dict(
                feature=dict(MIMIC[task], weight=weight), logits=dict(LOGITS[task], weight=weight)
            ),
        )

    return make


def without_chance(model: nn.Module) -> nn.Module:
    """Fix normalization and drop dropout."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def split(losses: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the student's own values and those of the methods."""
    own = {k: v for k, v in losses.items() if not k.startswith('distill.')}
    return own, {k: v for k, v in losses.items() if k not in own}


@pytest.mark.parametrize('task', TASKS)
def test_each_loss_sees_its_images(task, student):
    """Own losses are those of a plain student on the clean batch; the methods' are of the mixed."""
    found, gradients = {}, {}
    for task_on in ('mixed', 'clean', 'both'):
        model = without_chance(student(task, task_on))
        inputs, samples = preprocessed(model, task)
        losses = losses_of(model, inputs, samples)
        found[task_on] = split(losses)
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        gradients[task_on] = [p.grad for p in model.parameters()]
    plain = without_chance(make_student(task))
    expected = losses_of(plain, inputs, samples)
    mixed, clean, both = (found[name][0] for name in found)
    assert list(clean) == list(both) == list(mixed) == list(expected)
    for name, value in expected.items():
        assert torch.equal(clean[name], value)
        torch.testing.assert_close(both[name], (value + mixed[name]) / 2)
    assert any(not torch.equal(clean[k], mixed[k]) for k in clean)
    for _, terms in found.values():
        assert terms.keys() == found['mixed'][1].keys() and len(terms) >= 2
        for name, value in terms.items():
            assert torch.equal(value, found['mixed'][1][name])
    for one, other, mean in zip(*gradients.values()):
        assert (one is None) == (other is None) == (mean is None)
        if one is not None:
            torch.testing.assert_close(mean, (one + other) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('task', TASKS)
def test_the_clean_pass_comes_first(task, student):
    """Statistics of batches and dropout: the first pass is the plain student's, bit for bit."""
    model, plain = student(task, 'clean'), make_student(task)
    inputs, samples = preprocessed(model, task)
    torch.manual_seed(3)
    own, _ = split(losses_of(model, inputs, samples))
    torch.manual_seed(3)
    expected = losses_of(plain, inputs, samples)
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], value) for name, value in expected.items())
    view = model.distiller.mixer.mix(inputs, samples, 0)
    losses_of(plain, view.inputs, view.data_samples)  # the second pass
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name)), name


@pytest.mark.parametrize('task', TASKS)
def test_without_weight_it_is_the_plain_student(task, student):
    model, plain = student(task, 'clean', weight=0.0), make_student(task)
    inputs, samples = preprocessed(model, task)
    for step in range(2):
        torch.manual_seed(step)
        own, _ = split(losses_of(model, inputs, samples))
        torch.manual_seed(step)
        expected = losses_of(plain, inputs, samples)
        assert all(torch.equal(own[name], value) for name, value in expected.items())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('task_on', [None, 'mixed', 'clean', 'both'])
def test_passes_of_the_student(task, task_on, student):
    """By default one pass on the mixed batch; a batch that is not mixed has one pass always."""
    for prob in (1.0, 0.0):
        model = student(task, task_on, prob=prob)
        inputs, samples = preprocessed(model, task)
        seen: list[Any] = []
        model.backbone.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0]))
        losses_of(model, inputs, copy.deepcopy(samples))
        view = model.distiller.mixer.mix(inputs, samples, 0)
        two = prob and task_on in ('clean', 'both')
        assert len(seen) == 1 + bool(two)
        assert torch.equal(seen[-1], view.inputs)
        assert torch.equal(seen[-1], inputs) == (not prob)
        if two:
            assert seen[0] is inputs


def test_every_process_has_the_passes_of_the_others(monkeypatch):
    """One whose batch is not mixed takes a second pass where another one's is."""
    view = View.plain(torch.zeros(2, 3, 4, 4), None)
    assert not task_loss.mixed_on_any_rank(view)
    monkeypatch.setattr(task_loss, 'get_world_size', lambda: 2)
    monkeypatch.setattr(task_loss, 'all_reduce', lambda flag, op: flag.fill_(1.0))
    assert task_loss.mixed_on_any_rank(view)


@pytest.mark.parametrize('mixer', [PatchMix, CutMix, MixUp])
def test_mixers_take_the_choice(mixer):
    assert mixer().task_on == 'mixed'
    assert mixer(task_on='both').task_on == 'both'
    with pytest.raises(ConfigError, match=r"task_on: must be one of 'mixed', 'clean', 'both'"):
        mixer(task_on='teacher')


@pytest.mark.parametrize(
    ('mixer', 'methods', 'message'),
    [
        (dict(MIXER, task_on='clean'), {}, "'clean' leaves the mixed images to the methods"),
        (dict(type='mmkd.PatchSwap', task_on='clean'), {}, 'PatchSwap has no such argument'),
        (
            dict(type='mmkd.HardAugment', augmentor={}, student='a', teacher='a', task_on='both'),
            {},
            'HardAugment has no such argument',
        ),
    ],
    ids=['clean without a method', 'PatchSwap', 'HardAugment'],
)
def test_refused(mixer, methods, message):
    with pytest.raises(ConfigError) as error:
        make_student('cls', mixer=mixer, methods=methods)
    assert str(error.value).startswith('model.distill.mixer.task_on: ')
    assert message in str(error.value) and '\n' not in str(error.value)


def test_both_is_for_augmentation_alone_too():
    model = make_student('cls', mixer=dict(MIXER, task_on='both'), methods={})
    assert 'loss' in losses_of(model, *preprocessed(model, 'cls'))
