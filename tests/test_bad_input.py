"""Whatever a config gets wrong: one error before training, with the key and the nearest choice.

Each case changes a config that works, in one place. The messages are compared whole enough to see
that they help.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner
from support.bad_configs import AT_BUILD
from support.config_mistakes import METHODS, MIXER, working
from support.runs import run_config
from support.tiny_models import (
    TASKS,
    losses_of,
    make_student,
    preprocessed,
    teacher_config,
)

from mmkd.models import distilled
from mmkd.utils import ConfigError


@pytest.mark.parametrize('task', TASKS)
def test_what_works(task, tmp_path):
    model = make_student(task, **working(task, tmp_path))
    assert len(losses_of(model, *preprocessed(model, task))) >= 3


@pytest.mark.parametrize('name', AT_BUILD)
def test_at_build(name, tmp_path):
    change, key, message = AT_BUILD[name]
    distill = working('det', tmp_path)
    change(distill, tmp_path)
    with pytest.raises(ConfigError) as caught:
        make_student('det', **distill)
    text = str(caught.value)
    assert text.startswith(key), text
    assert re.search(message, text, re.DOTALL), text
    assert len(text) < 700, 'nobody reads a message of this length'


def test_training_accuracy_of_soft_labels():
    """mmpretrain asserts in the middle of a step; here it is said at build time."""
    student = make_student('cls')
    student.head.cal_acc = True
    with pytest.raises(ConfigError, match=r'^model\.head\.cal_acc: '):
        distilled(student, mixer=dict(type='mmkd.PatchMix'))


def test_vector_and_map(tmp_path):
    """Shapes that no adapter aligns."""
    distill = dict(
        teacher=teacher_config('cls', tmp_path),
        methods=dict(m=dict(type='mmkd.FeatureMimic', student='neck', teacher='backbone.layer4')),
    )
    with pytest.raises(ConfigError, match=rf'^{METHODS}\.m\.student: cannot align \(2, 32\) with'):
        make_student('cls', **distill)
    distill['methods']['m'].update(student='backbone', teacher='head')
    with pytest.raises(ConfigError, match=rf'^{METHODS}\.m\.student: cannot align .*\(2, 5\)'):
        make_student('cls', **distill)


def run_of(task: str, shapes: Path, folder: Path, **mixer: Any) -> Any:
    distill = working(task, folder)
    distill['mixer'].update(mixer)
    return run_config(task, shapes, folder / 'run', distill, epochs=1)


def refused(cfg: Any, message: str) -> None:
    """Run a training that must end before its first update."""
    runner = Runner.from_cfg(cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.model.init_weights = lambda: None
    with pytest.raises(ConfigError, match=message):
        runner.train()
    assert runner.iter == 0
    parameters = dict(runner.model.named_parameters())
    assert all(torch.equal(before[k], v) for k, v in parameters.items() if k in before)
    assert not list(Path(cfg.work_dir).glob('*.pth'))


def test_batches_of_one(shapes, tmp_path):
    cfg = run_of('det', shapes, tmp_path)
    cfg.train_dataloader.batch_size = 1
    refused(cfg, r'^train_dataloader\.batch_size: PatchMix mixes .*at least 2')


def test_the_rest_of_an_epoch_may_be_one_image(shapes, tmp_path):
    cfg = run_of('det', shapes, tmp_path)
    cfg.train_dataloader.batch_size = 7
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2


@pytest.mark.parametrize('task', TASKS)
def test_grid_larger_than_the_image(task, shapes, tmp_path):
    cfg = run_of(task, shapes, tmp_path, grid=(2, 200))
    refused(cfg, rf'^{MIXER}\.grid: a grid of \(2, 200\) does not fit into images of')


@pytest.mark.parametrize('task', TASKS)
def test_unlabeled_images(task, shapes, tmp_path):
    cfg = run_of(task, shapes, tmp_path)
    cfg.train_dataloader.dataset.pipeline = [
        t for t in cfg.train_dataloader.dataset.pipeline if t['type'] != 'LoadAnnotations'
    ]
    if task == 'cls':
        cfg.train_dataloader.dataset.with_label = False
        cfg.train_dataloader.dataset.data_root = str(shapes / 'img_dir' / 'train')
    if task == 'det':
        cfg.train_dataloader.dataset.filter_cfg = None
    refused(cfg, r'^train_dataloader\.dataset: a mixer needs labeled images')


def test_a_student_without_loss():
    with pytest.raises(ConfigError, match=r'^model\.student: Linear has no loss'):
        distilled(torch.nn.Linear(2, 2), methods={})


def test_no_gradient_path(tmp_path):
    """A tap in a frozen part: the error comes with the first step's report."""
    from mmkd.models.first_step import FirstStep

    model = make_student(
        'det',
        teacher=teacher_config('det', tmp_path),
        methods=dict(low=dict(type='mmkd.FeatureMimic', student='backbone', teacher='backbone')),
    )
    model.backbone.requires_grad_(False)
    model.distiller.first_step = FirstStep()
    with pytest.raises(ConfigError, match=rf'^{METHODS}\.low: .*no gradient to the student'):
        losses_of(model, *preprocessed(model, 'det'))
