"""The teacher beside the student: what waits for what."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from support.tiny_models import LOGITS, MIMIC, losses_of, make_student, preprocessed, teacher_config

from mmkd.models.speed import TeacherStream
from mmkd.taps import Tap


class FakeCuda:
    """Writes down what is asked of CUDA."""

    def __init__(self):
        self.log = []
        self.main = self.stream_named('main')
        self.now = self.main
        self.made = 0

    def stream_named(self, name):
        def wait_stream(other):
            self.log.append(f'{name} waits for {other.name}')

        return SimpleNamespace(name=name, device='cuda:0', wait_stream=wait_stream)

    def Stream(self, device):  # noqa: N802
        self.made += 1
        return self.stream_named('side')

    def current_stream(self, device):
        return self.now

    @contextmanager
    def stream(self, stream):
        before, self.now = self.now, stream
        yield
        self.now = before

    def tensor(self, name):
        def record_stream(stream):
            self.log.append(f'{name} is used on {stream.name}')

        return SimpleNamespace(device='cuda:0', is_cuda=True, record_stream=record_stream)


class Stub:
    """A teacher that notes on which stream it runs."""

    key = 'key'

    def __init__(self, cuda, name, overlap):
        self.cuda, self.name, self.overlap = cuda, name, overlap

    def __call__(self, inputs, samples):
        self.cuda.log.append(f'{self.name} on {self.cuda.now.name}')
        return {Tap(self.name): [self.cuda.tensor('tap')]}


def test_the_order_of_waiting():
    cuda = FakeCuda()
    stream = TeacherStream(cuda)
    teacher = Stub(cuda, 'teacher', True)
    for _ in range(2):
        cuda.log.clear()
        stream.run(teacher, cuda.tensor('inputs'), None)
        cuda.log.append(f'student on {cuda.now.name}')
        stream.join()
        stream.join()  # nothing is pending any more
        assert cuda.log == [
            'side waits for main',
            'teacher on side',
            'inputs is used on side',
            'student on main',
            'main waits for side',
            'tap is used on main',
        ]
    assert cuda.made == 1
    twin = copy.deepcopy(stream)
    assert twin is not stream and twin._stream is None


def test_only_overlapping_teachers_run_on_the_stream():
    cuda = FakeCuda()
    stream = TeacherStream(cuda)
    for name, overlap in (('a', True), ('b', False)):
        found = stream.run(Stub(cuda, name, overlap), cuda.tensor('inputs'), None)
        assert list(found) == [Tap(name)]
    assert len(stream._pending) == 1
    assert [line for line in cuda.log if ' on ' in line and 'used' not in line] == [
        'a on side',
        'b on main',
    ]


def test_ignored_on_a_cpu_and_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmkd.utils.errors.print_log', lambda text, **_: said.append(text))
    config = teacher_config('cls', tmp_path)
    methods = dict(feature=MIMIC['cls'])
    expected = None
    for overlap in (False, True):
        model = make_student('cls', teacher=dict(config, overlap=overlap), methods=methods)
        inputs, samples = preprocessed(model, 'cls')
        losses = losses_of(model, inputs, samples)
        losses_of(model, inputs, samples)
        assert sum('overlap: needs CUDA and is ignored on cpu' in t for t in said) == int(overlap)
        value = float(losses['distill.feature.loss_mimic'].detach())
        expected = value if expected is None else expected
        assert value == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('task', ['det', 'cls'])
def test_the_same_losses_on_a_gpu(task, tmp_path):
    """Many steps, so that a missing wait or memory given away too early would show."""
    config = teacher_config(task, tmp_path, width=32)
    seen = []
    for overlap in (False, True):
        model = make_student(
            task,
            teacher=dict(config, overlap=overlap),
            methods=dict(feature=MIMIC[task], logits=LOGITS[task]),
        ).cuda()
        torch.backends.cudnn.deterministic = True
        rows = []
        for step in range(20):
            inputs, samples = preprocessed(model, task, size=128, seed=step)
            losses = losses_of(model, inputs, samples)
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            model.zero_grad()
            rows.append([float(v) for k, v in losses.items() if k.startswith('distill.')])
        seen.append(torch.tensor(rows))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-6)
