"""The page of the model zoos is the one that the measurements give."""

from __future__ import annotations

import json
import runpy

import pytest
from support.helpers import ROOT

TABLE = runpy.run_path(str(ROOT / 'tools/dev/zoo_table.py'))
ROWS = json.loads((ROOT / 'docs/results/zoo.json').read_text(encoding='utf-8'))


def test_page():
    page = (ROOT / 'docs' / 'zoo.md').read_text(encoding='utf-8')
    assert page == TABLE['page'](ROWS), 'run python tools/dev/zoo_table.py'


def test_every_model_works_or_is_refused_in_one_line():
    outcomes = [TABLE['outcome'](row) for row in ROWS]
    assert 'crash' not in outcomes
    trained = [outcome for row, outcome in zip(ROWS, outcomes) if 'plain' not in row]
    works = [outcome in ('every tap', 'some taps', 'teacher') for outcome in trained]
    assert sum(works) >= 0.95 * len(works)
    assert not any('\n' in text for row in ROWS for text in row.values() if isinstance(text, str))


@pytest.mark.parametrize(
    ('row', 'outcome'),
    [
        (dict(stage='ok', neck='ok', head='ok'), 'every tap'),
        (dict(stage='ok'), 'every tap'),
        (dict(stage='ok', head='key: refused'), 'some taps'),
        (dict(stage='ok', head='CRASH: KeyError: x'), 'crash'),
        (dict(stage='key: refused', teacher='ok'), 'teacher'),
        (dict(plain='TypeError: x', teacher='ok'), 'teacher'),
        (dict(plain='TypeError: x', teacher='key: refused'), 'refused'),
        (dict(plain='TypeError: x', teacher='CRASH: KeyError: x'), 'crash'),
        (dict(plain='ImportError: x'), 'not built'),
    ],
)
def test_outcomes(row, outcome):
    assert TABLE['outcome'](row) == outcome
