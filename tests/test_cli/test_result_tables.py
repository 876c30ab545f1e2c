"""The tables of docs/results.md come from the recorded results."""

from __future__ import annotations

import runpy

import pytest
from support.helpers import ROOT

from mmkd.cli.study import format_gain, format_table

TOOL = runpy.run_path(str(ROOT / 'tools/dev/result_tables.py'))


def test_the_page_has_the_generated_tables():
    text = TOOL['PAGE'].read_text()
    assert text.count('<!-- study: ') >= 16
    assert text == TOOL['page'](text), 'run python tools/dev/result_tables.py'
    readme = TOOL['README'].read_text()
    assert '<!-- summary -->' in readme and readme == TOOL['summary'](readme)
    choice = TOOL['CHOICE'].read_text()
    assert choice.count('<!-- gain: ') >= 16 and choice == TOOL['choice'](choice)


def run(seed, test):
    return dict(options={'randomness.seed': seed}, val=dict(m=0.0), test=dict(m=test))


def test_differences_are_those_of_equal_seeds():
    study = dict(metric='m', scale=100, rows=[dict(name='plain'), dict(name='ours')])
    results = dict(
        teacher=[dict(val=dict(m=0.5), test=dict(m=0.5))],
        plain=[run(0, 0.1), run(1, 0.3), run(2, 0.2)],
        ours=[run(2, 0.23), run(0, 0.12), run(7, 0.9)],
    )
    lines = format_table(study, results, test=True).splitlines()
    assert lines[0] == '| row | val m | test m | test − plain | seeds | peak MiB |'
    # 2 and 3 points; 12.706 · 0.7071 / √2
    assert lines[-1].split('|')[4].strip() == '+2.50 ± 6.35'
    assert [line.split('|')[4].strip() for line in lines[2:4]] == ['', '']


def test_the_gradients_of_the_first_step_reports():
    study = dict(metric='m', rows=[dict(name='plain'), dict(name='ours')])
    shares = {'1': {'distillation, all': 81.09, 'a.b': 1.0}, '21': {'distillation, all': 0.0361}}
    results = dict(
        plain=[run(0, 0.1)], ours=[run(0, 0.2), dict(run(1, 0.2), gradient_to_task=shares)]
    )
    lines = format_table(study, results, test=True).splitlines()
    assert [line.split('|')[-4].strip() for line in lines] == [
        'gradient ÷ task',
        '---',
        '',
        '81, 0.036',
    ]


def test_a_run_without_the_metric():
    """mmdet has no mAP for a detector that finds nothing."""
    study = dict(metric='m', rows=[dict(name='plain'), dict(name='ours')])
    results = dict(plain=[run(0, 0.1)], ours=[dict(run(0, 0.2), val={}, test={})])
    assert format_table(study, results, test=True).splitlines()[-1] == '| ours | – | – |  | 1 | – |'


@pytest.mark.parametrize(
    ('gains', 'text'),
    [([1.0], ''), ([1.0, 1.0, 1.0], '+1.00 ± 0.00'), ([0.0, -1.0, -2.0], '-1.00 ± 2.48')],
)
def test_interval_of_few_values(gains, text):
    assert format_gain(gains) == text
