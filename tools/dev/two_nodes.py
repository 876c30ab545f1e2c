"""Train tiny students on two nodes of this machine and compare with one process.

Two nodes are two ``torchrun`` launches, each with its own node rank and its own ranks, over gloo.
With --netns each is in a network namespace of its own (needs root and iproute2), so that they
reach each other only by the address of a virtual network card, as two machines do; without, both
are on the loopback device and meet at 127.0.0.2.

    python tools/dev/two_nodes.py --netns
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

NODES = 2
TIMEOUT = 600  # seconds, for a machine that is busy with something else


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', nargs='+', help='only these rows; all by default')
    parser.add_argument('--ranks', type=int, default=2, help='ranks of each node')
    parser.add_argument('--netns', action='store_true', help='network namespaces')
    parser.add_argument('--port', default='29511')
    parser.add_argument('--work', help=argparse.SUPPRESS)  # a rank: where results go
    return parser.parse_args()


def work(rows: list[str], folder: Path) -> None:
    """Train every row as one of the ranks."""
    import torch
    from mmengine.logging import MMLogger
    from support.ddp_rows import trace

    from mmkd.cli.launch import leave_process_group

    torch.set_num_threads(1)
    MMLogger.get_instance('rank', log_level='WARNING')
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=TIMEOUT))
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.save([trace(name, folder, world, rank) for name in rows], folder / f'rank{rank}.pt')
    leave_process_group()


@contextmanager
def namespaces(enabled: bool) -> Iterator[list[tuple[list[str], dict[str, str]]]]:
    """Yield what to put in front of each node's command, and its environment."""
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
    """Return the address at which a node is reached; TEST-NET-1 is for examples such as this."""
    return f'192.0.2.{node + 1}' if netns else '127.0.0.2'


def ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True)


def launch(args: argparse.Namespace, rows: list[str], folder: Path) -> None:
    """Start both nodes and wait for them."""
    processes = []
    with namespaces(args.netns) as nodes:
        try:
            for node, (prefix, environment) in enumerate(nodes):
                command = [
                    *prefix,
                    *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run'),
                    f'--nnodes={NODES}',
                    f'--node_rank={node}',
                    f'--master_addr={address(0, args.netns)}',
                    f'--master_port={args.port}',
                    f'--nproc_per_node={args.ranks}',
                    *(__file__, '--work', str(folder), '--rows', *rows),
                ]
                with open(folder / f'node{node}.log', 'w') as log:
                    env = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
                    processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=env))
            codes = [process.wait(timeout=2 * TIMEOUT) for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    if any(codes):
        logs = [(folder / f'node{node}.log').read_text()[-4000:] for node in range(NODES)]
        sys.exit('\n'.join(['a node failed', *logs]))


def main() -> None:
    """Compare every row."""
    args = parse_args()
    if args.work:
        work(args.rows, Path(args.work))
        return
    import torch
    from mmengine.logging import MMLogger
    from support.ddp_rows import ROWS, compare, trace

    torch.set_num_threads(1)
    MMLogger.get_instance('one process', log_level='WARNING')
    rows = args.rows or list(ROWS)
    world = NODES * args.ranks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One process first: it makes the teachers that the ranks read.
        expected = {row: trace(row, folder, world) for row in rows}
        launch(args, rows, folder)
        ranks = [torch.load(folder / f'rank{rank}.pt') for rank in range(world)]
    failed = []
    for index, row in enumerate(rows):
        try:
            worst = compare(expected[row], [rank[index] for rank in ranks])
            print(f'{row:26} equal; the loss differs by {worst:.1e} at most')
        except AssertionError as error:
            failed.append(row)
            print(f'{row:26} DIFFERS: {error}')
    where = 'network namespaces' if args.netns else 'the loopback device'
    print(
        f'{NODES} nodes of {args.ranks} ranks on {where}: {len(rows) - len(failed)} of {len(rows)}'
    )
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
