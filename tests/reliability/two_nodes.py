"""Train tiny students on two nodes of this machine and compare them with one process.

A node is a ``torchrun`` launch with its own node rank and ranks, over gloo. With --netns each node
is in a network namespace with its own network interface (needs root and iproute2), as on two
machines. Without it, both nodes are on the loopback device and meet at 127.0.0.2.

    PYTHONPATH=tests python -m reliability.two_nodes --netns
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from support.ddp_rows import ROWS, compare, trace
from support.ddp_works import WORKS

from mmkd.cli.common import leave_process_group

NODES = 2
TIMEOUT = 600  # seconds, for a busy machine


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', nargs='+', default=list(ROWS), help='only these rows')
    parser.add_argument('--ranks', type=int, default=2, help='ranks of each node')
    parser.add_argument('--netns', action='store_true', help='network namespaces')
    parser.add_argument('--port', type=int, help='a free one by default')
    parser.add_argument('--work', type=Path, help=argparse.SUPPRESS)  # a rank: where results go
    return parser.parse_args()


def work(names: list[str], folder: Path) -> None:
    """Do the work of one rank: train rows of ``ROWS``, run functions of ``WORKS``."""
    MMLogger.get_instance('rank', log_level='WARNING')
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=TIMEOUT))
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = {
        name: trace(name, folder, world, rank) if name in ROWS else WORKS[name](rank, folder)
        for name in names
    }
    torch.save(found, folder / f'rank{rank}.pt')
    leave_process_group()


@contextmanager
def namespaces(enabled: bool) -> Iterator[list[tuple[list[str], dict[str, str]]]]:
    """Yield each node's command prefix and environment."""
    if not enabled:
        yield [([], dict(GLOO_SOCKET_IFNAME='lo'))] * NODES
        return
    names = [f'mmkd{os.getpid()}n{node}' for node in range(NODES)]
    made = []
    try:
        for name in names:
            ip('netns', 'add', name)
            made.append(name)
            ip('-n', name, 'link', 'set', 'lo', 'up')
        cards = [['netns', name] for name in names]
        ip('link', 'add', 'mmkd0', *cards[0], 'type', 'veth', 'peer', 'name', 'mmkd1', *cards[1])
        for node, name in enumerate(names):
            ip('-n', name, 'address', 'add', f'{address(node, True)}/24', 'dev', f'mmkd{node}')
            ip('-n', name, 'link', 'set', f'mmkd{node}', 'up')
        yield [
            (['ip', 'netns', 'exec', name], dict(GLOO_SOCKET_IFNAME=f'mmkd{node}'))
            for node, name in enumerate(names)
        ]
    finally:
        for name in made:
            ip('netns', 'delete', name)


def address(node: int, netns: bool) -> str:
    """Return a node's address; TEST-NET-1 is reserved for examples such as this."""
    return f'192.0.2.{node + 1}' if netns else '127.0.0.2'


def ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def launch(
    names: list[str], folder: Path, ranks: int = 1, netns: bool = False, port: int | None = None
) -> list[dict[str, Any]]:
    """Run both nodes; return what each rank found, by row.

    Teachers have to be in the folder: ranks would write them at the same time.
    """
    processes = []
    port = port or free_port()
    with namespaces(netns) as nodes:
        try:
            for node, (prefix, environment) in enumerate(nodes):
                command = [
                    *prefix,
                    *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run'),
                    f'--nnodes={NODES}',
                    f'--node_rank={node}',
                    f'--master_addr={address(0, netns)}',
                    f'--master_port={port}',
                    f'--nproc_per_node={ranks}',
                    *('-m', 'reliability.two_nodes', '--work', str(folder), '--rows', *names),
                ]
                paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path)
                env = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1', **environment}
                with open(folder / f'node{node}.log', 'w') as log:
                    processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=env))
            codes = [process.wait(timeout=2 * TIMEOUT) for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    logs = [(folder / f'node{node}.log').read_text()[-4000:] for node in range(NODES)]
    assert not any(codes), '\n'.join(['a node failed', *logs])
    return [torch.load(folder / f'rank{rank}.pt') for rank in range(NODES * ranks)]


def main() -> None:
    """Compare every row."""
    args = parse_args()
    torch.set_num_threads(1)
    if args.work:
        work(args.rows, args.work)
        return
    MMLogger.get_instance('one process', log_level='WARNING')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The single process writes the teachers that the ranks read.
        expected = {row: trace(row, folder, NODES * args.ranks) for row in args.rows}
        ranks = launch(args.rows, folder, args.ranks, args.netns, args.port)
    failed = []
    for row in args.rows:
        try:
            worst = compare(row, expected[row], [rank[row] for rank in ranks])
            print(f'{row:26} equal; the loss differs by {worst:.1e} at most')
        except AssertionError as error:
            failed.append(row)
            print(f'{row:26} DIFFERS: {error}')
    where = 'network namespaces' if args.netns else 'the loopback device'
    equal = len(args.rows) - len(failed)
    print(f'{NODES} nodes of {args.ranks} ranks on {where}: {equal} of {len(args.rows)}')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
