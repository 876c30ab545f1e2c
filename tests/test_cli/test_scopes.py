"""Where configs and teachers are found, in which scope and style, and how parts are dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from support.runs import loader_config
from support.tiny_models import LOGITS, MIMIC, make_student, teacher_config

from mmkd.cli.common import read_config
from mmkd.models import Distiller
from mmkd.models.teacher import Teacher
from mmkd.utils import ConfigError, is_distilled, plain_config
from mmkd.utils.loading import build_plain, load_config

LAZY = """
from mmpretrain.models import ClsDataPreprocessor, GlobalAveragePooling, ImageClassifier
from mmpretrain.models import LinearClsHead, ResNet_CIFAR
from torch.optim import SGD
default_scope = None
model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, num_classes=5),
    backbone=dict(type=ResNet_CIFAR, depth=18, base_channels=4, stem_channels=4,
                  norm_cfg=dict(type='BN')),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=5, in_channels=32,
              loss=dict(type='CrossEntropyLoss')))
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""
DISTILL = """
from mmengine.config import read_base
with read_base():
    from .student import *
from mmengine.hooks import CheckpointHook
from mmkd.engine import DistillHook
from mmkd.methods import LogitKD
from mmkd.models import build_distilled
model.update(
    student=model['type'], type=build_distilled,
    distill=dict(
        teacher=dict(config={teacher!r}, checkpoint='lazy_teacher.pth'),
        methods=dict(kd=dict(type=LogitKD, student='head.fc', teacher='head.fc'))))
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1),
                     distill=dict(type=DistillHook))
train_dataloader = {loader!r}
"""


@pytest.fixture
def lazy(tmp_path, shapes) -> Path:
    """Return a folder with pure-Python configs of a student and a distilled one, and a teacher."""
    folder = tmp_path / 'lazy'
    folder.mkdir()
    (folder / 'student.py').write_text(LAZY)
    loader = loader_config('cls', shapes, 'train')
    (folder / 'kd.py').write_text(DISTILL.format(teacher='student.py', loader=loader))
    text = teacher_config('cls', folder)
    (folder / 'text.py').write_text(
        f'default_scope = "mmpretrain"\nmodel = {text["config"]["model"]!r}\n'
    )
    model = build_plain(load_config(str(folder / 'student.py'), 'teacher')[0], 'teacher')
    torch.save(model.state_dict(), folder / 'lazy_teacher.pth')
    return folder


def teacher_of(**config) -> Distiller:
    """Return a distilled classifier with this teacher."""
    return make_student('cls', methods=dict(kd=dict(LOGITS['cls'])), teacher=config).distiller


def test_the_scope_of_a_package(tmp_path):
    """A base config names no scope; its package does, whatever the student's."""
    name = 'mmpretrain::_base_/models/resnet18.py'
    assert 'default_scope' not in Config.fromfile(read_config(name).filename)
    cfg, _ = load_config(name, 'teacher')
    torch.save(build_plain(cfg, 'teacher').state_dict(), tmp_path / 'lazy_teacher.pth')
    with DefaultScope.overwrite_default_scope('mmdet'):
        teacher = Teacher(name, str(tmp_path / 'lazy_teacher.pth'))
    assert type(teacher.model).__module__.startswith('mmpretrain')


def test_a_teacher_without_scope_has_that_of_the_student(tmp_path):
    config = teacher_config('cls', tmp_path)
    del config['config']['default_scope']
    assert teacher_of(**config).teachers


@pytest.mark.parametrize('teacher', ['lazy', 'text'])
def test_a_pure_python_config_trains(lazy, teacher, workspace, monkeypatch):
    """The teacher's paths are relative to the config, and the tool runs from elsewhere."""
    if teacher == 'text':
        kd = (lazy / 'kd.py').read_text().replace("'student.py'", "'text.py'")
        kd = kd.replace("'lazy_teacher.pth'", f"'{next(lazy.glob('teacher_cls*')).name}'")
        (lazy / 'kd.py').write_text(kd)
    workspace.run('tools/train.py', lazy / 'kd.py', '--work-dir', lazy / 'run')
    (dumped,) = (lazy / 'run').glob('*.py')
    cfg = Config.fromfile(dumped)
    assert cfg.model.type == 'mmkd.Distilled' and is_distilled(cfg)
    assert os.path.isabs(cfg.model.distill.teacher.config)
    assert cfg.default_hooks.checkpoint.type == 'mmkd.SafeCheckpointHook'
    assert (lazy / 'run/first_step.txt').is_file()
    checkpoint = torch.load(lazy / 'run/epoch_1.pth', weights_only=False)
    student = build_plain(plain_config(cfg), 'model')
    student.load_state_dict(checkpoint['state_dict'])
    workspace.run('tools/list_taps.py', lazy / 'kd.py', '--filter', 'head')
    workspace.run('tools/browse_batch.py', lazy / 'kd.py', '--out', lazy / 'pictures')
    workspace.run('tools/export_student.py', lazy / 'run/epoch_1.pth', lazy / 'out.pth')


