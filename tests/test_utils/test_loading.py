"""Checkpoints of others: unsafe content is refused, and the hash in a name is verified."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from support.tiny_models import MIMIC, make_student, teacher_config

from mmkd.methods.maskd import load_tokens
from mmkd.utils import ConfigError
from mmkd.utils.loading import FORCE, fetch, read_checkpoint, weights_only


class Touch:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def evil(tmp_path):
    """A teacher's checkpoint with unsafe content."""
    teacher = teacher_config('cls', tmp_path)
    content = torch.load(teacher['checkpoint'], weights_only=True)
    content['meta'] = dict(note=Touch(tmp_path / 'was-here'))
    torch.save(content, teacher['checkpoint'])
    return teacher, tmp_path / 'was-here'


def test_a_teacher_that_runs_code_is_refused(evil):
    teacher, trace = evil
    message = r'^model\.distill\.teacher\.checkpoint: .*more than weights \(\w+.*\.teacher\.trusted'
    with pytest.raises(ConfigError, match=message):
        make_student('cls', teacher=teacher, methods=dict(m=MIMIC['cls']))
    assert not trace.exists()
    make_student('cls', teacher=dict(teacher, trusted=True), methods=dict(m=MIMIC['cls']))
    assert trace.exists()


def test_tokens_and_other_files(evil, monkeypatch):
    teacher, trace = evil
    with pytest.raises(ConfigError, match='refused'):
        load_tokens(teacher['checkpoint'], [8], 'key')
    # As in the tools, which restrict every load; an explicit `trusted` still has priority.
    monkeypatch.setenv(FORCE, '1')
    with pytest.raises(pickle.UnpicklingError, match='GLOBAL'):
        CheckpointLoader.load_checkpoint(teacher['checkpoint'])
    assert not trace.exists()
    read_checkpoint(teacher['checkpoint'], 'key', trusted=True)
    assert trace.exists()


def test_the_switch_is_put_back(monkeypatch):
    for before in (None, '0', '1'):
        if before is None:
            monkeypatch.delenv(FORCE, raising=False)
        else:
            monkeypatch.setenv(FORCE, before)
        for trusted in (False, True):
            with weights_only(trusted):
                assert os.environ.get(FORCE) == (None if trusted else '1')
            assert os.environ.get(FORCE) == before


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of a folder, and an empty cache."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'www').mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Quiet, directory=str(tmp_path / 'www'))
    served = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield tmp_path / 'www', f'http://127.0.0.1:{served.server_port}'
    served.shutdown()
    served.server_close()


def published(folder, name):
    torch.save(dict(state_dict=dict(x=torch.ones(3))), folder / 'x.pth')
    digest = hashlib.sha256((folder / 'x.pth').read_bytes()).hexdigest()
    path = folder / name.format(digest[:8])
    (folder / 'x.pth').rename(path)
    return path.name


@pytest.mark.parametrize('name', ['net_20200131-{}.pth', 'net.pth', 'net-2.pth'])
def test_downloads(server, name):
    folder, url = server
    name = published(folder, name)
    content = read_checkpoint(f'{url}/{name}', 'key')
    assert content['state_dict']['x'].tolist() == [1, 1, 1]
    (folder / name).unlink()  # the second time it is cached
    assert torch.load(fetch(f'{url}/{name}'), weights_only=True).keys() == content.keys()


def test_downloads_that_are_not_what_their_name_says(server):
    folder, url = server
    published(folder, 'net-0123abcd.pth')
    with pytest.raises(ConfigError, match=r'^key: cannot read .*invalid hash.*0123abcd'):
        read_checkpoint(f'{url}/net-0123abcd.pth', 'key')
    name = published(folder, 'net-{}.pth')
    path = Path(fetch(f'{url}/{name}'))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=r'has the hash .*remove it'):
        read_checkpoint(f'{url}/{name}', 'key')
