"""The pages for authors: every block runs, in order, and every error is the one that is listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from support.helpers import ROOT, build, make_batch
from torch import nn

from mmkd.methods import Method
from mmkd.utils import ConfigError

METHOD = (ROOT / 'docs' / 'write-a-method.md').read_text()


def run_blocks(page: str, folder: Path, done: set[str]) -> None:
    """Run the Python and shell blocks of a page; a block that begins with a file name is a file.

    Args:
        page: The text of the page.
        folder: The working directory; it is on Python's path.
        done: Blocks that have run in this folder; a page need not repeat them.
    """
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
        'PYTHONWARNINGS': 'ignore',
    }
    for language, block in re.findall(r'```(python|shell)\n(.*?)```', page, re.DOTALL):
        name = re.match(r'# (\w+\.py)\n', block)
        if block in done:
            continue
        done.add(block)
        if name:
            (folder / name[1]).write_text(block)
        elif language == 'python':
            exec(compile(block, 'block', 'exec'), {})
        else:
            ran = subprocess.run(
                ['bash', '-ec', block], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert ran.returncode == 0, block + (ran.stdout + ran.stderr)[-3000:]


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file that are not blank."""
    return [line for line in file.read_text().splitlines() if line.strip()]


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Iterator[Path]:
    """Return a folder in which the pages were followed."""
    folder = tmp_path_factory.mktemp('project')
    done: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        run_blocks(METHOD, folder, done)
        yield folder


@pytest.mark.slow
def test_write_a_method(project):
    assert len(lines_of(project / 'my_method.py')) <= 25
    assert (project / 'work_dirs/cosine/epoch_1.pth').is_file()


class Mistaken(Method):
    """A method with an adapter, to be spoiled."""

    def build(self, model, student, teacher, teachers):
        self.adapters = self.build_adapters(student, teacher)

    def forward(self, student, teacher, view):
        return dict(cosine=self.difference(student, teacher, view).mean())

    def difference(self, student, teacher, view):
        ((s, t),) = self.compared(student, teacher, view)
        return (s - t).square()


class NoSuper(Mistaken):
    def __init__(self, student, teacher, **kwargs):
        self.scale = nn.Parameter(torch.ones(()))


class ReturnsTensor(Mistaken):
    def forward(self, student, teacher, view):
        return self.difference(student, teacher, view).mean()


class ReturnsVector(Mistaken):
    def forward(self, student, teacher, view):
        return dict(cosine=self.difference(student, teacher, view).mean((1, 2, 3)))


class NamesLoss(Mistaken):
    def forward(self, student, teacher, view):
        return dict(loss_cosine=self.difference(student, teacher, view).mean())


class CreatesParameter(Mistaken):
    def forward(self, student, teacher, view):
        self.scale = nn.Parameter(torch.ones(()))
        return dict(cosine=self.scale * self.difference(student, teacher, view).mean())


class IgnoresTeacher(Mistaken):
    def forward(self, student, teacher, view):
        return dict(cosine=student[0].square().mean())


class Refuses(Mistaken):
    def build(self, model, student, teacher, teachers):
        raise ConfigError('student', 'needs a map of stride 4')


METHOD_MISTAKES = [
    dict(gamma=-1),
    dict(gama=2),
    dict(type='my.Cosine'),
    dict(type=NoSuper),
    dict(type=ReturnsTensor),
    dict(type=ReturnsVector),
    dict(type=NamesLoss),
    dict(type=CreatesParameter),
    dict(type=IgnoresTeacher),
    dict(student=['backbone', 'backbone']),
    dict(type=Refuses),
]


@pytest.mark.slow
@pytest.mark.parametrize('mistake', METHOD_MISTAKES, ids=str)
def test_mistakes_of_a_method(project, mistake):
    cfg = Config.fromfile('cosine.py')
    method = cfg.model.distill.methods.cosine
    method.update(mistake)
    if 'type' in mistake:
        method.pop('gamma')
    error = failure(cfg)
    assert f'| `{error}` |' in METHOD, error


def failure(cfg: Config) -> str:
    """Return the error of a config in the first step or before."""
    try:
        model = build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}, 'mmpretrain')
        model.train()
        data = model.data_preprocessor(make_batch('cls', size=32, num_classes=5), True)
        model(**data, mode='loss')
    except ConfigError as error:
        return str(error)
    return 'none'
