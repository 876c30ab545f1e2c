"""Mistakes of a command line or a config: one line with the key, exit code 2, in every tool."""

from __future__ import annotations

import re

import pytest
import torch

from mmkd.cli.explain import SWITCH

# name: (tool, what the config adds, arguments, what the line says)
ABSENT = "train_dataloader = dict(dataset=dict(data_root='absent'))"
CASES = {
    'amp': ('train', '', ('--amp',), r'optim_wrapper\.type: automatic mixed precision needs a GPU'),
    'amp in the config': (
        'train',
        "optim_wrapper = dict(type='AmpOptimWrapper')",
        (),
        r'optim_wrapper\.type: automatic mixed precision needs a GPU',
    ),
    'backend': (
        'train',
        "visualizer = dict(vis_backends=[dict(type='TensorbordVisBackend')])",
        (),
        r"visualizer\.vis_backends\.0\.type: there is no vis_backend 'TensorbordVisBackend'; "
        'the nearest are: TensorboardVisBackend',
    ),
    'backends are a name': (
        'train',
        "visualizer = dict(vis_backends='LocalVisBackend')",
        (),
        r'visualizer: cannot build \w+Visualizer: TypeError: vis_backends must be a list',
    ),
    'hook': (
        'train',
        "custom_hooks = [dict(type='EMAHok')]",
        (),
        r"custom_hooks\.0\.type: there is no hook 'EMAHok'; the nearest are: EMAHook",
    ),
    'argument of the student': (
        'train',
        'model = dict(backbone=dict(dept=18))',
        (),
        r"model\.backbone: cannot build ResNet_CIFAR: TypeError: .*'dept'.*MMKD_TRACEBACK=1",
    ),
    'loss of the student': (
        'train',
        "model = dict(head=dict(loss=dict(loss_weight='a')))",
        (),
        'config: the first step fails: TypeError: ',
    ),
    'optimizer': (
        'train',
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='SDG', lr=1))",
        (),
        r"optim_wrapper\.optimizer\.type: there is no 'SDG'; the nearest are: .*SGD",
    ),
    'transform': (
        'train',
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImage')]))",
        (),
        r"train_dataloader\.dataset\.pipeline\.0\.type: there is no transform 'LoadImage'; the nea",
    ),
    'optimizer is a number': (
        'train',
        'optim_wrapper = dict(optimizer=-1)',
        (),
        r'optim_wrapper\.optimizer: must be a dict, got -1',
    ),
    'no optimizer': ('train', 'optim_wrapper = None', (), 'optim_wrapper: the config has none'),
    'no model': ('train', 'model = None', (), 'model: the config has none'),
    'a config that raises': ('train', 'x = 1 / 0', (), 'config: cannot read .*: ZeroDivisionError'),
    'option': (
        'train',
        '',
        ('--cfg-options', 'train_dataloader.dataset.pipeline.99.x=1'),
        '--cfg-options: cannot override',
    ),
    'no test data': (
        'test',
        'test_dataloader = None',
        ('x.pth',),
        r'test_dataloader\.datase',
    ),
    'no metric': ('test', 'test_evaluator = None', ('x.pth',), 'test_evaluator: the conf'),
    'absent test data': (
        'test',
        "test_dataloader = dict(dataset=dict(data_root='absent'))",
        ('x.pth',),
        r"test_dataloader\.dataset\.data_root: 'absent' is not a folder",
    ),
    'absent data of a teacher': (
        'test_teacher',
        "test_dataloader = dict(dataset=dict(data_root='absent'))",
        (),
        r"test_dataloader\.dataset\.data_root: 'absent' is not a folder",
    ),
    'nothing to browse': (
        'browse_batch',
        'train_dataloader = None',
        ('--out', 'x'),
        'train_',
    ),
    'absent data to browse': (
        'browse_batch',
        ABSENT,
        ('--out', 'x'),
        r"train_dataloader\.dataset\.data_root: 'absent' is not a folder",
    ),
    'no epochs': (
        'train',
        'train_cfg = dict(max_epochs=0)',
        (),
        r'train_cfg\.max_epochs: must be a positive integer, got 0',
    ),
    'seed': ('train', "randomness = dict(seed='a')", (), 'config: the run fails: TypeError: '),
    'no batches': ('browse_batch', '', ('--out', 'x', '--batches', 0), '--batches: must be a posi'),
    'device': ('benchmark_step', '', ('--device', 'tpu'), "--device: cannot use 'tpu': Expected "),
    'device of masks': (
        'vis_masks',
        '',
        ('x.pth', 'x.png', '--out', 'x', '--device', 'tpu'),
        "--device: cannot use 'tpu': Expected ",
    ),
    'no steps': ('benchmark_step', '', ('--repeat', 0), '--repeat: must be a positive integer'),
    'no pixels': ('benchmark_step', '', ('--size', 0, 8), '--size: must be a positive integer'),
    'pool': ('benchmark_attention', None, ('--pool', 0), '--pool: must be a positive integer'),
    'results': ('plot_tax', None, ('absent.json',), 'files: cannot read the results: No such file'),
    'no model to tap': ('list_taps', 'model = None', (), 'model: the config has none'),
    'benchmark with AMP': (
        'benchmark_step',
        '',
        ('--amp',),
        '--amp: automatic mixed prec',
    ),
    'benchmark without scope': (
        'benchmark_step',
        'default_scope = None',
        ('--no-memory',),
        "default_scope: must be one of 'mmdet', 'mmseg', 'mmpretrain', got None",
    ),
    'benchmark of a typing error': (
        'benchmark_step',
        None,
        ('mmkd::pskd/resnet_r18-w32_r18-w8_shapes.py',),
        'config: mmkd has no config .*resnet_r18-w32_r18-w8_shapes-cls',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_one_line(name, workspace, tmp_path):
    tool, change, arguments, message = CASES[name]
    path = tmp_path / 'mistake.py'
    path.write_text(f'_base_ = {workspace.config("cls")!r}\n{change or ""}\n')
    given = () if change is None else (path,)
    if tool == 'train':
        arguments = (*arguments, '--work-dir', tmp_path / 'run')
    said = [
        line
        for line in workspace.run(f'tools/{tool}.py', *given, *arguments, code=2).splitlines()
        if line.startswith(('error: ', 'Traceback'))
    ]
    assert len(said) == 1 and re.match(f'error: {message}', said[0]), said


def test_the_traceback_on_request(workspace, tmp_path, monkeypatch):
    path = tmp_path / 'mistake.py'
    path.write_text(f"_base_ = {workspace.config('cls')!r}\ncustom_hooks = [dict(type='EMAHok')]\n")
    monkeypatch.setenv(SWITCH, '1')
    arguments = (path, '--work-dir', tmp_path / 'run')
    assert 'Traceback' in workspace.run('tools/train.py', *arguments, code=1)


def test_a_traceback_in_the_code_of_a_user(workspace, tmp_path, monkeypatch):
    """The line would not tell where."""
    (tmp_path / 'mine_of_a_user.py').write_text(
        'from mmengine.hooks import Hook\n'
        'from mmengine.registry import HOOKS\n\n\n'
        '@HOOKS.register_module()\n'
        'class HookOfAUser(Hook):\n'
        '    def __init__(self):\n'
        '        {}["absent"]\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / 'mistake.py'
    path.write_text(
        f"_base_ = {workspace.config('cls')!r}\ncustom_hooks = [dict(type='HookOfAUser')]\n"
        "custom_imports = dict(imports='mine_of_a_user')\n"
    )
    printed = workspace.run('tools/train.py', path, '--work-dir', tmp_path / 'run', code=1)
    assert 'mine_of_a_user.py", line 8' in printed


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ('model.distill.methods.pskd=None',),
            r'not match model\.distill\.methods \(it has .* of methods\.pskd.*, the config none\)',
        ),
        (('model.distill=None',), 'the run of the checkpoint distilled, this one would not contin'),
    ],
)
def test_resume_with_other_methods(options, message, trained, workspace):
    arguments = ('--work-dir', 'resumed', '--resume', trained / 'epoch_2.pth', '--cfg-options')
    printed = workspace.run(
        'tools/train.py', workspace.folder / 'ema.py', *arguments, *options, code=2
    )
    assert re.search(f'\nerror: resume: .*{message}.*load_from', printed), printed[-2000:]
    assert 'Traceback' not in printed


