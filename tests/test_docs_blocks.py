"""The pages for authors: every block runs, in order, and every error is the one that is listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from support.helpers import ROOT, build, make_batch
from torch import nn

from mmkd.methods import Method
from mmkd.mixers import Mixer
from mmkd.utils import ConfigError
from mmkd.utils.loading import build_plain, load_config

METHOD = (ROOT / 'docs' / 'write-a-method.md').read_text()
MIXER = (ROOT / 'docs' / 'write-a-mixer.md').read_text()


BLOCK = re.compile(r'```(python|shell)\n(?:# (\w+\.py)\n)?(.*?)```', re.DOTALL)
# Blocks that begin with a file name.
FILES = {name: block for _, name, block in BLOCK.findall(METHOD + MIXER) if name}


def run_shell(block: str, folder: Path) -> None:
    """Run a shell block as a user runs it."""
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
        'PYTHONWARNINGS': 'ignore',
    }
    command = ['bash', '-ec', block]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, block + (done.stdout + done.stderr)[-3000:]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Enter a folder with the files of both pages, from which Python imports."""
    for name, block in FILES.items():
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def untrained(project) -> None:
    """Save a teacher where the configs expect it."""
    teacher = load_config('mmkd::teachers/resnet_r18-w32_shapes-cls.py', 'config')[0]
    (project / 'work_dirs/teacher').mkdir(parents=True)
    state = build_plain(teacher, 'config').state_dict()
    torch.save(dict(meta={}, state_dict=state), 'work_dirs/teacher/epoch_1.pth')


@pytest.mark.slow
def test_every_block_runs(project):
    """Both pages, in order; blocks that both have run once."""
    done: set[str] = set()
    for language, name, block in BLOCK.findall(METHOD + MIXER):
        if name or block in done:
            continue
        done.add(block)
        if language == 'shell':
            run_shell(block, project)
        else:
            exec(compile(block, 'block', 'exec'), {})
    assert (project / 'work_dirs/cosine/epoch_1.pth').is_file()
    assert (project / 'work_dirs/stripes/epoch_1.pth').is_file()


@pytest.mark.parametrize('name', ['my_method.py', 'my_mixer.py'])
def test_fits_in_25_lines(name):
    assert len([line for line in FILES[name].splitlines() if line.strip()]) <= 25


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


@pytest.mark.parametrize('mistake', METHOD_MISTAKES, ids=str)
def test_mistakes_of_a_method(untrained, mistake):
    cfg = Config.fromfile('cosine.py')
    method = cfg.model.distill.methods.cosine
    method.update(mistake)
    if 'type' in mistake:
        method.pop('gamma')
    error = failure(cfg)
    assert f'| `{error}` |' in METHOD, error


class MixerWithoutSuper(Mixer):
    def __init__(self, **kwargs):
        self.scale = nn.Parameter(torch.ones(()))


class StartsElsewhere(Mixer):
    def draw(self, batch, size, generator):
        own = torch.arange(batch)
        return [((own + 1) % batch, torch.tensor(0.5)), (own, torch.tensor(0.5))]


class SumsToTwo(Mixer):
    def draw(self, batch, size, generator):
        own = torch.arange(batch)
        return [(own, torch.tensor(1.0)), ((own + 1) % batch, torch.tensor(1.0))]


class WeighsImages(Mixer):
    def draw(self, batch, size, generator):
        own, half = torch.arange(batch), torch.full((batch,), 0.5)
        return [(own, half), ((own + 1) % batch, half)]


class TooSmall(Mixer):
    def check(self, size):
        raise ConfigError('rows', f'images of {size[0]} rows are too small')


MIXER_MISTAKES = [
    dict(rows=0),
    dict(row=4),
    dict(type=MixerWithoutSuper),
    dict(type=StartsElsewhere),
    dict(type=SumsToTwo),
    dict(type=WeighsImages),
    dict(type=TooSmall),
]


@pytest.mark.parametrize('mistake', MIXER_MISTAKES, ids=str)
def test_mistakes_of_a_mixer(untrained, mistake):
    cfg = Config.fromfile('stripes.py')
    mixer = cfg.model.distill.mixer
    mixer.update(mistake, prob=1.0)
    if 'type' in mistake:
        mixer.pop('rows')
    error = failure(cfg)
    assert f'| `{error}` |' in MIXER, error


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
