"""A teacher tested as distillation runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from mmkd.cli.test_teacher import teacher_run_config
from mmkd.utils import ConfigError


@pytest.mark.slow
def test_the_model_is_registered_on_import():
    code = "import mmkd; assert mmkd.registry.MODELS.get('mmkd.TeacherAlone')"
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize('task', ['det', 'seg'])
def test_test_teacher(workspace, task):
    printed = workspace.run(
        'tools/test_teacher.py',
        workspace.config(task),
        '--split',
        'val',
        '--cfg-options',
        'model.distill.teacher.precision=bf16',
        'model.distill.teacher.fuse_conv_bn=True',
    )
    assert 'Evaluating bbox' in printed if task == 'det' else 'mIoU: ' in printed


def test_the_teacher_sees_its_own_normalization(workspace):
    """A teacher of another normalization predicts the same from the student's inputs."""
    from mmengine.registry import MODELS

    teacher = workspace.config('teachers/resnet_r18-w32_shapes-cls.py')
    cfg = Config.fromfile(workspace.config('cls'))
    checkpoint = str(workspace.folder / cfg.model.distill.teacher.checkpoint)
    cfg.model.distill.teacher = dict(config=teacher, checkpoint=checkpoint)
    same = MODELS.build(teacher_run_config(cfg).model).eval()
    cfg.data_preprocessor = dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=False)
    other = MODELS.build(teacher_run_config(cfg).model).eval()
    assert same.renormalize is None
    assert other.renormalize is not None
    images = torch.randint(0, 256, (2, 3, 32, 32))
    scores = []
    for model in (same, other):
        with torch.no_grad():
            data = model.data_preprocessor(dict(inputs=images))
            scores.append(model(data['inputs'], None, mode='tensor')[-1])
    assert torch.allclose(*scores, atol=1e-5)


def test_test_teacher_without_teacher(workspace):
    plain = Config.fromfile(workspace.config('students/resnet_r18-w8_shapes-cls.py'))
    with pytest.raises(ConfigError, match='no teacher to test'):
        teacher_run_config(plain)
