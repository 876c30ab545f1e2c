"""The teacher beside the student: what waits for what."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from support.tiny_models import LOGITS, MIMIC, losses_of, make_student, preprocessed, teacher_config

from mmkd.models.overlap import SideStream, run_teachers
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


def test_the_order_of_waiting():
    cuda = FakeCuda()
    side = SideStream(cuda)
    for _ in range(2):
        cuda.log.clear()
        taps = side.start(
            lambda: cuda.log.append(f'teacher on {cuda.now.name}') or [cuda.tensor('tap')],
            cuda.tensor('inputs'),
        )
        cuda.log.append(f'student on {cuda.now.name}')
        side.join(taps)
        assert cuda.log == [
            'side waits for main',
            'teacher on side',
            'inputs is used on side',
            'student on main',
            'main waits for side',
            'tap is used on main',
        ]
    assert cuda.made == 1
    twin = copy.deepcopy(side)
    assert twin is not side and twin._stream is None


def test_only_the_teachers_that_want_it_run_beside():
    cuda = FakeCuda()
    taps = {name: Tap(name) for name in 'ab'}

    class Stub:
        key = 'key'

        def __init__(self, name, overlap):
            self.name, self.overlap = name, overlap

        def __call__(self, inputs, samples):
            cuda.log.append(f'{self.name} on {cuda.now.name}')
            return {taps[self.name]: [self.name]}

    teachers = [Stub('a', True), Stub('b', False)]
    read, beside = run_teachers(teachers, cuda.tensor('inputs'), None, SideStream(cuda))
    assert read == {taps['a']: ['a'], taps['b']: ['b']} and beside == ['a']
    assert [line for line in cuda.log if ' on ' in line and 'used' not in line] == [
        'a on side',
        'b on main',
    ]


def test_ignored_on_a_cpu_and_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmkd.models.overlap.print_log', lambda text, **_: said.append(text))
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
