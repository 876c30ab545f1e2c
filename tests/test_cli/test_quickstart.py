"""tools/quickstart.py on a data set of eight scenes."""

from __future__ import annotations

import json
import math
import subprocess

import cv2
import pytest
import torch
from mmengine.config import Config
from rich.console import Console
from support.helpers import build, make_batch, tiny_distilled

from mmkd.cli.common import Run
from mmkd.cli.quickstart import distillation_config, train
from mmkd.cli.quickstart_report import difference, read_losses
from mmkd.utils import ConfigError
from mmkd.utils.student_config import pairs_images


@pytest.mark.slow
def test_quickstart(workspace):
    command = (
        'tools/quickstart.py',
        '--task',
        'cls',
        '--work-dir',
        'quick',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=8',
    )
    printed = workspace.run(*command)
    root = workspace.folder / 'quick/cls'
    assert 'KD − student' in printed
    assert 'mmengine' not in printed  # the log is in the work directory
    results = json.loads((root / 'results.json').read_text())
    assert list(results['runs']) == ['teacher', 'student', 'pskd']
    student, distilled = results['runs']['student'], results['runs']['pskd']
    assert (
        student['parameters'] == distilled['parameters'] < results['runs']['teacher']['parameters']
    )
    gain = distilled['test']['accuracy/top1'] - student['test']['accuracy/top1']
    assert results['difference'] == pytest.approx(gain)
    assert '| student + ' in (root / 'table.md').read_text()
    for name in ('losses.png', 'predictions.png'):
        assert cv2.imread(str(root / name)) is not None
    assert 'mmkd' not in (root / 'student.py').read_text()
    exported = torch.load(root / 'student.pth')['state_dict']
    kept = torch.load(distilled['checkpoint'], weights_only=False)['state_dict']
    assert all(torch.equal(value, kept[name]) for name, value in exported.items())

    again = workspace.run(*command)
    assert again.count('re-used') == 3


@pytest.mark.slow
def test_quickstart_without_teacher(workspace, runs_here):
    """No teacher is trained, and the plain student has batches without pairs."""
    printed = workspace.run(
        'tools/quickstart.py',
        *('--task', 'cls', '--method', 'ips', '--work-dir', 'alone', '--cfg-options'),
        *('train_cfg.max_epochs=1', 'train_dataloader.batch_size=8'),
    )
    assert '2/2 ips' in printed
    results = json.loads((workspace.folder / 'alone/cls/results.json').read_text())
    assert list(results['runs']) == ['student', 'ips']
    assert '| student + IPS |' in (workspace.folder / 'alone/cls/table.md').read_text()
    for name, paired in (('student', False), ('ips', True)):
        (config,) = (workspace.folder / f'alone/cls/runs/{name}').glob('*/vis_data/config.py')
        assert ('mmkd.SameClassPairBatchSampler' in config.read_text()) == paired
        size = Config.fromfile(config).train_dataloader.batch_size
        assert size == (8 if paired else 4)  # as many steps


def test_other_settings_are_another_run(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace.folder)

    def fake(command, **_):
        done = dict(json.loads(command[-1])['task'], val={}, test={}, checkpoint=__file__)
        (tmp_path / 'run/result.json').write_text(json.dumps(done))
        started.append(done['options'])
        return subprocess.CompletedProcess(command, 0)

    started: list = []
    monkeypatch.setattr(subprocess, 'run', fake)
    config = workspace.config('students/resnet_r18-w8_shapes-cls.py')
    with open(tmp_path / 'screen', 'w') as file:
        for seed in (0, 0, 1):
            run = Run('student', config, {'randomness.seed': seed})
            result = train(run, tmp_path / 'run', {}, Console(file=file))
            assert result['options'] == run.options
    assert started == [{'randomness.seed': 0}, {'randomness.seed': 1}]


def test_unknown_method():
    path, borrowed = distillation_config('pskd', 'det')
    assert path.endswith('shapes-det.py') and borrowed == {}
    with pytest.raises(ConfigError, match='nearest are: pskd'):
        distillation_config('pskt', 'det')
    with pytest.raises(ConfigError, match='does not exist'):
        distillation_config('nothing.py', 'det')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('task', 'methods'),
    [
        ('det', 'at crosskd cwd fgd mgd pkd progressive-self-kd sokd'),
        ('seg', 'at cirkd cwd dist ifvd mgd pkd skd sokd acam'),
        ('cls', 'cs-kd dist dkd dlb mix-kd nkd progressive-self-kd tf-kd uskd'),
    ],
)
def test_any_method_of_a_task(task, methods, tmp_path):
    """Its methods come from the small data set and take a step on the generated one's models."""
    for method in methods.split():
        path, borrowed = distillation_config(method, task)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(borrowed)
        assert 'pskd' not in cfg.model.distill.methods
        (tmp_path / method).mkdir()
        model, _ = tiny_distilled(cfg, tmp_path / method)
        net = build(model, cfg.default_scope)
        pairs = pairs_images(cfg)
        batch = make_batch(task, 4, 64 if task == 'cls' else 128, paired=pairs)
        losses = net(**net.data_preprocessor(batch, True), mode='loss')
        kd = [value for name, value in losses.items() if name.startswith('distill.')]
        assert kd and all(value.isfinite() for value in kd)


@pytest.mark.parametrize(
    ('method', 'task', 'reason'),
    [
        ('maskd', 'det', 'needs a stage before'),
        ('kd', 'seg', 'several configs; choose one'),
        ('crosskd', 'seg', 'no config in configs/crosskd for shapes-seg'),
    ],
)
def test_what_the_quickstart_cannot_run(method, task, reason):
    with pytest.raises(ConfigError, match=f'^--method: .*{reason}'):
        distillation_config(method, task)


def test_losses_of_a_log(tmp_path):
    log = tmp_path / '20240101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = [
        {'loss': 3.0, 'loss_cls': 1.0, 'loss_bbox': 2.0, 'iter': 10, 'step': 10},
        {'loss': 7.0, 'loss_cls': 1.0, 'loss_bbox': 2.0, 'distill.a.loss_b': 4.0, 'iter': 20},
        {'coco/bbox_mAP': 0.5, 'step': 20},
    ]
    log.write_text('\n'.join(json.dumps(row) for row in rows))
    iterations, losses = read_losses(tmp_path)
    assert iterations == [10, 20]
    assert losses['task'] == [3.0, 3.0]
    assert math.isnan(losses['distill.a.loss_b'][0])
    assert losses['distill.a.loss_b'][1] == 4.0


def test_no_metric_is_no_number():
    assert math.isnan(difference('det', 'pskd', dict(student=dict(test={}), pskd=dict(test={}))))