def test_a_pure_python_config_without_the_tools(lazy, monkeypatch):
    monkeypatch.chdir(lazy)
    cfg = Config.fromfile('kd.py')
    cfg.work_dir = str(lazy / 'run')
    cfg.default_scope = 'mmpretrain'
    assert is_distilled(cfg) and not is_distilled(plain_config(cfg))
    Runner.from_cfg(cfg).train()
    assert (lazy / 'run/first_step.txt').is_file()


def test_a_pure_python_teacher_of_a_text_config(lazy):
    config = dict(config=str(lazy / 'student.py'), checkpoint=str(lazy / 'lazy_teacher.pth'))
    assert teacher_of(**config).teachers
    config['config'] = Config.fromfile(config['config'])
    assert teacher_of(**config).teachers


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('text.py', "_base_ = 'student.py'"),
        (
            'other.py',
            'from mmengine.config import read_base\nwith read_base():\n  from .mid import *',
        ),
    ],
)
def test_text_and_pure_python_do_not_inherit_from_each_other(lazy, name, content, workspace):
    (lazy / 'mid.py').write_text("_base_ = 'text.py'\n")
    (lazy / name).write_text(content)
    (printed,) = workspace.run('tools/train.py', lazy / name, code=2).splitlines()
    assert (
        printed.startswith('error: config: cannot read ') and 'write both in one style' in printed
    )


def test_paths_of_a_teacher(lazy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = read_config(str(lazy / 'kd.py'), needed=('config', 'checkpoint'))
    assert cfg.model.distill.teacher == dict(
        config=str(lazy / 'student.py'), checkpoint=str(lazy / 'lazy_teacher.pth')
    )
    Path('student.py').write_text(LAZY)
    cfg = read_config(str(lazy / 'kd.py'))
    assert cfg.model.distill.teacher.config == 'student.py', 'the working directory comes first'
    cfg = read_config('lazy/kd.py', {'model.distill': None}, needed=('config', 'checkpoint'))
    assert cfg.model.distill is None
    for name in ('config', 'checkpoint'):
        options = {f'model.distill.teacher.{name}': 'absent'}
        with pytest.raises(ConfigError) as caught:
            read_config(str(lazy / 'kd.py'), options, needed=('config', 'checkpoint'))
        assert str(caught.value).startswith(
            f"model.distill.teacher.{name}: 'absent' exists neither"
        )
        assert str(tmp_path) in str(caught.value) and str(lazy) in str(caught.value)
        read_config(str(lazy / 'kd.py'), options, needed=())


def test_the_paths_of_several_teachers(lazy, tmp_path, monkeypatch):
    (lazy / 'two.py').write_text(
        "model = dict(type='mmkd.Distilled', student='ImageClassifier', distill=dict(\n"
        "    teacher=dict(big=dict(config='student.py'), none=None,\n"
        "                 net=dict(config='mmdet::x.py', checkpoint='https://x.org/y.pth'))))\n"
    )
    teacher = read_config(str(lazy / 'two.py')).model.distill.teacher
    assert teacher.big.config == str(lazy / 'student.py') and teacher.net.config == 'mmdet::x.py'


def test_none_drops_a_part(tmp_path):
    distill = dict(
        teacher=dict(big=teacher_config('cls', tmp_path), small=None),
        methods=dict(
            feature=None,
            kd=dict(LOGITS['cls'], teacher='big:head.fc', refine=None, region=None),
        ),
        mixer=None,
    )
    distiller = make_student('cls', **distill).distiller
    assert list(distiller.methods) == ['kd'] and list(distiller.teachers) == ['big']
    assert distiller.mixer is None
    distiller = make_student('cls', teacher=dict(big=None), methods=dict(a=None)).distiller
    assert not distiller.teachers and not distiller.methods
    with pytest.raises(ConfigError, match=r'^model\.distill\.methods: must be a dict of methods'):
        make_student('cls', methods=[MIMIC['cls']])
