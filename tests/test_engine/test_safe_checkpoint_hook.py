"""Runs that are stopped or run out of disk space; for killed runs see test_reliability."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from support.runs import BEST, Count, evaluation, everything, small_disk
from support.stateful import config

from mmkd.cli.train import save_safely
from mmkd.engine.resume import find_fault
from mmkd.utils import ConfigError, Interrupted, plain_config
from mmkd.utils.loading import weights_only


class Terminate(Hook):
    """Sends SIGTERM to this process in one iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def run(name, shapes, tmp_path, folder, hook=None, resume=False, **changes):
    cfg = config(name, shapes, tmp_path / 'teachers', tmp_path / folder)
    cfg.merge_from_dict(changes)
    cfg.resume = resume
    runner = Runner.from_cfg(cfg)
    if hook is not None:
        runner.register_hook(hook)
    runner.train()
    return runner


@pytest.mark.slow
def test_stopped_in_the_middle_of_an_epoch(shapes, tmp_path):
    """With dropout, flips, EMA and evaluation, the result equals that of an uninterrupted run."""
    extra = {
        'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
        'optim_wrapper.accumulative_counts': 2,
        **evaluation('seg', shapes),
    }
    whole = run('adapters-seg', shapes, tmp_path, 'whole', **extra)
    listening = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as stopped:
        # Accumulated gradients are not saved, so the run does one more iteration.
        run('adapters-seg', shapes, tmp_path, 'cut', Terminate(4), **extra)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is listening
    last = tmp_path / 'cut/interrupted.pth'
    assert (tmp_path / 'cut/last_checkpoint').read_text() == str(last)
    with weights_only():  # no part of the checkpoint runs code
        meta = CheckpointLoader.load_checkpoint(str(last), map_location='cpu')['meta']
    assert (meta['epoch'], meta['iter'], meta['place_in_epoch']) == (1, 6, (2, 4))
    steps = []
    torch.rand(3)
    resumed = run('adapters-seg', shapes, tmp_path, 'cut', Count(steps), resume=True, **extra)
    assert steps == list(range(6, 12))
    a, b = everything(whole), everything(resumed)
    assert a.keys() == b.keys() and not [k for k in a if not torch.equal(a[k], b[k])]
    assert not last.exists()


class Killed(Exception):  # noqa: N818
    """Stands for SIGKILL: nothing is saved."""


class Kill(Hook):
    """Ends the run at the start of one iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            raise Killed


@pytest.mark.parametrize('truncated', [False, True])
def test_periodic_checkpoints_inside_an_epoch_know_their_place(truncated, shapes, tmp_path):
    """A killed run trains the rest of its epoch; with two batches an update, none is repeated."""
    often = {
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 3,
        'optim_wrapper.accumulative_counts': 2,
    }
    whole = run('adapters-cls', shapes, tmp_path, 'whole', **often)
    with pytest.raises(Killed):
        run('adapters-cls', shapes, tmp_path, 'cut', Kill(11 if truncated else 7), **often)
    folder = tmp_path / 'cut'
    # Iterations 3 and 9 are in the middle of an update; their checkpoints waited for it.
    names = (
        ['iter_10.pth', 'iter_4.pth', 'iter_6.pth'] if truncated else ['iter_4.pth', 'iter_6.pth']
    )
    assert sorted(p.name for p in folder.glob('*.pth')) == names
    if truncated:
        newest = folder / 'iter_10.pth'
        newest.write_bytes(newest.read_bytes()[:5000])
    steps = []
    resumed = run('adapters-cls', shapes, tmp_path, 'cut', Count(steps), resume=True, **often)
    assert steps == list(range(6, 12)) and resumed.iter == 12
    a, b = everything(whole), everything(resumed)
    assert a.keys() == b.keys() and not [k for k in a if not torch.equal(a[k], b[k])]


def test_the_last_mini_batch_is_repeated_after_an_interruption(shapes, tmp_path):
    """Its logits are not saved; resuming neither fails nor compares the wrong images."""
    with pytest.raises(Interrupted):
        run('last-batch', shapes, tmp_path, 'run', Terminate(5))
    runner = run('last-batch', shapes, tmp_path, 'run', resume=True)
    values = runner.message_hub.log_scalars['train/distill.m.loss_consistency'].data[0]
    resumed = values[6:]  # the first six are those of the interrupted run
    assert resumed[0] == 0 and min(resumed[1:]) > 0


def test_a_full_disk_and_a_truncated_file(shapes, tmp_path, caplog):
    """The last intact file stays even with max_keep_ckpts=1; a resumed run uses it."""
    keep = {'default_hooks.checkpoint.max_keep_ckpts': 1}

    class Fill(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 7:
                self.disk = small_disk(100_000)
                self.disk.__enter__()

    fill = Fill()
    with pytest.raises(ConfigError, match=r'^work_dir: cannot save .*make room'):
        run('predictions', shapes, tmp_path, 'cut', fill, **keep)
    fill.disk.__exit__(None, None, None)
    folder = tmp_path / 'cut'
    assert [p.name for p in folder.glob('*.pth')] == ['epoch_1.pth']
    assert find_fault(folder / 'epoch_1.pth') is None
    # mmengine would resume from this one.
    (folder / 'epoch_2.pth').write_bytes((folder / 'epoch_1.pth').read_bytes()[:5000])
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    steps = []
    resumed = run('predictions', shapes, tmp_path, 'cut', Count(steps), resume=True, **keep)
    log = next(folder.glob('*/*.log')).parent.parent
    text = '\n'.join(path.read_text() for path in log.glob('*/*.log'))
    assert 'epoch_2.pth is truncated' in text and f'resuming from {folder}/epoch_1.pth' in text
    assert steps == list(range(4, 12))
    assert sorted(p.name for p in folder.glob('*.pth')) == ['epoch_3.pth']
    whole = run('predictions', shapes, tmp_path, 'whole', **keep)
    a, b = everything(whole), everything(resumed)
    assert a.keys() == b.keys() and not [k for k in a if not torch.equal(a[k], b[k])]


def test_the_best_one(shapes, tmp_path):
    """It replaces the previous one."""
    best = {
        'default_hooks.checkpoint.save_best': BEST['cls'],
        'default_hooks.checkpoint.rule': 'greater',
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        **evaluation('cls', shapes),
    }
    run('weak-head', shapes, tmp_path, 'run', **best)
    names = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert names[1:] == ['epoch_2.pth', 'epoch_3.pth'] and names[0].startswith('best_')


def test_a_broken_file_that_is_asked_for(shapes, tmp_path):
    (tmp_path / 'half.pth').write_bytes(b'PK')
    cfg = config('weak-head', shapes, tmp_path, tmp_path / 'run')
    cfg.update(resume=True, load_from=str(tmp_path / 'half.pth'))
    with pytest.raises(ConfigError, match=r'^resume: .*half\.pth is truncated'):
        Runner.from_cfg(cfg).train()


def test_it_takes_the_place_of_mmengines(shapes, tmp_path):
    cfg = config('weak-head', shapes, tmp_path, tmp_path)
    cfg.default_hooks.checkpoint.update(type='CheckpointHook', interval=7)
    save_safely(cfg)
    assert cfg.default_hooks.checkpoint.to_dict() == dict(
        type='mmkd.SafeCheckpointHook', interval=7
    )
    assert plain_config(cfg).default_hooks.checkpoint.to_dict() == dict(
        type='CheckpointHook', interval=7
    )
    cfg.default_hooks.checkpoint.type = 'myproject.MyHook'
    save_safely(cfg)
    assert cfg.default_hooks.checkpoint.type == 'myproject.MyHook'
