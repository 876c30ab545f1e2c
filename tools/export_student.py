"""Write a trained student's weights and plain config, for use and publication without mmkd."""

import argparse

from mmkd.cli.export import export_student
from mmkd.cli.launch import run_tool


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a training run')
    parser.add_argument(
        'out', help='such as student.pth: student-<hash>.pth and student-<hash>.py are written'
    )
    parser.add_argument(
        '--config', help="the run's config; without it, the one inside the checkpoint"
    )
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help='insist on the averaged weights of an EMAHook, or on the raw ones; without it, the '
        'averaged ones if there are any',
    )
    parser.add_argument(
        '--trusted',
        action='store_true',
        help='also read a checkpoint that holds more than weights, and so can run code',
    )
    return parser.parse_args()


def main() -> None:
    """Export and say where."""
    args = parse_args()
    weights, config = export_student(
        args.checkpoint, args.out, args.config, args.ema, trusted=args.trusted
    )
    print(f'{weights}\n{config}')


if __name__ == '__main__':
    run_tool(main)
