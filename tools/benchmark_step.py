"""Measure the distillation tax: the time of a distillation step over that of the plain step.

The steps are interleaved; teachers have random weights and batches are synthetic, so neither
checkpoints nor data are needed. docs/performance.md says what the columns mean.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import DictAction

from mmkd.cli.bench import Setting
from mmkd.cli.benchmark_step import benchmark, print_rows
from mmkd.cli.launch import run_tool


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='paths of distillation configs or of studies')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--size', type=int, nargs=2, default=(320, 320), metavar=('H', 'W'))
    parser.add_argument('--batch-size', type=int, default=2)
    parser.add_argument('--repeat', type=int, default=15, help='measured steps')
    parser.add_argument('--warmup', type=int, default=3)
    parser.add_argument('--amp', action='store_true', help='autocast for the student')
    parser.add_argument(
        '--iteration',
        type=int,
        help='measure the step of this iteration; by default the first one with full weights',
    )
    parser.add_argument(
        '--no-memory', action='store_true', help='leave out the processes that measure peak memory'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides')
    parser.add_argument('--json', help='write the rows to this file as well')
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_args()
    setting = Setting(args.device, tuple(args.size), args.batch_size, args.amp, args.iteration)
    rows = benchmark(
        args.configs, setting, args.repeat, args.warmup, args.cfg_options, not args.no_memory
    )
    print_rows(rows)
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(rows, indent=1) + '\n')


if __name__ == '__main__':
    run_tool(main)
