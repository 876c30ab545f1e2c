"""The step benchmark: every candidate is measured, and memory is what autograd really keeps."""

from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import pytest
import torch
import yaml
from mmengine.logging import MessageHub
from support.helpers import CONFIGS
from torch import nn

from mmkd.cli.benchmark_step import Candidate, find_runs
from mmkd.cli.benchmarking import Bench, Setting, first_full_iteration
from mmkd.cli.common import Run
from mmkd.cli.timing import clocks, half_range, saved_bytes, time_in_turns
from mmkd.methods.schedule import Schedule
from mmkd.utils import ConfigError


def step_of(model, inputs):
    def run():
        model(inputs).sum().backward()

    return run


def test_saved_memory_is_what_backward_needs_without_the_parameters():
    """A linear layer keeps its input; the Tanh after it keeps its output."""
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh())
    inputs = torch.randn(128, 64)
    run = step_of(model, inputs)
    assert saved_bytes(run, model.parameters())[1] == 4 * 128 * (64 + 32)


def test_candidates_are_measured_in_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in 'ab'}
    seconds = time_in_turns(functions, rounds=4, warmup=1)
    assert calls == ['a', 'b', *'abababab']
    assert all(len(s) == 4 and min(s) >= 0 for s in seconds.values())


class Machine:
    """Two functions, of which one calls the other."""

    def outer(self):
        time.sleep(0.02)
        return self.inner()

    def inner(self):
        return 'done'


def test_clocks_leave_nothing_behind():
    machine, inner = Machine(), Machine.inner
    machine.outer = outer = machine.outer
    with clocks([(machine, 'outer', 'a'), (machine, 'inner', 'b'), (Machine, 'inner', 'b')]):
        assert machine.outer is not outer and Machine.inner is not inner
    assert machine.outer is outer and Machine.inner is inner and 'inner' not in vars(machine)


def test_a_part_inside_another_counts_once():
    machine = Machine()
    with clocks([(machine, 'outer', 'a'), (machine, 'inner', 'b')]) as spent:
        assert machine.outer() == 'done'
    assert spent['b'] < 0.02 <= spent['a'] < 1


def test_the_tax_is_that_of_the_rounds():
    """A machine that becomes slower half-way does not change it."""
    plain = Candidate('plain', None, seconds=[1.0, 1.0, 2.0, 2.0])
    other = Candidate('other', None, seconds=[1.5, 1.5, 3.0, 3.0])
    assert other.ratios(plain) == [1.5] * 4
    assert half_range(other.ratios(plain)) == 0 < half_range(plain.seconds)
    assert half_range([1.0, 2.0]) != half_range([1.0, 2.0])  # nan


@pytest.mark.slow
def test_the_tool(workspace):
    """Of several students, with a mixer, of pairs, and of the batch before."""
    printed = workspace.start(  # it measures the memory of its process
        'tools/benchmark_step.py',
        workspace.config('kd/pspnet-mimic_r18_r18-w16_nuclei.py'),
        workspace.config('pskd/pspnet_r18_r18-w16_nuclei.py'),
        workspace.config('dlb/resnet_self_r18-w16_fashion-mnist.py'),
        workspace.config('ips/pspnet_self_r18-w16_nuclei.py'),
        '--size',
        64,
        64,
        '--repeat',
        4,
        '--json',
        'rows.json',
    )
    assert 'plain student' in printed
    rows = json.loads((workspace.folder / 'rows.json').read_text())
    assert [row['kind'] for row in rows].count('student') == 2 and len(rows) == 8
    plain, mimic = rows[0], rows[2]
    assert plain['tax'] == 1.0 and mimic['seconds'] > 0
    assert mimic['allowed'] > 1.15 and mimic['teacher_parameters'] > 1e6
    kept = mimic['saved_mib'] - plain['saved_mib']
    assert 0 < kept < 3 * mimic['tapped_mib']  # an adapter, and its map
    assert mimic['peak_mib'] > plain['peak_mib'] > 100
    assert set(mimic['parts']) == {'teacher', 'taps', 'methods', 'backward', 'optimizer'}
    assert rows[4]['parts']['mixer'] > 0
    printed = workspace.run('tools/plot_tax.py', 'rows.json', '--out', 'tax.png')
    assert (workspace.folder / 'tax.png').stat().st_size > 1000


