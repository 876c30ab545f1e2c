"""The launchers, with two gloo processes."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmkd.cli.common import run_tool, use_available_backend
from mmkd.utils.loading import load_config


@pytest.mark.slow
@pytest.mark.ddp
def test_published_coco_recipe_in_two_processes(workspace):
    """Two iterations of the whole recipe; only sizes and untrained weights are different."""
    workspace.coco_layout()
    config = workspace.config('pskd/retinanet_r101_r50_coco.py')
    teacher = load_config(Config.fromfile(config).model.distill.teacher.config, 'teacher')[0]
    workspace.save_untrained(teacher, 'teacher_r101.pth')
    printed = workspace.start(
        'tools/dist_train.sh',
        config,
        2,
        '--work-dir',
        'coco',
        '--cfg-options',
        'model.backbone.init_cfg=None',
        'model.distill.teacher.checkpoint=teacher_r101.pth',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)',
        'default_hooks.logger.interval=1',
        PORT=workspace.free_port(),
    )
    assert 'Epoch(train) [1][2/2]' in printed
    assert 'distill.pskd.loss_feature_mimic' in printed
    assert 'First distillation step' in printed
    assert 'Distributed launcher: pytorch' in printed
    assert 'GPU number: 2' in printed
    checkpoint = workspace.folder / 'coco/epoch_1.pth'
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    assert not [name for name in state if 'distiller' in name or 'teacher' in name]
    workspace.run('tools/export_student.py', checkpoint, 'coco/student.pth')
    for path in workspace.folder.glob('coco/*.pth'):  # some hundred MB
        path.unlink()
    (workspace.folder / 'teacher_r101.pth').unlink()


@pytest.mark.slow
@pytest.mark.ddp
def test_dist_test(workspace, trained):
    alone = workspace.run('tools/test.py', workspace.config('cls'), trained / 'epoch_2.pth')
    several = workspace.start(
        'tools/dist_test.sh',
        workspace.config('cls'),
        trained / 'epoch_2.pth',
        2,
        PORT=workspace.free_port(),
    )
    metric = 'accuracy/top1: '
    assert several.split(metric)[1].split()[0] == alone.split(metric)[1].split()[0]


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_usage(workspace, script):
    assert 'usage: ' in workspace.start(f'tools/{script}', 'config.py', code=2)


def test_slurm_passes_everything_on(workspace):
    fake = workspace.folder / 'bin/srun'
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    printed = workspace.start(
        'tools/slurm_train.sh',
        'gpus',
        'job name',
        'config.py',
        'out',
        '--cfg-options',
        'a=(1, 2)',
        GPUS='2',
        GPUS_PER_NODE='2',
        SRUN_ARGS='--quiet --exclusive',
        PATH=f'{fake.parent}:/usr/bin:/bin',
    )
    lines = printed.splitlines()
    assert '--job-name=job name' in lines
    assert '--exclusive' in lines
    start = lines.index('--launcher=slurm')
    assert lines[start : start + 3] == ['--launcher=slurm', '--cfg-options', 'a=(1, 2)']


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without GPU')
def test_backend_without_gpu():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    use_available_backend(cfg)
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.get('model_wrapper_cfg') is None


def test_a_tool_leaves_no_process_group_behind(tmp_path):
    """Gloo's threads abort a process that ends with an open group, now and then."""
    store = f'file://{tmp_path}/store'
    run_tool(lambda: torch.distributed.init_process_group('gloo', store, rank=0, world_size=1))
    assert not torch.distributed.is_initialized()
