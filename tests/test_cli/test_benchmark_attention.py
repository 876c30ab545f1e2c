"""The attention benchmark as a command."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmark_attention.py'


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_one_table_and_its_numbers(monkeypatch, tmp_path, capsys):
    target = tmp_path / 'new' / 'rows.json'
    options = ['--channels', 16, '--pool', 2, 4, '--json', target]
    run(monkeypatch, '--sizes', '6x8', '12x16', *options)
    rows = json.loads(target.read_text())
    forms = ['naive', 'exact', 'pool=2', 'pool=4']
    assert [(row['height'], row['form']) for row in rows] == [
        (h, f) for h in (6, 12) for f in forms
    ]
    for naive, exact in (rows[:2], rows[4:6]):
        assert naive['loss_difference'] == naive['weights_gradient_difference'] == 0
        assert exact['weights_gradient_difference'] < 1e-4
    assert all(row['seconds'] > 0 and row['saved_bytes'] > 0 for row in rows)
    # The matrix of a map of four times as many cells is sixteen times as large.
    assert rows[4]['saved_bytes'] > 4 * rows[0]['saved_bytes']
    printed = capsys.readouterr().out
    assert printed.count('exact') == 2 and '12×16' in printed and 'kept for backward' in printed


@pytest.mark.parametrize('size', ['12', '0x4', 'axb'])
def test_sizes_are_checked(size, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, '--sizes', size)
    assert 'must be HEIGHTxWIDTH' in capsys.readouterr().err