@pytest.mark.parametrize(
    'config',
    [
        'maskd/retinanet_r18_r18-w16_bccd.py',  # tokens of a stage before
        'progressive-self-kd/retinanet_self_r18-w16_bccd.py',  # the epoch before
        'dlb/resnet_self_r18-w16_fashion-mnist.py',  # the batch before
        'cs-kd/resnet_self_r18-w16_fashion-mnist.py',  # pairs of a class
    ],
)
def test_configs_that_need_more_than_a_batch(config):
    bench = Bench(Run('name', str(CONFIGS / config)), Setting(size=(32, 32), batch_size=4))
    model = bench.distilled()
    before, losses = dict(MessageHub.get_current_instance().runtime_info), []
    model.parse_losses = watched(model.parse_losses, losses)
    run, _ = bench.step(model)
    run()
    run()
    kd = {k: float(v.detach()) for k, v in losses[1].items() if k.startswith('distill.')}
    assert kd and all(math.isfinite(value) for value in kd.values())
    assert MessageHub.get_current_instance().runtime_info == before


def test_the_turns_of_a_learned_augmentation_count_as_mixer():
    name = 'mmkd::hard/resnet-affine_r18-w32_r18-w16_fashion-mnist.py'
    (run,) = find_runs([name])
    assert run.name == 'hard/resnet-affine_r18-w32_r18-w16_fashion-mnist'
    bench = Bench(run, Setting(size=(32, 32), batch_size=4))
    model = bench.distilled()
    candidate = Candidate(run.name, *bench.step(model), model)
    calls = []
    for function in ('learn', 'mix'):
        setattr(
            model.distiller.mixer, function, watched_call(model.distiller.mixer, function, calls)
        )
    parts = candidate.parts(1)
    assert calls == ['learn', 'mix'] and parts['mixer'] > 0
    with clocks([p for p in candidate.places if p[1] == 'learn']) as spent:
        candidate.step()
    assert spent['mixer'] > 0.001  # a forward pass of both models, and a step of the augmentor


def watched_call(owner, name, calls):
    function = getattr(owner, name)

    def call(*args):
        calls.append(name)
        return function(*args)

    return call


def watched(function, seen):
    def call(losses):
        seen.append(losses)
        return function(losses)

    return call


def test_steps_are_measured_where_methods_have_their_full_weight():
    schedules = [Schedule(1.0, warmup_iters=500), Schedule(1.0, begin=100, every=7, warmup_iters=3)]
    methods = {str(i): SimpleNamespace(schedule=s) for i, s in enumerate(schedules)}
    assert first_full_iteration(None) == 0
    assert first_full_iteration(SimpleNamespace(methods=methods)) == 500
    del methods['0']
    at = first_full_iteration(SimpleNamespace(methods=methods))
    assert at == 107 and schedules[1].at(at) == 1.0


def test_the_rows_of_a_study_are_measured_with_their_options(tmp_path):
    config = str(CONFIGS / 'kd/retinanet-mimic_r18_r18-w16_bccd.py')
    plain = str(CONFIGS / 'students/retinanet_r18-w16_bccd.py')
    study = tmp_path / 'study.yml'
    options = {'model.distill.methods.feature.weight': 2.0}
    rows = [
        dict(name='plain', config=plain),
        dict(name='plain again', config=config, options={'model.distill': None}),
        dict(name='twice', config=config, options=options),
    ]
    study.write_text(yaml.safe_dump(dict(rows=rows)))
    found = list(find_runs([str(study), config]))
    assert found == [
        Run('twice', config, options),
        Run('kd/retinanet-mimic_r18_r18-w16_bccd', config, {}),
    ]
    with pytest.raises(ConfigError, match='is no distillation config'):
        list(find_runs([plain]))
