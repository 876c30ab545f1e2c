"""The table of mixers, methods and tasks is the one that the code gives, and it is true."""

from __future__ import annotations

import copy
import dataclasses
import runpy

import pytest
from support.contract_cases import CASES
from support.helpers import ROOT

from mmkd.mixers import Mixer
from mmkd.registry import MODELS, TASKS, refuse_mixer, refuse_task
from mmkd.utils import ConfigError

TABLE = runpy.run_path(str(ROOT / 'tools/dev/method_table.py'))
MIXERS = {None: None, **TABLE['registered'](Mixer)}
LOGITS = dict(cls='head.fc', seg='decode_head.conv_seg', det='bbox_head.retina_cls')
# One case for each method.
METHODS = {case.type: case for case in reversed(CASES) if case.path == ('methods', 'm')}


def config_of(mixer: str | None, task: str) -> dict | None:
    """Return the config of a mixer."""
    if mixer is None:
        return None
    config = dict(type=f'mmkd.{mixer}', prob=1.0)
    if mixer == 'HardAugment':
        logits = LOGITS[task]
        config.update(augmentor=dict(type='mmkd.AffineAugmentor'), student=logits, teacher=logits)
    return config


def test_page():
    page = (ROOT / 'docs' / 'mixer-method-table.md').read_text(encoding='utf-8')
    assert page == TABLE['page'](), 'run python tools/dev/method_table.py'


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(METHODS))
def test_table(name, tmp_path):
    """What the table lists takes a step; everything else is refused with the reason."""
    for task in TASKS:
        runs = task == METHODS[name].task
        own = METHODS[name]
        if not runs:  # with the model of that task
            own = dataclasses.replace(own, task=task, teacher=True, family='')
        for mixer, cls in MIXERS.items():
            teacher = own.teacher or mixer == 'HardAugment'  # it learns against one
            case = dataclasses.replace(own, mixer=config_of(mixer, task), teacher=teacher)
            method = MODELS.get(name)
            allowed = task in TABLE['tasks'](method, cls)
            if allowed and not runs:
                continue  # the taps are those of another task
            distill = case.distill(tmp_path)
            if allowed:
                assert case.step(case.student(copy.deepcopy(distill)))
                continue
            reason = refuse_task(method, task) or refuse_mixer(method, cls)
            reason = reason or refuse_task(cls, task)
            with pytest.raises(ConfigError) as caught:
                case.student(distill)
            assert reason in str(caught.value), (task, mixer)