def test_resume_without_the_entry(trained, workspace, tmp_path):
    content = torch.load(trained / 'epoch_2.pth', weights_only=False)
    del content['distiller']
    torch.save(content, tmp_path / 'bare.pth')
    arguments = ('--work-dir', 'resumed', '--resume', tmp_path / 'bare.pth')
    printed = workspace.run('tools/train.py', workspace.folder / 'ema.py', *arguments, code=2)
    assert "\nerror: resume: the checkpoint has no 'distiller' entry" in printed
    assert 'Traceback' not in printed


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('metric: m\n', 'rows: '),
        ('rows: [{name: a, config: b.py}]\n', 'metric: '),
        ('metric: m\nrows: 7\n', 'rows: must be a list, got 7'),
        ('metric: m\nrows: [a.py]\n', r'rows\.0: must have a name and a config'),
    ],
)
def test_studies(content, message, workspace, tmp_path):
    (tmp_path / 'one.yml').write_text(content)
    printed = workspace.run('tools/study.py', tmp_path / 'one.yml', code=2)
    assert re.match(f'error: {message}', printed) and len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('stages: 5\n', 'stages: must be a list, got 5'),
        ('stages: [{config: [1]}]\n', r'stages\.0\.config: must be a path or a name, got \[1\]'),
        ('a: [b\n', 'recipe: cannot read '),
    ],
)
def test_recipes(content, message, workspace, tmp_path):
    (tmp_path / 'one.yml').write_text(content)
    printed = workspace.run('tools/recipe.py', tmp_path / 'one.yml', code=2)
    assert re.match(f'error: {message}', printed) and len(printed.splitlines()) == 1
