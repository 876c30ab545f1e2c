"""Checkpoint files on a disk that fails."""

from __future__ import annotations

import os
import time

import pytest
import torch
from mmengine.fileio import get_file_backend
from support.runs import small_disk

from mmkd.engine.resume import BACKEND, find_fault, newest_checkpoint
from mmkd.utils import ConfigError


def saved(path, number=0.0):
    torch.save(dict(meta={}, x=torch.full((5000,), number)), path)
    return path


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    backend = get_file_backend(tmp_path, backend_args=dict(backend=BACKEND))
    path = tmp_path / 'folder' / 'a.pth'
    backend.put(b'old', path)
    with small_disk(10_000), pytest.raises(OSError, match='too large'):
        backend.put(b'x' * 20_000, path)
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['a.pth']
    backend.put(b'new', path)
    assert path.read_bytes() == b'new'


def damage(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)


def test_faults(tmp_path):
    path = saved(tmp_path / 'a.pth')
    content = path.read_bytes()
    assert find_fault(path) is None and find_fault(tmp_path) is None
    assert find_fault(tmp_path / 'b.pth') == 'does not exist'
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert find_fault(path) == ('is truncated or not a checkpoint' if length else 'is empty')
    path.write_bytes(content)
    damage(path)
    assert find_fault(path).startswith('is damaged')


@pytest.fixture
def run(tmp_path):
    """A work directory with three checkpoints and a best one, the newest last."""
    for number, name in enumerate(('epoch_9', 'epoch_10', 'epoch_11', 'best_mIoU_epoch_11')):
        path = saved(tmp_path / f'{name}.pth', number)
        os.utime(path, (time.time() - 100 + number,) * 2)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_11.pth'))
    return tmp_path


def test_the_last_one(run):
    assert newest_checkpoint(str(run), str(run)) == (str(run / 'epoch_11.pth'), [])


@pytest.mark.parametrize('broken', [b'', b'PK\x03\x04 half a file'])
def test_the_one_before_it(run, broken):
    (run / 'epoch_11.pth').write_bytes(broken)
    path, faults = newest_checkpoint(str(run), str(run))
    assert path == str(run / 'epoch_10.pth')
    assert len(faults) == 1 and 'epoch_11.pth is' in faults[0]
    damage(run / 'epoch_10.pth')
    path, faults = newest_checkpoint(str(run), str(run))
    assert path == str(run / 'epoch_9.pth') and len(faults) == 2


def test_a_note_that_is_lost(run):
    (run / 'last_checkpoint').write_text('')
    path, faults = newest_checkpoint(str(run), str(run))
    assert path == str(run / 'epoch_11.pth') and 'last_checkpoint is empty' in faults[0]
    (run / 'last_checkpoint').unlink()
    assert newest_checkpoint(str(run), str(run)) == (str(run / 'epoch_11.pth'), [])


def test_nothing_to_go_on_from(run):
    for path in run.glob('epoch*.pth'):
        path.write_bytes(b'')
    with pytest.raises(ConfigError, match=r'^resume: .*epoch_11\.pth is empty.*epoch_9\.pth is'):
        newest_checkpoint(str(run), str(run))
    assert newest_checkpoint(str(run / 'new'), str(run / 'new')) == (None, [])
