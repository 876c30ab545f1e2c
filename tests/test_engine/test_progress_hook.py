"""Bars of training, validation and test: plain lines in a file, drawings on a terminal."""

from __future__ import annotations

import logging
import os
import pty

import pytest
from mmengine.runner import Runner
from support.runs import evaluation, run_config


@pytest.fixture
def runner(shapes, tmp_path):
    def build(**hook):
        data = evaluation('cls', shapes)
        data.update({k.replace('val', 'test', 1): v for k, v in data.items()})
        cfg = run_config('cls', shapes, tmp_path, epochs=2, **data)
        cfg.custom_hooks = [dict(type='mmkd.ProgressHook', **hook)]
        return Runner.from_cfg(cfg)

    return build


def console_levels(runner):
    handlers = [h for h in runner.logger.handlers if not isinstance(h, logging.FileHandler)]
    return {h.level for h in handlers if isinstance(h, logging.StreamHandler)}


def test_lines_of_a_file(runner, tmp_path):
    with open(tmp_path / 'screen', 'w') as file:
        run = runner(title='student', fd=file.fileno())
        run.train()
        run.test()
    lines = (tmp_path / 'screen').read_text().splitlines()
    assert [line.split(' iterations, ')[0] for line in lines] == [
        f'student: {done}/8' for done in (2, 4, 5, 7, 8)
    ]
    assert console_levels(run) == {logging.WARNING}
    log = (tmp_path / run.timestamp / f'{run.timestamp}.log').read_text()
    assert 'Epoch(train) [2][4/4]' in log


def test_bars_of_a_terminal(runner, monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    master, screen = pty.openpty()
    run = runner(title='student', quiet=False, fd=screen)
    run.train()
    run.test()
    os.close(screen)
    text = os.read(master, 2**20).decode()
    os.close(master)
    assert 'loss ' in text and '8/8' in text
    for title in ('student ', 'student: validation', 'student: test'):
        assert title in text
    assert logging.WARNING not in console_levels(run)
