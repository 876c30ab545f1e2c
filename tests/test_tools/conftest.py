"""A folder in which the tools can be run as a user runs them, and helpers to run them."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmkd import cli
from mmkd.utils.loading import build_plain

ROOT = Path(__file__).resolve().parents[2]
COCO = ('person', 'bicycle', 'car', 'motorcycle', 'airplane')
CONFIGS = dict(
    det='configs/pskd/retinanet_r18_r18-w16_shapes-det.py',
    seg='configs/pskd/pspnet_r18_r18-w16_shapes-seg.py',
    cls='configs/pskd/resnet_r18-w32_r18-w8_shapes-cls.py',
)


class Workspace:
    """A working directory with ``data/shapes`` and untrained teachers.

    Args:
        folder: The directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def config(self, name: str) -> str:
        """Return the path of a task's distillation config, or of one below ``configs/``."""
        return str(ROOT / CONFIGS.get(name, f'configs/{name}'))

    def run(self, *command: object, code: int = 0) -> str:
        """Run a tool in this process, which has imported everything, and return what it printed.

        Args:
            *command: Path below the repository, and arguments.
            code: Exit code that is expected. Defaults to 0.
        """
        tool, *arguments = map(str, command)
        printed, ended = io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, this_process_as_it_is():
            patch.chdir(self.folder)
            patch.setattr(sys, 'argv', [tool, *arguments])
            with redirect_stdout(printed), redirect_stderr(printed):
                try:
                    cli.run(Path(tool).stem)
                except SystemExit as error:
                    ended = error.code if isinstance(error.code, int) else int(bool(error.code))
                    print('' if isinstance(error.code, int) else error.code)
                except Exception:
                    ended = 1
                    traceback.print_exc()
        assert ended == code, printed.getvalue()[-4000:]
        return printed.getvalue()

    def start(self, *command: object, **environment: str) -> str:
        """Run a tool or a script as a process and return what it printed.

        Args:
            *command: Path below the repository, and arguments.
            **environment: Additional environment variables.
        """
        tool, *arguments = map(str, command)
        start = ['bash'] if tool.endswith('.sh') else [sys.executable, '-W', 'ignore']
        done = subprocess.run(
            [*start, str(ROOT / tool), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=900,
            env={
                **os.environ,
                'OMP_NUM_THREADS': '1',
                'PYTHON': sys.executable,
                'PYTHONPATH': str(ROOT),
                **environment,
            },
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed[-4000:]
        return printed

    def coco_layout(self) -> None:
        """Lay the generated data out as COCO in ``data/coco``, with names of COCO's classes."""
        shapes, coco = self.folder / 'data/shapes', self.folder / 'data/coco'
        (coco / 'annotations').mkdir(parents=True, exist_ok=True)
        for split in ('train', 'val'):
            images = coco / f'{split}2017'
            if images.exists():
                continue
            content = json.loads((shapes / f'annotations/instances_{split}.json').read_text())
            for category, name in zip(content['categories'], COCO, strict=True):
                category['name'] = name
            path = coco / f'annotations/instances_{split}2017.json'
            path.write_text(json.dumps(content))
            images.symlink_to(shapes / 'img_dir' / split)

    def save_untrained(self, config: Config, path: str) -> None:
        """Save random weights of a config's model."""
        torch.manual_seed(0)
        model = build_plain(config, 'model')
        model.init_weights()
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(meta={}, state_dict=model.state_dict()), self.folder / path)

    def free_port(self) -> str:
        """Return a port that nobody listens on."""
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            return str(s.getsockname()[1])


@contextmanager
def this_process_as_it_is() -> Iterator[None]:
    """Undo what a tool sets for its process: environment, trusted classes, loggers and scopes."""
    environment, trusted = dict(os.environ), torch.serialization.get_safe_globals()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(trusted)
        for kind in (DefaultScope, MessageHub, MMLogger, Visualizer):
            kind._instance_dict.clear()


@pytest.fixture(scope='session')
def workspace(tmp_path_factory, shapes) -> Workspace:
    """Return the working directory of all tests of tools."""
    folder = tmp_path_factory.mktemp('workspace')
    (folder / 'data').mkdir()
    (folder / 'data' / 'shapes').symlink_to(shapes)
    made = Workspace(folder)
    for config in CONFIGS.values():
        teacher = Config.fromfile(ROOT / config).model.distill.teacher
        name = teacher.config.partition('::')[2]
        made.save_untrained(Config.fromfile(ROOT / 'configs' / name), teacher.checkpoint)
    return made


@pytest.fixture(scope='session')
def trained(workspace) -> Path:
    """Return the work directory of a distilled classifier, two epochs with EMA."""
    workspace.run(
        'tools/train.py',
        with_ema(workspace),
        '--work-dir',
        'trained',
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'train_dataloader.batch_size=8',
    )
    return workspace.folder / 'trained'


def with_ema(workspace: Workspace) -> Path:
    """Write a config that adds averaged weights to the distilled classifier."""
    path = workspace.folder / 'ema.py'
    path.write_text(
        f'_base_ = {workspace.config("cls")!r}\n'
        "custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.5)]\n"
    )
    return path
