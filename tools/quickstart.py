"""Train a teacher, a plain student and a distilled student on generated data, and compare them.

Both students get the same budget and seed. The table shows whatever comes out.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmkd.cli.launch import run_tool
from mmkd.cli.quickstart import quickstart
from mmkd.cli.quickstart_report import TASKS


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--task', choices=TASKS, default='det', help='Defaults to det')
    parser.add_argument(
        '--method',
        default='pskd',
        help='folder of configs/ with the distillation config, or a path of one. Defaults to pskd',
    )
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/quickstart'), help='where results go'
    )
    parser.add_argument('--seed', type=int, default=0, help='of all runs. Defaults to 0')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the configs of all runs'
    )
    return parser.parse_args()


def main() -> None:
    """Run the quickstart."""
    args = parse_args()
    try:
        quickstart(args.task, args.method, args.work_dir, args.seed, args.cfg_options)
    except KeyboardInterrupt:
        print('interrupted; the same command goes on after the last finished run', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    run_tool(main)
