"""SIGTERM to a whole job, and its continuation, with the tool that people use."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.helpers import ROOT

# Epochs whose workers end and stay, and a loop over iterations, whose workers start with the run.
LOOPS = dict(
    epochs=('cls', 'train_cfg.max_epochs=2', 'train_cfg.val_interval=9'),
    persistent=(
        'cls',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=9',
        'train_dataloader.persistent_workers=True',
    ),
    iterations=('seg', 'train_cfg.max_iters=8', 'train_cfg.val_interval=99'),
)
SECOND = re.compile(r'(Epoch|Iter)\(train\)\s+(\[1\])?\[\s*2/')
LAST = dict(epochs='epoch_2.pth', persistent='epoch_2.pth', iterations='iter_8.pth')


@pytest.mark.slow
@pytest.mark.parametrize('loop', LOOPS)
def test_a_job_that_is_terminated_with_its_workers(workspace, loop):
    """A cluster signals every process of a job: those that load data, too."""
    task, *options = LOOPS[loop]
    command = [
        *(sys.executable, '-W', 'ignore', str(ROOT / 'tools/train.py'), workspace.config(task)),
        *('--work-dir', f'terminated-{loop}', '--cfg-options', 'train_dataloader.num_workers=1'),
        *('train_dataloader.batch_size=2', 'default_hooks.logger.interval=1', *options),
    ]
    folder = workspace.folder / f'terminated-{loop}'
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    with open(workspace.folder / f'terminated-{loop}.log', 'w') as log:
        process = subprocess.Popen(
            command,
            cwd=workspace.folder,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    for _ in range(3000):
        text = (workspace.folder / f'terminated-{loop}.log').read_text()
        if SECOND.search(text) or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    code = process.wait(timeout=300)
    text = (workspace.folder / f'terminated-{loop}.log').read_text()
    assert code == 143, text[-3000:]
    assert 'continue with --resume' in text and 'Traceback' not in text
    meta = torch.load(folder / 'interrupted.pth', weights_only=False)['meta']
    printed = resume(command, workspace)
    if loop != 'iterations':
        done, length = meta['place_in_epoch']
        assert meta['epoch'] == 0 and 0 < done == meta['iter'] <= length
        assert f'epoch 1 resumes after {done} iterations' in printed
    assert (folder / LAST[loop]).exists() and not (folder / 'interrupted.pth').exists()


def resume(command, workspace) -> str:
    """Run the command again, from where it was."""
    done = subprocess.run(
        [*command, '--resume'],
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        timeout=300,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    return printed
