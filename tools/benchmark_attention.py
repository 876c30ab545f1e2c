"""Measure the attention of ACAM-KD: as it is printed, exact without the matrix, and pooled.

One level, forward and backward, on random maps: memory that autograd keeps, growth of the peak
memory (accelerators only), time (medians of interleaved rounds), and the largest difference from
the printed form.
"""

import argparse
import json
import re
from pathlib import Path

import torch

from mmkd.cli.benchmark_attention import measure, show
from mmkd.cli.launch import run_tool
from mmkd.utils import ConfigError


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        default=['25x42', '50x84', '100x168'],
        help='HEIGHTxWIDTH of the maps. Defaults to three levels of a detector at 1333×800',
    )
    parser.add_argument('--channels', type=int, default=256, help='Defaults to 256')
    parser.add_argument('--batch', type=int, default=1, help='Defaults to 1')
    parser.add_argument(
        '--pool', type=int, nargs='*', default=[2], help='factors of the pooled forms. Default: 2'
    )
    parser.add_argument('--rounds', type=int, default=1, help='of the timing. Defaults to 1')
    parser.add_argument('--device', default='cpu', help='Defaults to cpu')
    parser.add_argument('--json', type=Path, help='write the rows to this file as well')
    return parser.parse_args()


def main() -> None:
    """Measure and print one table."""
    args = parse_args()
    rows = []
    for size in args.sizes:
        numbers = re.fullmatch(r'(\d+)[x×](\d+)', size)
        if not numbers or not all(map(int, numbers.groups())):
            raise ConfigError('--sizes', f'{size!r} is no HEIGHTxWIDTH, such as 100x168')
        height, width = map(int, numbers.groups())
        rows += measure(
            (height, width), args.channels, args.batch, args.pool, args.rounds, args.device
        )
    threads = f', {torch.get_num_threads()} threads' if args.device == 'cpu' else ''
    show(rows, f'N = {args.batch}, C = {args.channels}, fp32, {args.device}{threads}')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    run_tool(main)
