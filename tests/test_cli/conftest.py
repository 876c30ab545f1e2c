"""A folder in which the tools can be run as a user runs them, and helpers to run them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

from mmkd import cli
from mmkd.cli import stages
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
        ended: Any = 0
        with pytest.MonkeyPatch.context() as patch, this_process_as_it_is(), printed() as screen:
            patch.chdir(self.folder)
            patch.setattr(sys, 'argv', [tool, *arguments])
            try:
                cli.run(Path(tool).stem)
            except SystemExit as error:
                ended = error.code or 0
            except Exception:
                ended = 1
                traceback.print_exc()
        if isinstance(ended, str):  # a message, as Python prints it
            screen, ended = [*screen, ended], 1
        assert ended == code, ''.join(screen)[-4000:]
        return ''.join(screen)

    def start(self, *command: object, code: int = 0, **environment: str) -> str:
        """Run a tool or a script as a process and return what it printed.

        Args:
            *command: Path below the repository, and arguments.
            code: Exit code that is expected. Defaults to 0.
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
        assert done.returncode == code, printed[-4000:]
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
def printed() -> Iterator[list[str]]:
    """Yield a list that has what this process and its children print, afterwards."""
    screen: list[str] = []
    saved = os.dup(1), os.dup(2)
    with TemporaryFile('a+', buffering=1) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            # Python's streams write to the descriptors, which a tool may redirect.
            with (
                open(1, 'w', buffering=1, closefd=False) as out,
                open(2, 'w', buffering=1, closefd=False) as err,
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                yield screen
        finally:
            for descriptor, original in zip((1, 2), saved):
                os.dup2(original, descriptor)
                os.close(original)
            file.seek(0)
            screen.append(file.read())


@contextmanager
def this_process_as_it_is() -> Iterator[None]:
    """Undo what a tool sets for its process: environment, trusted classes, loggers and scopes.

    Data are loaded without workers, for which a process waits seconds when it goes on without them.
    """
    environment, trusted = dict(os.environ), torch.serialization.get_safe_globals()
    build = Runner.build_dataloader

    def build_without_workers(loader: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(loader, Mapping):
            loader = {**loader, 'num_workers': 0, 'persistent_workers': False}
        return build(loader, *args, **kwargs)

    try:
        Runner.build_dataloader = staticmethod(build_without_workers)
        yield
    finally:
        Runner.build_dataloader = staticmethod(build)
        os.environ.clear()
        os.environ.update(environment)
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(trusted)
        forget_instances(ManagerMixin)


def forget_instances(kind: type) -> None:
    """Clear mmengine's instances by name, which are equal for two runs within a second."""
    for child in kind.__subclasses__():
        child._instance_dict.clear()
        forget_instances(child)


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


@pytest.fixture
def runs_here(monkeypatch):
    """Let studies and quickstarts train in this process, one run after the other."""
    alone = Lock()

    def run(command, stdout, **_):
        with alone, this_process_as_it_is(), redirect_stdout(stdout), redirect_stderr(stdout):
            stages.run_here(Path(command[-2]), **json.loads(command[-1]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(stages.subprocess, 'run', run)


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
