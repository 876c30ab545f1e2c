"""Runs in processes of their own that are killed, and go on as if they had not been."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from support.helpers import ROOT
from support.stateful import EXCEPTIONS, TABLE


def tool(name: str, *arguments: str) -> str:
    """Run a tool of tools/dev and return what it printed."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(ROOT / 'tools/dev' / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the tool forks')
@pytest.mark.parametrize('name', ['queues', 'predictions', 'dropout', 'augmentor', 'iterations'])
def test_killed_and_resumed(name):
    """At moments that are others each time; the seed is in the output of a failure."""
    printed = tool('kill_and_resume.py', name, '--signals', 'KILL,TERM')
    (line,) = [line for line in printed.splitlines() if line.startswith(f'| {name} |')]
    assert 'KILL at' in line and re.search(r'\| [1-9]\d* \| 0 \|$', line), printed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the tool forks')
def test_soak_of_one_round():
    printed = tool('soak.py', 'weak-head', '--minutes', '0.01')
    assert re.search(r'^1 rounds killed by .* 0 rounds wrong$', printed, re.M), printed


def test_every_exception_is_documented():
    page = (ROOT / 'docs/reliability.md').read_text()
    assert set(EXCEPTIONS) <= set(TABLE)
    for name in TABLE:
        assert f'| {name} |' in page, name
