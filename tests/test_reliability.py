"""Runs in processes of their own that are killed, and go on as if they had not been."""

from __future__ import annotations

import os
import re
import sys

import pytest
from reliability import kill_and_resume, soak
from support.helpers import ROOT
from support.stateful import EXCEPTIONS, TABLE


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return a function that runs a command of tests/reliability and returns what it prints."""

    def run(command, *arguments: str) -> str:
        monkeypatch.setattr(sys, 'argv', [command.__name__, *arguments])
        with pytest.raises(SystemExit) as end:
            command.main()
        out = capsys.readouterr().out
        assert not end.value.code, (end.value.code, out)
        return out

    return run


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the tool forks')
@pytest.mark.parametrize('name', ['queues', 'predictions', 'dropout', 'augmentor', 'iterations'])
def test_killed_and_resumed(name, printed):
    """At other moments each time; the seed is in the output of a failure."""
    out = printed(kill_and_resume, name, '--signals', 'KILL,TERM')
    (line,) = [line for line in out.splitlines() if line.startswith(f'| {name} |')]
    assert 'KILL at' in line and re.search(r'\| [1-9]\d* \| 0 \|$', line), out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the tool forks')
def test_soak_of_one_round(printed):
    out = printed(soak, 'weak-head', '--minutes', '0.01')
    assert re.search(r'^1 rounds killed by .* 0 rounds wrong$', out, re.M), out


def test_every_exception_is_documented():
    page = (ROOT / 'docs/reliability.md').read_text()
    assert set(EXCEPTIONS) <= set(TABLE)
    for name in TABLE:
        assert f'| {name} |' in page, name
