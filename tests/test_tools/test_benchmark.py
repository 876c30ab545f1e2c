"""The step benchmark: every candidate is measured, and memory is what autograd really keeps."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from helpers import CONFIGS
from torch import nn

from mmkd.cli.bench import Spec
from mmkd.cli.benchmark_step import specs_of
from mmkd.cli.measure import Candidate, clocks, measure, saved_bytes
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
    candidates = [Candidate(name, lambda name=name: calls.append(name)) for name in 'ab']
    measure(candidates, torch.device('cpu'), repeat=4, warmup=1)
    assert calls[:10] == ['a', 'b', *'abababab']
    assert all(len(c.seconds) == 4 and c.median >= 0 for c in candidates)


def test_clocks_leave_nothing_behind_and_count_a_method_once():
    from mmkd.methods.base import Method

    before = Method.run

    class Inner(Method):
        simulate = False

        def forward(self, student, teacher, view):
            return {}

    class Outer(Inner):
        def forward(self, student, teacher, view):
            return Inner().run([], [], None)

    with clocks(torch.device('cpu')) as spent:
        Outer().run([], [], None)
    assert set(spent) == {'methods'} and 0 < spent['methods'] < 1
    assert Method.run is before


@pytest.mark.slow
def test_the_tool(workspace):
    printed = workspace.run(
        'tools/benchmark_step.py',
        workspace.config('kd/pspnet-mimic_r18_r18-w16_nuclei.py'),
        workspace.config('pskd/pspnet_r18_r18-w16_nuclei.py'),
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
    names = [row['name'] for row in rows]
    assert names.count('plain student') == 1 and len(names) == 5
    plain, distilled = rows[0], rows[2]
    assert plain['tax'] == 1.0 and distilled['seconds'] > 0
    # The mimic keeps the tapped maps and little else.
    assert plain['saved_mib'] < distilled['saved_mib'] < 2 * plain['saved_mib']
    assert set(distilled['parts']) == {'teacher', 'methods', 'backward', 'optimizer'}


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
    found = list(specs_of([str(study), config]))
    assert found == [
        Spec('twice', config, options),
        Spec('kd/retinanet-mimic_r18_r18-w16_bccd', config, {}),
    ]
    with pytest.raises(ConfigError, match='is no distillation config'):
        list(specs_of([plain]))
