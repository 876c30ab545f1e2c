"""Run a test file as two gloo ranks on the CPU, beside the tests in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from mmkd.cli.launch import leave_process_group

# Seconds for a machine that is busy with something else; a hang is a failure.
TIMEOUT = 300


def results_of(file: str, folder: Path) -> list[Any]:
    """Start a file twice; return what its two ranks saved, see :func:`as_rank`."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    processes = []
    for rank in (0, 1):
        with open(folder / f'log{rank}.txt', 'w') as log:
            command = [sys.executable, file, str(rank), str(folder), str(port)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    try:
        codes = [process.wait(timeout=2 * TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(folder / f'log{rank}.txt').read_text()[-3000:] for rank in (0, 1)]
    assert codes == [0, 0], '\n'.join(logs)
    return [torch.load(folder / f'rank{rank}.pt') for rank in (0, 1)]


def as_rank(work: Callable[[int, Path], Any]) -> None:
    """Be one of these processes: save what ``work(rank, folder)`` returns."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=sys.argv[3])
    torch.set_num_threads(1)
    limit = timedelta(seconds=TIMEOUT)
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2, timeout=limit)
    torch.save(work(rank, folder), folder / f'rank{rank}.pt')
    leave_process_group()
