"""A project that builds on an installed wheel: ``tests/downstream``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from support.helpers import ROOT

DOWNSTREAM = ROOT / 'tests' / 'downstream'
SOURCES = ('LICENSE', 'MANIFEST.in', 'README.md', 'model-index.yml', 'pyproject.toml', 'setup.py')
FOLDERS = ('configs', 'mmkd', 'requirements', 'tools')
PARTS = ('dataloader', 'evaluator', 'cfg')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a copy of the sources, as a build leaves files behind."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    pip('wheel', '--no-build-isolation', '--wheel-dir', folder / 'dist', folder)
    (made,) = (folder / 'dist').glob('mmkd-*.whl')
    return made


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """Install the wheel into an empty folder; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp('installed')
    pip('install', '--target', folder, wheel)
    return folder


def pip(*arguments: object) -> None:
    command = [sys.executable, '-m', 'pip', *map(str, arguments), '--no-deps', '--no-index', '-q']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def python(folder: Path, installed: Path, *arguments: str, code: int = 0) -> str:
    """Run Python with the wheel and the downstream project, and return what it printed."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': f'{installed}{os.pathsep}{DOWNSTREAM}',
        },
    )
    assert done.returncode == code, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {'mmkd/.mim/model-index.yml'}
    for folder in ('configs', 'tools'):
        files = [p.relative_to(ROOT) for p in (ROOT / folder).rglob('*') if p.is_file()]
        expected |= {
            f'mmkd/.mim/{path}'
            for path in files
            if not {'__pycache__', 'dev'} & set(path.parts) and path.suffix != '.pyc'
        }
    assert {name for name in names if '.mim/' in name} == expected
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / 'mmkd').rglob('*.py')}
    assert {name for name in names if name.endswith('.py') and '.mim/' not in name} == modules
    assert 'mmkd/py.typed' in names


@pytest.mark.slow
def test_train(workspace, installed):
    """Three configs, each by another of the ways to start a tool of the wheel."""
    shapes = workspace.folder / 'data/shapes'
    images = sorted(shapes.resolve().glob('cls/train/*/*.png'))
    lines = [f'{path} {path.parent.name}\n' for path in images]
    (workspace.folder / 'train.txt').write_text(''.join(lines))
    tools = installed / 'mmkd/.mim/tools'
    # No evaluation, and few iterations.
    common = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    common += [f'{split}_{part}=None' for split in ('val', 'test') for part in PARTS]
    common += ['train_dataloader.batch_size=4', 'default_hooks.logger.interval=1']
    find = 'import importlib.util as u; print(u.find_spec("mmkd").origin)'
    assert python(workspace.folder, installed, '-c', find).startswith(str(installed))
    starts = dict(
        det=[str(installed / 'bin/mmkd'), 'train'],
        seg=[str(tools / 'train.py')],
        cls=['-m', 'torch.distributed.run', '--standalone', '-m', 'mmkd', 'train'],
    )
    for task, start in starts.items():
        length = ('iters', 2) if task == 'seg' else ('epochs', 1)
        options = ['--cfg-options', *common, 'train_cfg.max_{}={}'.format(*length)]
        if task == 'cls':
            options.append('train_dataloader.dataset.indices=8')
        config, out = str(DOWNSTREAM / f'configs/{task}.py'), f'downstream-{task}'
        printed = python(
            workspace.folder,
            installed,
            *start,
            config,
            '--work-dir',
            out,
            *options,
        )
        assert 'distill.edges.loss_edges' in printed
        assert re.search(r'distill\.pskd\.loss_feature_mimic: [\d.]+', printed)
        (checkpoint,) = (workspace.folder / out).glob('*_[12].pth')
        state = torch.load(checkpoint, weights_only=False)['state_dict']
        assert not [name for name in state if 'distiller' in name]
        checkpoint.unlink()
