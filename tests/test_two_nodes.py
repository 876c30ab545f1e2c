"""Two launches of ``torchrun``, node ranks 0 and 1, equal one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from support.helpers import ROOT


@pytest.mark.slow
@pytest.mark.ddp
def test_queues_and_means_on_two_nodes():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    command = [sys.executable, '-W', 'ignore', 'tools/dev/two_nodes.py', '--ranks', '1']
    command += ['--port', str(port), '--rows', 'cirkd-queues', 'uskd-mean', 'dlb-last-batch']
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert '2 nodes of 1 ranks on the loopback device: 3 of 3' in done.stdout
